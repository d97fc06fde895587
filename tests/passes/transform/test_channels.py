"""Formats by output channel in a graph: each channel of a weight is in its run's format, in every arithmetic."""

import copy
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from mxhw.arithmetic.dataflow import Linear
from mxhw.errors import InputError
from mxhw.formats import parse_format
from mxhw.ir import Assignment, Graph
from mxhw.passes.transform import Quantize, QuantizeConfig, WeightCache
from mxhw.passes.transform.lower import NotLoweredError, integer_inputs
from tests.ir.zoo import captured, eager_model, ids, inputs
from tests.ir.zoo_experts import captured_mixture, eager_mixture
from tests.passes.transform.lower.families import Lowered, eight_bits

HIGH, LOW = "bitmod4", "bitmod3"


def mixed(graph: Graph, runs: tuple[tuple[str, int], ...] = ((HIGH, 3), (LOW, 0)), **others: str) -> Assignment:
    """Weights with a run of a few channels and one of all that are left; other operands as given."""
    formats = {}
    for key, site in graph.sites.items():
        if site.operand == "weight":
            (first, count), (second, _) = runs
            outputs = int(site.shape[0] if len(site.shape) != 3 else site.shape[1])
            formats[key] = f"{first}*{count}+{second}*{outputs - count}"
        elif site.operand in others:
            formats[key] = others[site.operand]
    return Assignment(graph.signature.model, formats)


def by_hand(weight: Tensor, axis: int, dimension: int, count: int = 3) -> Tensor:
    first, second = (part.clone() for part in weight.split([count, weight.shape[dimension] - count], dimension))
    rounded = parse_format(HIGH).fake_quantize(first, axis), parse_format(LOW).fake_quantize(second, axis)
    return torch.cat(rounded, dimension)


def quantized(graph: Graph, assignment: Assignment, arithmetic: str = "float") -> Graph:
    return Quantize(QuantizeConfig(assignment=assignment, arithmetic=arithmetic))(graph).graph


def test_equals_an_eager_model_whose_weights_are_rounded_run_by_run(
    tiny: Graph, tiny_model: nn.Module, windows: Tensor
) -> None:
    def reference(count: int) -> Tensor:
        model = copy.deepcopy(tiny_model)
        for module in model.modules():
            if isinstance(module, nn.Linear):  # the embedding that the head shares stays as it is
                module.weight = nn.Parameter(by_hand(module.weight.detach(), -1, 0, count))
        with torch.no_grad():
            return model(windows).logits

    found = quantized(tiny, mixed(tiny)).run(windows)
    assert torch.equal(found, reference(3))
    assert not torch.equal(found, reference(4))


def test_a_convolution_s_runs_are_its_output_channels() -> None:
    graph, model = captured("cnn"), copy.deepcopy(eager_model("cnn"))
    x = inputs("cnn", 2, 48)
    site = graph.sites["5:weight"]
    formats = {"5:weight": f"{HIGH}*3+{LOW}*{int(site.shape[0]) - 3}"}
    convolution = model.get_submodule("5")
    convolution.weight = nn.Parameter(by_hand(convolution.weight.detach(), 1, 0))
    with torch.no_grad():
        assert torch.equal(quantized(graph, Assignment("cnn", formats)).run(x), model(x))
    with pytest.raises(
        InputError, match=r"site '4:weight': .*: a convolution's weight .* has no runs of output channels"
    ):
        Assignment("cnn", {"4:weight": f"{HIGH}*3+{LOW}*{int(graph.sites['4:weight'].shape[0]) - 3}"}).check(graph)


def test_every_expert_has_the_same_runs() -> None:
    graph, model = captured_mixture("mixtral"), copy.deepcopy(eager_mixture("mixtral"))
    name = "model.layers.0.mlp.experts.down_proj"
    outputs = int(graph.sites[f"{name}:weight"].shape[1])
    weight = model.get_parameter(name)
    weight.data = torch.stack([by_hand(expert, -1, 0) for expert in weight.detach()])
    tokens = ids(2, 9)
    found = quantized(graph, Assignment("mixtral", {f"{name}:weight": f"{HIGH}*3+{LOW}*{outputs - 3}"})).run(tokens)
    with torch.no_grad():
        assert torch.equal(found, model(tokens).logits)


def test_weights_are_rounded_once_whatever_their_format_is_called(tiny: Graph) -> None:
    cache = WeightCache()
    for name in (f"{HIGH}*2+{LOW}*30", f"{HIGH}*1+{HIGH}*1+{LOW}*10+{LOW}*20"):
        assignment = Assignment("tiny", {"model.layers.0.self_attn.q_proj:weight": name})
        Quantize(QuantizeConfig(assignment=assignment), cache)(tiny)
    assert (cache.misses, cache.hits) == (1, 1)


@pytest.mark.parametrize(
    ("site", "name", "message"),
    [
        ("model.layers.0.self_attn.q_proj:weight", "bitmod4*8+bitmod3*8", "the runs have 16 channels, .* has 32; the"),
        ("model.layers.0.self_attn.q_proj:weight", "bitmod4+bitmod3", r"the run 'bitmod4' is not of the form FORMAT"),
        ("model.layers.0.self_attn.q_proj:input", "int8*8+int4*8", "only a weight has output channels; give the input"),
        ("model.layers.0.self_attn.qk:rhs", "int8*4+int4*4", "only a weight has output channels; give the rhs one"),
        ("model.layers.0.self_attn.qk:cache", "int8*4+int4*4", "only a weight has output channels; give the cache one"),
    ],
)
def test_a_site_that_runs_do_not_fit_is_named(tiny: Graph, site: str, name: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"site '{site}': .*{message}") as caught:
        Quantize(QuantizeConfig(assignment=Assignment("tiny", {site: name})))(tiny)
    assert "\n" not in str(caught.value)


def test_hardware_arithmetic_takes_runs_that_one_array_has_and_names_others(tiny: Graph, windows: Tensor) -> None:
    given = {"input": "int8-e8m0", "lhs": "int8-e8m0", "rhs": "int8-e8m0"}
    result = Quantize(QuantizeConfig(assignment=mixed(tiny, **given), arithmetic="hardware"))(tiny)
    assert result.report["nodes_without"] == []
    assert result.report["mac_coverage"] == 1.0
    apart = ((HIGH, 3), ("mxfp4", 0))
    other = Quantize(QuantizeConfig(assignment=mixed(tiny, apart, **given), arithmetic="hardware"))(tiny)
    linear = {info.name for info in tiny.gemms if info.op == "linear"}
    assert set(other.report["nodes_without"]) == linear
    assert bool(torch.isfinite(other.graph.run(windows)).all())


def runs_of_all(graph: Graph, low: str = LOW) -> Assignment:
    """Three runs in every weight: high, low, high."""
    plain = eight_bits(graph, weights=HIGH)
    formats = dict(plain.formats)
    for key, site in graph.sites.items():
        if site.operand == "weight":
            outputs = int(site.shape[0])
            third = outputs // 3
            formats[key] = f"{HIGH}*{third}+{low}*{third}+{HIGH}*{outputs - 2 * third}"
    return Assignment(plain.model, formats)


@pytest.mark.parametrize("family", ["qwen2", "gpt2"])
def test_a_lowered_model_has_the_sums_of_every_run(family: str) -> None:
    """Also where one projection is read in parts, which cut through the runs."""
    model = Lowered(family, formats=runs_of_all)
    whole, products = model.whole, 0
    names = [name for name, step in whole.steps.items() if isinstance(step.operation, Linear)]
    sources = {whole.steps[name].inputs[0] for name in names}
    values = whole.run(integer_inputs(whole, model.tokens), keep=[*names, *sources])
    for name in names:
        step = whole.steps[name]
        made, x = step.operation, values[step.inputs[0]]
        weight = model.graph.weight(step.node)
        third, start = len(weight) // 3, 0
        part = name.removeprefix(f"{step.node}.")
        first = int(part) * made.channels if part.isdigit() else 0
        for fmt, rows in ((HIGH, range(third)), (LOW, range(third, 2 * third)), (HIGH, range(2 * third, len(weight)))):
            own = Linear.of(weight[list(rows)], made.x, made.input_format, parse_format(fmt))
            inside = [row for row in rows if first <= row < first + made.channels]
            expected = own.run(x)[..., [row - rows.start for row in inside]]
            assert torch.equal(values[name][..., [row - first for row in inside]], expected)
            start += len(inside)
        assert start == made.channels
        products += 1
    assert products == len(names) > 4


def test_runs_without_an_array_are_not_lowered_and_their_nodes_are_named() -> None:
    model = Lowered("qwen2", formats=partial(runs_of_all, low="int8"))
    with pytest.raises(NotLoweredError) as caught:
        _ = model.whole
    reason = "bitmod4 and int8 weights have no array in common: groups of 128 and no groups"
    assert "q_proj" in str(caught.value)
    assert reason in str(caught.value)
    linear = {info.name for info in model.graph.gemms if info.op == "linear"}
    assert {name for name, _, why in caught.value.missing if reason in why} == linear
