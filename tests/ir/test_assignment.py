"""Assignments: a JSON file both ways, and every wrong name answered with the nearest right one."""

import json
from pathlib import Path

import pytest

from mxhw.errors import InputError
from mxhw.ir import Assignment
from tests.ir.zoo import captured

GOOD = Assignment(
    model="llama",
    formats={"lm_head:weight": "bitmod4", "lm_head:input": "int8-e8m0"},
    arrays={"lm_head": (4, 8), "model.layers.0.self_attn.qk": (2, 2)},
    notes={"seed": 3},
)


def test_file_both_ways(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    GOOD.save(path)
    assert Assignment.load(path) == GOOD
    assert json.loads(path.read_text())["arrays"]["lm_head"] == [4, 8]
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_a_fitting_assignment_passes_the_check() -> None:
    GOOD.check(captured("llama"))


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        (Assignment("m", {"lm_hed:weight": "mxfp4"}), r"^no site 'lm_hed:weight' .*did you mean 'lm_head:weight'\?"),
        (Assignment("m", {"lm_head:weight": "mxfp44"}), r"^site 'lm_head:weight': .*mxfp44.*mxfp4"),
        (Assignment("m", arrays={"lm_hea": (1, 1)}), r"^arrays name 'lm_hea', no matrix product .*'lm_head'\?"),
        (Assignment("m", arrays={"model.norm": (1, 1)}), r"^arrays name 'model\.norm', no matrix product of llama"),
    ],
)
def test_names_that_the_graph_lacks_are_refused(assignment: Assignment, message: str) -> None:
    with pytest.raises(InputError, match=message):
        assignment.check(captured("llama"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mxhw_assignment": 2}, r"is no assignment of version 1"),
        ({"formts": {}}, r"has an unknown field 'formts'; did you mean 'formats'\?"),
        ({"model": None}, r"model must be a name, not None"),
        ({"formats": []}, r"formats must be an object"),
        ({"formats": {"lm_head:weight": 4}}, r"format of 'lm_head:weight' must be a name, not 4"),
        ({"arrays": {"lm_head": [4]}}, r"array of 'lm_head' must be \[rows, columns\]"),
        ({"arrays": {"lm_head": [4, 0]}}, r"array of 'lm_head' must be \[rows, columns\]"),
        ({"arrays": {"lm_head": [4, True]}}, r"array of 'lm_head' must be \[rows, columns\]"),
        ({"notes": 1}, r"notes must be an object"),
    ],
)
def test_malformed_files_are_refused(change: dict, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({**GOOD.to_json(), **change}))
    with pytest.raises(InputError, match=rf"^assignment {path}:? ?{message}"):
        Assignment.load(path)


def test_missing_and_broken_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^assignment .* cannot be read: No such file"):
        Assignment.load(tmp_path / "none.json")
    (tmp_path / "half.json").write_text('{"mxhw_assignment": 1,')
    with pytest.raises(InputError, match=r"^assignment .* is not JSON"):
        Assignment.load(tmp_path / "half.json")
