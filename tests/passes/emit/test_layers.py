"""A whole assignment is emitted: the activations of its hardware arithmetic, and what its graph computes from them."""

from pathlib import Path

import pytest
import torch
from torch import nn

import mxhw
from mxhw import arithmetic
from mxhw.errors import InputError
from mxhw.ir import Assignment, Graph
from mxhw.passes.analysis.activations import capture_inputs
from mxhw.passes.emit import EmitLayers, EmitLayersConfig, emittable
from mxhw.passes.transform.quantize import Quantize, QuantizeConfig
from mxhw.sim import GemmDesign, find_designs


@pytest.fixture(scope="module")
def graph() -> Graph:
    torch.manual_seed(3)
    layers = [nn.Linear(24, 40, bias=False), nn.ReLU(), nn.Linear(40, 12, bias=False), nn.Linear(12, 3)]
    return mxhw.capture(nn.Sequential(*layers))


def assignment(graph: Graph) -> Assignment:
    first, second, _ = (info.name for info in graph.gemms)
    formats = {f"{first}:weight": "bitmod4", f"{first}:input": "int8-e8m0"}
    formats |= {f"{second}:weight": "dialect4", f"{second}:input": "dialect4-online"}
    return Assignment("m", formats, {first: (2, 4)})


def test_every_layer_with_a_unit_is_emitted_with_its_array(graph: Graph, tmp_path: Path) -> None:
    chosen = assignment(graph)
    config = EmitLayersConfig(assignment=chosen, tokens=torch.randn(6, 24), folder=tmp_path, rows=5)
    result = EmitLayers(config)(graph)
    assert result.graph is graph
    first, second, third = (info.name for info in graph.gemms)
    assert emittable(graph, chosen) == [first, second]
    assert [layer["node"] for layer in result.report["layers"]] == [first, second]
    designs = {design.node: design for design in map(GemmDesign.load, find_designs(tmp_path))}
    assert (designs[first].rows, designs[first].columns, designs[first].m) == (2, 4, 5)
    assert (designs[second].unit, designs[second].rows, designs[second].columns) == ("dialect", 4, 8)
    assert third not in designs


def test_the_emitted_layer_is_the_one_that_was_evaluated(graph: Graph, tmp_path: Path) -> None:
    chosen, x = assignment(graph), torch.randn(6, 24)
    exact = Quantize(QuantizeConfig(assignment=chosen, arithmetic="hardware"))(graph).graph
    first, second, _ = (info.name for info in graph.gemms)
    EmitLayers(EmitLayersConfig(assignment=chosen, tokens=x, folder=tmp_path))(graph)
    hidden = torch.relu(arithmetic.gemm(x, graph.weight(first), "int8-e8m0", "bitmod4"))
    assert torch.equal(capture_inputs(exact, x, [second])[second], hidden)


def test_nodes_without_a_unit_and_empty_assignments_are_refused(graph: Graph, tmp_path: Path) -> None:
    third = graph.gemms[2].name
    common = {"tokens": torch.randn(6, 24), "folder": tmp_path}
    with pytest.raises(InputError, match=f"node '{third}' with formats .* has no unit"):
        EmitLayers(EmitLayersConfig(assignment=assignment(graph), nodes=[third], **common))(graph)
    with pytest.raises(InputError, match="no node 'absent'"):
        EmitLayers(EmitLayersConfig(assignment=assignment(graph), nodes=["absent"], **common))(graph)
    with pytest.raises(InputError, match="no layer to emit"):
        EmitLayers(EmitLayersConfig(assignment=Assignment("m"), **common))(graph)
    with pytest.raises(InputError, match="at least 1"):
        EmitLayersConfig(assignment=Assignment("m"), rows=0, **common)
