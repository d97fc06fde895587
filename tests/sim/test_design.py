"""design.json: round trip, and every kind of damage is an InputError that names the file."""

import json
from pathlib import Path

import pytest

from mxhw.errors import InputError
from mxhw.sim import GemmDesign
from tests.sim.toy import toy_design


def test_round_trip(tmp_path: Path) -> None:
    (tmp_path / "design.json").write_text(toy_design().to_json())
    assert GemmDesign.load(tmp_path) == toy_design()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top": "a; rm"}, "letters, digits and underscores"),
        ({"verilog": ["../../etc/passwd"]}, "plain file names"),
        ({"verilog": "toy.v"}, "verilog has the wrong type"),
        ({"images": {"a/b": 1}}, "plain file names"),
        ({"images": {"weights.hex": "4"}}, "images has the wrong type"),
        ({"rows": 0}, "rows must be at least 1"),
        ({"rows": True}, "rows has the wrong type"),
        ({"y_beats": 3}, "y_beats must be 8"),
        ({"y_width": 33}, "y_width must be 2 columns × 16 bits"),
        ({"unit": "magic"}, "unit must be one of"),
        ({"m": "8"}, "m has the wrong type"),
        ({"colour": 1}, "unknown field 'colour'"),
        ({"schema": 2}, "schema 1"),
    ],
)
def test_a_damaged_record_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    record = json.loads(toy_design().to_json()) | change
    (tmp_path / "design.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=message) as error:
        GemmDesign.load(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_missing_and_truncated_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mxhw emit"):
        GemmDesign.load(tmp_path)
    text = toy_design().to_json()
    (tmp_path / "design.json").write_text(text[: len(text) // 2])
    with pytest.raises(InputError, match="is not JSON"):
        GemmDesign.load(tmp_path)
    record = json.loads(text)
    del record["lanes"]
    (tmp_path / "design.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="lanes is missing"):
        GemmDesign.load(tmp_path)
