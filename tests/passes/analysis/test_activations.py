"""Captured inputs are those that the nodes get, also where the graph computes in hardware arithmetic."""

import pytest
import torch
from torch import nn

import mxhw
from mxhw.errors import InputError
from mxhw.formats import parse_format
from mxhw.ir import Assignment, Graph
from mxhw.passes.analysis.activations import capture_inputs
from mxhw.passes.transform.quantize import Quantize, QuantizeConfig


@pytest.fixture(scope="module")
def graph() -> Graph:
    torch.manual_seed(3)
    return mxhw.capture(nn.Sequential(nn.Linear(24, 40), nn.ReLU(), nn.Linear(40, 12, bias=False)))


def test_inputs_are_those_of_the_float_layers(graph: Graph) -> None:
    x = torch.randn(6, 24)
    first, second = [info.name for info in graph.gemms]
    seen = capture_inputs(graph, x, [second, first])
    assert list(seen) == [second, first]
    assert torch.equal(seen[first], x)
    bias = graph.fx_node(first).args[2]
    hidden = torch.relu(x @ graph.weight(first).T + getattr(graph.module, str(bias.target), torch.zeros(40)))
    assert seen[second].shape == hidden.shape
    assert torch.equal(graph.run(x), seen[second] @ graph.weight(second).T)


@pytest.mark.parametrize("arithmetic", ["float", "hardware"])
def test_of_a_hardware_graph_they_are_not_yet_rounded(graph: Graph, arithmetic: str) -> None:
    x = torch.randn(6, 24)
    first = graph.gemms[0].name
    formats = {f"{first}:weight": "bitmod4", f"{first}:input": "int8-e8m0"}
    config = QuantizeConfig(assignment=Assignment("m", formats), arithmetic=arithmetic)  # type: ignore[arg-type]
    seen = capture_inputs(Quantize(config)(graph).graph, x, [first])[first]
    rounded = parse_format("int8-e8m0").fake_quantize(x)
    assert torch.equal(seen, x if arithmetic == "hardware" else rounded)


def test_what_cannot_be_captured_is_refused(graph: Graph) -> None:
    x = torch.randn(6, 24)
    first = graph.gemms[0].name
    with pytest.raises(InputError, match="no node"):
        capture_inputs(graph, x, ["absent"])
    other = next(info.name for info in graph.nodes.values() if info.op != "linear")
    with pytest.raises(InputError, match="only the input of a linear layer"):
        capture_inputs(graph, x, [other])
    with pytest.raises(InputError, match="not finite"):
        capture_inputs(graph, torch.full((6, 24), torch.inf), [first])
