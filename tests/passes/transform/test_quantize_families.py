"""Every family's quantized graph equals an eager model that was quantized by hooks, bit for bit."""

import pytest
import torch

from mxhw.formats import parse_format
from mxhw.ir import Assignment, Graph
from mxhw.ir.symbolic import size_at
from mxhw.passes.transform import Quantize, QuantizeConfig
from tests.ir.zoo import FAMILIES, captured, eager_model, inputs
from tests.passes.transform.hooks import hook_quantized

FORMATS = (("mxfp4", "mxfp8-e4m3", "int8"), ("int4-g32", "int8-e8m0", "mxint8"))  # weights, inputs, attention
SIZES = ((1, 12), (3, 33))


def assignment(graph: Graph, formats: tuple[str, str, str], skip: str | None = None) -> Assignment:
    weight, given, attention = formats
    by_operand = {"weight": weight, "input": given, "lhs": attention, "rhs": attention}
    chosen = {
        key: by_operand[site.operand] for key, site in graph.sites.items() if site.operand in by_operand and key != skip
    }
    return Assignment(graph.signature.model, chosen)


def quantized(graph: Graph, formats: tuple[str, str, str], skip: str | None = None) -> Graph:
    return Quantize(QuantizeConfig(assignment=assignment(graph, formats, skip)))(graph).graph


@pytest.mark.parametrize("name", FAMILIES)
def test_quantized_graph_equals_the_hook_quantized_model(name: str) -> None:
    formats = FORMATS[FAMILIES.index(name) % len(FORMATS)]
    graph, reference = quantized(captured(name), formats), hook_quantized(eager_model(name), *formats)
    for batch, sequence in SIZES:
        x = inputs(name, batch, sequence)
        assert torch.equal(graph.run(x), reference(x))


@pytest.mark.parametrize("name", ["falcon", "mamba", "vit", "cnn"])
def test_the_comparison_sees_any_site_left_out(name: str) -> None:
    x = inputs(name, 4, 48)
    reference = hook_quantized(eager_model(name), *FORMATS[0])(x)
    graph = captured(name)
    sites = assignment(graph, FORMATS[0]).formats
    assert {graph.sites[key].operand for key in sites} == {"weight", "input"} | (
        {"lhs", "rhs"} if name != "cnn" else set()
    )
    for site in sites:
        assert not torch.equal(quantized(graph, FORMATS[0], skip=site).run(x), reference), site


def test_a_convolution_is_rounded_along_its_channels() -> None:
    sites = captured("cnn").sites
    assert [sites[key].axis for key in ("0:weight", "0:input", "5:weight", "5:input")] == [-3] * 4
    assert (sites["4:weight"].axis, sites["4:input"].axis) == (-1, -3)  # depthwise: the taps of a row
    pixels, format = torch.randn(2, 3, 8, 8), "int8-e8m0"
    graph = quantized(captured("cnn"), ("fp32", format, format))
    rounded = graph.operand("0", "input")
    assert rounded.args[1:] == (format, -3)
    by_pixel = parse_format(format).fake_quantize(pixels.permute(0, 2, 3, 1).reshape(-1, 3))
    assert torch.equal(rounded.target(pixels, *rounded.args[1:]).permute(0, 2, 3, 1).reshape(-1, 3), by_pixel)


def test_hardware_arithmetic_names_products_without_a_unit() -> None:
    """Convolutions and products of two activations have no unit: they are emulated, and counted as such."""
    for name in ("falcon", "cnn"):
        graph = captured(name)
        config = QuantizeConfig(
            assignment=assignment(graph, ("bitmod4", "int8-e8m0", "int8-e8m0")), arithmetic="hardware"
        )
        result = Quantize(config)(graph)
        emulated = [info for info in graph.nodes.values() if info.op in ("matmul", "conv")]
        assert result.report["nodes_without"] == [info.name for info in emulated] != []
        share = sum(size_at(info.macs, *graph.sizes()) for info in emulated) / graph.macs()
        assert result.report["mac_coverage"] == pytest.approx(1 - share)
        assert torch.isfinite(result.graph.run(inputs(name, 1, 12))).all()
