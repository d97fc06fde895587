"""design.json of a whole design: round trip, places of beats; every kind of damage is an error that names the field."""

import json
from pathlib import Path

import pytest
from amaranth.hdl import signed
from amaranth.lib import data

from mxhw.errors import InputError
from mxhw.sim.dataflow import DataflowDesign, PayloadField, is_dataflow_design, payload_fields
from tests.sim.dataflow_toy import dataflow_toy_design
from tests.sim.toy import write_toy


def test_round_trip_and_one_line_a_step(tmp_path: Path) -> None:
    text = dataflow_toy_design().to_json()
    (tmp_path / "design.json").write_text(text)
    assert DataflowDesign.load(tmp_path) == dataflow_toy_design()
    assert is_dataflow_design(tmp_path)
    assert sum('"stream"' in line for line in text.splitlines()) == 4
    assert not is_dataflow_design(write_toy(tmp_path / "layer"))
    assert not is_dataflow_design(tmp_path / "absent")


STEP = "steps"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top": "a; rm"}, "top: .*letters, digits and underscores"),
        ({"sources": ["../../etc/passwd"]}, r"sources\[0\]: a path must lie in the design's folder"),
        ({"sources": ["/etc/passwd"]}, r"sources\[0\]: a path must lie in the design's folder"),
        ({"sources": []}, "sources: "),
        ({"images": {"images/norm.hex": "4"}}, r"images\.images/norm\.hex: .*valid integer"),
        ({"tokens": True}, "tokens: .*valid integer"),
        ({"tokens": 0}, "tokens: .*greater than or equal to 1"),
        ({"cycles": 1.5}, "cycles: .*valid integer"),
        ({"colour": 1}, "unknown field colour"),
        ({"tokns": 1}, "unknown field tokns; did you mean 'tokens'"),
        ({"mxhw_dataflow": 2}, "mxhw_dataflow: "),
        ({"tokens": 7}, "token_beats of step layers.0.norm gives 28 beats of 7 tokens, not 24 beats of 7 tokens"),
        ({STEP: {"widht": 1}}, r"unknown field steps\[0\]\.widht; did you mean 'width'"),
        ({STEP: {"width": 31}}, r"steps\[0\]: fields of step layers\.0\.norm have 32 bits, but its width is 31"),
        ({STEP: {"token_beats": [4] * 5 + [5]}}, "token_beats of step layers.0.norm gives 25 beats of 6 tokens"),
        ({STEP: {"token_beats": [8, 8, 8]}}, "gives 24 beats of 3 tokens, not 24 beats of 6 tokens"),
        ({STEP: {"stream": "layers_0_add"}}, "each step's stream must have a name of its own, but 'layers_0_add'"),
        ({STEP: {"fifo": {"y": 2}}}, "step layers.0.norm reads 'y', which is no stream of the design"),
        ({"outputs": {"x": {"beats": "b", "width": 1, "count": 1}}}, "each port must have a name of its own"),
    ],
)
def test_a_damaged_record_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    record = json.loads(dataflow_toy_design().to_json())
    if isinstance(step := change.get(STEP), dict):
        change = {STEP: [record[STEP][0] | step, *record[STEP][1:]]}
    (tmp_path / "design.json").write_text(json.dumps(record | change))
    with pytest.raises(InputError, match=message) as error:
        DataflowDesign.load(tmp_path)
    assert str(tmp_path / "design.json") in str(error.value)
    assert "emit the design again" in str(error.value)


@pytest.mark.parametrize(
    "field", ["mxhw_dataflow", "name", "images", "cycles", "hash", "steps[0].interval", "inputs.x.count"]
)
def test_a_missing_field_is_named(tmp_path: Path, field: str) -> None:
    record = json.loads(dataflow_toy_design().to_json())
    owner = {"steps[0].interval": record["steps"][0], "inputs.x.count": record["inputs"]["x"]}.get(field, record)
    del owner[field.split(".")[-1]]
    (tmp_path / "design.json").write_text(json.dumps(record))
    with pytest.raises(InputError) as error:
        DataflowDesign.load(tmp_path)
    assert f"design.json: {field} is missing" in str(error.value)


def test_missing_and_truncated_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mxhw emit"):
        DataflowDesign.load(tmp_path)
    text = dataflow_toy_design().to_json()
    (tmp_path / "design.json").write_text(text[: len(text) // 2])
    with pytest.raises(InputError, match="Invalid JSON"):
        DataflowDesign.load(tmp_path)
    (tmp_path / "design.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="is not text"):
        DataflowDesign.load(tmp_path)


def test_every_beat_has_its_token() -> None:
    design = dataflow_toy_design()
    norm, scores = design.steps[0], design.steps[2]
    assert [design.place(norm, beat) for beat in (0, 3, 4, 23)] == [(0, 0), (0, 3), (1, 0), (5, 3)]
    places = [(token, key) for token in range(6) for key in range(token % 3 + 1)]
    assert [design.place(scores, beat) for beat in range(12)] == places
    assert [design.tokens_passed(scores, beats) for beats in (0, 1, 2, 12)] == [0, 1, 1.5, 6]


def test_a_step_that_is_slow_may_be_silent_for_long() -> None:
    slow = dataflow_toy_design().steps[3].model_copy(update={"interval": 10_000})
    design = dataflow_toy_design()
    assert design.idle_limit == 4096
    assert design.model_copy(update={"steps": (*design.steps[:3], slow)}).idle_limit == 20_000


def test_fields_of_a_payload_are_those_of_its_shape() -> None:
    assert payload_fields(signed(5)) == (PayloadField(name="value", bits=5, signed=True),)
    assert payload_fields(data.ArrayLayout(signed(7), 3)) == (PayloadField(name="value", bits=7, lanes=3, signed=True),)
    layout = data.StructLayout({"codes": data.ArrayLayout(4, 8), "dialect": 4, "last": 1})
    assert payload_fields(layout) == (
        PayloadField(name="codes", bits=4, lanes=8),
        PayloadField(name="dialect", bits=4),
        PayloadField(name="last", bits=1),
    )
