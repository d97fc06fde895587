"""Assignments that change from layer to layer, and the example that writes them."""

import subprocess
import sys
from pathlib import Path

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


def test_the_example_writes_assignments_of_the_model(repository: Path, folder: Path, graph: Graph) -> None:
    example, out = repository / "examples" / "mixed_assignments.py", folder.parent / "assignments"
    command = [sys.executable, str(example)]
    ran = subprocess.run([*command, str(folder), str(out)], capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    found = {file.stem: Assignment.load(file) for file in out.iterdir()}
    assert sorted(found) == ["bitmod-mixed", "dialect"]
    weights = {
        name: {site.node: assignment.formats[key] for key, site in graph.sites.items() if site.operand == "weight"}
        for name, assignment in found.items()
    }
    mixed = weights["bitmod-mixed"]
    assert {mixed["model.layers.0.mlp.up_proj"], mixed["lm_head"]} == {"bitmod4"}
    assert mixed["model.layers.1.mlp.up_proj"] == "bitmod3"
    assert set(weights["dialect"].values()) == {"dialect4"}
    for assignment in found.values():
        assignment.check(graph)
        assert str(folder) == assignment.model
    ran = subprocess.run([*command, "nothing", str(out)], capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 2
    assert "model 'nothing' is no directory" in ran.stderr.splitlines()[-1]
    assert "Traceback" not in ran.stderr
