"""Assignments that change from layer to layer, and the example that writes them."""

import runpy
import sys
from pathlib import Path
from unittest.mock import patch

import pytest

from mxhw import InputError, capture
from mxhw.flow.assignments import layered_assignment, uniform_assignment
from mxhw.ir import Assignment, Graph
from tests.text_model import save_text_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_text_model(tmp_path_factory.mktemp("layers") / "model")


@pytest.fixture(scope="module")
def graph(folder: Path) -> Graph:
    return capture(folder, batch=1, sequence=8)


def test_one_format_of_weights_is_the_uniform_assignment(graph: Graph) -> None:
    assert layered_assignment(graph, ("bitmod4",)).formats == uniform_assignment(graph).formats


def test_formats_of_weights_take_turns_and_inputs_and_attention_have_their_own(graph: Graph) -> None:
    assignment = layered_assignment(graph, ("bitmod4", "bitmod3"), "mxint8", "int8-e8m0")
    assignment.check(graph)
    found = {}
    for key, site in graph.sites.items():
        place = site.node.split(".")[2] if ".layers." in site.node else "head"
        found.setdefault((place, site.operand), set()).add(assignment.formats.get(key))
    turns = {("0", "weight"): "bitmod4", ("1", "weight"): "bitmod3", ("head", "weight"): "bitmod4"}
    inputs = {(place, "input"): "mxint8" for place in ("0", "1", "head")}
    attention = {(place, operand): "int8-e8m0" for place in "01" for operand in ("lhs", "rhs")}
    caches = dict.fromkeys([("0", "cache"), ("1", "cache")])
    assert found == {place: {name} for place, name in (turns | inputs | attention | caches).items()}


def test_there_must_be_a_format(graph: Graph) -> None:
    with pytest.raises(InputError, match="weights must name at least one format"):
        layered_assignment(graph, ())


def run_example(repository: Path, *words: object) -> None:
    with patch.object(sys, "argv", ["mixed_assignments.py", *map(str, words)]):
        runpy.run_path(str(repository / "examples" / "mixed_assignments.py"), run_name="__main__")


def test_the_example_writes_assignments_of_the_model(
    repository: Path, folder: Path, graph: Graph, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_example(repository, folder, tmp_path)
    said = capsys.readouterr().out.splitlines()
    files = {file.stem: file for file in tmp_path.iterdir()}
    assert sorted(files) == ["bitmod-mixed", "dialect"]
    assert all(any(line.startswith(f"{file}: ") for line in said) for file in files.values())
    weights = {}
    for name, file in files.items():
        assignment = Assignment.load(file)
        assignment.check(graph)
        assert assignment.model == str(folder)
        sites = graph.sites.items()
        weights[name] = {site.node: assignment.formats[key] for key, site in sites if site.operand == "weight"}
    mixed = weights["bitmod-mixed"]
    assert {mixed["model.layers.0.mlp.up_proj"], mixed["lm_head"]} == {"bitmod4"}
    assert mixed["model.layers.1.mlp.up_proj"] == "bitmod3"
    assert set(weights["dialect"].values()) == {"dialect4"}


def test_the_example_refuses_what_is_no_model(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        run_example(repository, tmp_path, tmp_path / "out")
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path) in line
    assert not (tmp_path / "out").exists()
