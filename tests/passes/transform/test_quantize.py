"""The quantized graph equals an independently quantized eager model bit for bit, and the given graph is untouched."""

import pytest
import torch
from torch import Tensor

from mxhw.errors import InputError
from mxhw.formats import parse_format
from mxhw.ir import Assignment, Graph
from mxhw.passes.transform import Quantize, QuantizeConfig, WeightCache
from tests.passes.transform.hooks import hook_quantized

CASES = [
    ("bitmod4", "int8-e8m0", "int8-e8m0"),
    ("int6-g128-s8", "int8-e8m0", "int8-e8m0"),
    ("dialect4", "dialect4-online", "dialect4-online"),
    ("mxfp4", "mxint8", "mxint8"),
]


def quantized(
    graph: Graph, assignment: Assignment, arithmetic: str = "float", cache: WeightCache | None = None
) -> Graph:
    return Quantize(QuantizeConfig(assignment=assignment, arithmetic=arithmetic), cache)(graph).graph


@pytest.mark.parametrize(("weight", "inputs", "attention"), CASES)
def test_equals_a_hooked_eager_model_bit_for_bit(tiny, tiny_model, windows, uniform, weight, inputs, attention) -> None:
    ours = quantized(tiny, uniform(weight, inputs, attention)).run(windows)
    reference = hook_quantized(tiny_model, weight, inputs, attention)(windows)
    assert torch.equal(ours, reference)
    # negative control: one other format in one place must be seen
    other = dict(uniform(weight, inputs, attention).formats) | {"model.layers.1.self_attn.pv:rhs": "int4"}
    assert not torch.equal(quantized(tiny, Assignment("tiny", other)).run(windows), reference)


def test_given_graph_and_tied_embedding_are_untouched(tiny: Graph, windows: Tensor, uniform) -> None:
    before, code = tiny.run(windows), tiny.module.code
    embedding = tiny.module.get_parameter("model.embed_tokens.weight").clone()
    graph = quantized(tiny, uniform("bitmod3", "int8-e8m0", "int8-e8m0"))
    assert torch.equal(tiny.run(windows), before)
    assert tiny.module.code == code
    assert torch.equal(graph.module.get_parameter("model.embed_tokens.weight"), embedding)
    assert not torch.equal(graph.weight("lm_head"), embedding)
    assert graph.sites["lm_head:weight"].format == "bitmod3"
    assert tiny.sites["lm_head:weight"].format is None


def test_a_source_is_quantized_once_per_format_and_axis(tiny: Graph, uniform) -> None:
    report = Quantize(QuantizeConfig(assignment=uniform("int8", "int8-e8m0", "int8-e8m0")))(tiny).report
    # per layer: q/k/v share an input, gate/up share one; o, down; q, k, p, v of attention; and the head's input
    assert report["quantizers"] == 2 * (1 + 1 + 1 + 1 + 4) + 1
    assert report["weights"] == 15
    mixed = dict(uniform("int8", "int8-e8m0", "int8-e8m0").formats) | {"model.layers.0.self_attn.q_proj:input": "int4"}
    assert Quantize(QuantizeConfig(assignment=Assignment("tiny", mixed)))(tiny).report["quantizers"] == 18


def test_weights_are_quantized_once(tiny: Graph, uniform, monkeypatch) -> None:
    cache = WeightCache()
    assignment = uniform("bitmod4", "int8-e8m0", "int8-e8m0")
    first = quantized(tiny, assignment, cache=cache)
    assert (cache.hits, cache.misses) == (0, 15)
    second = quantized(tiny, assignment, cache=cache)
    assert (cache.hits, cache.misses) == (15, 15)
    assert first.weight("lm_head").data_ptr() == second.weight("lm_head").data_ptr()


def test_cache_sees_a_changed_weight(tiny: Graph, uniform) -> None:
    cache = WeightCache()
    weight = torch.nn.Parameter(torch.randn(4, 128))
    fmt = parse_format("bitmod4")
    first = cache.fake_quantized(weight, fmt, -1)
    with torch.no_grad():
        weight.mul_(3)
    assert torch.equal(cache.fake_quantized(weight, fmt, -1), fmt.fake_quantize(weight.detach()))
    assert not torch.equal(first, cache.fake_quantized(weight, fmt, -1))


@pytest.mark.parametrize(("weight", "inputs", "attention"), CASES[:3])
def test_hardware_arithmetic_covers_all_and_is_near_float(tiny, windows, uniform, weight, inputs, attention) -> None:
    result = Quantize(QuantizeConfig(assignment=uniform(weight, inputs, attention), arithmetic="hardware"))(tiny)
    assert result.report["nodes_without"] == []
    assert result.report["mac_coverage"] == 1.0
    assert len(result.report["nodes_in_hardware"]) == len(tiny.gemms)
    exact = result.graph.run(windows)
    near = quantized(tiny, uniform(weight, inputs, attention)).run(windows)
    # A quantizer turns a last-bit difference into a step now and then, so only most outputs are equal.
    assert (exact - near).abs().median() < 1e-4 * near.abs().mean()


def test_hardware_arithmetic_names_what_has_no_unit(tiny: Graph, windows: Tensor, uniform) -> None:
    formats = dict(uniform("bitmod4", "int8-e8m0", "int8-e8m0").formats)
    formats["lm_head:weight"] = "int4-g32"
    del formats["model.layers.0.self_attn.qk:lhs"]
    result = Quantize(QuantizeConfig(assignment=Assignment("tiny", formats), arithmetic="hardware"))(tiny)
    assert set(result.report["nodes_without"]) == {"lm_head", "model.layers.0.self_attn.qk"}
    macs = {info.name: info.gemm(*tiny.sizes()).macs for info in tiny.gemms}
    missing = macs["lm_head"] + macs["model.layers.0.self_attn.qk"]
    assert result.report["mac_coverage"] == pytest.approx(1 - missing / sum(macs.values()))
    assert torch.isfinite(result.graph.run(windows)).all()


def test_unknown_names_are_refused(tiny: Graph) -> None:
    with pytest.raises(InputError, match="did you mean 'lm_head:weight'"):
        quantized(tiny, Assignment("tiny", {"lm_hed:weight": "bitmod4"}))
    with pytest.raises(InputError, match="bitmod"):
        quantized(tiny, Assignment("tiny", {"lm_head:weight": "bitmod9"}))
    with pytest.raises(InputError, match="arithmetic must be 'float' or 'hardware'"):
        QuantizeConfig(assignment=Assignment("tiny"), arithmetic="exact")
