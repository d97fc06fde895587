"""Whole tiny models of other families in integers: near the float model as a whole, and node by node on its values."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from mxhw.arithmetic.dataflow import AttentionScores, AttentionWeights, BlockValues, Integers, Linear, Scores, Step
from mxhw.ir import Assignment, capture_features
from mxhw.ir.describe import INFO
from mxhw.passes.transform import Quantize, QuantizeConfig
from mxhw.passes.transform.lower import (
    IntegerModel,
    LoweredGraph,
    NotLoweredError,
    calibrate,
    integer_inputs,
    lower_graph,
)
from mxhw.passes.transform.lower.probe import attribute
from mxhw.passes.transform.lower.views import info_of
from tests.passes.transform.lower.alone import Alone
from tests.passes.transform.lower.families import FAMILIES, TOKENS, WINDOW, Lowered, eight_bits
from tests.passes.transform.lower.graphs import error, with_operation

MAIN = ("qwen2", "mistral", "gpt2")
ALL = (*MAIN, *(pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES if name not in MAIN))
BLOCKS = {"qwen2": "model.layers", "mistral": "model.layers", "gpt2": "transformer.h"}


@pytest.fixture(scope="module")
def lowered() -> dict[str, Lowered]:
    return {}


@pytest.fixture
def model(request: pytest.FixtureRequest, lowered: dict[str, Lowered]) -> Lowered:
    return lowered.setdefault(request.param, Lowered(request.param))


def of(*families: object) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("model", families, indirect=True)


def off(model: Lowered, lowered: LoweredGraph) -> dict[str, float]:
    """The nodes that are further off than they may be."""
    return Alone(model.graph, lowered, model.assignment, model.ranges, TOKENS).off()


@of(*ALL)
def test_every_node_is_near_its_float_node_on_the_same_values(model: Lowered) -> None:
    assert off(model, model.whole) == {}


@pytest.mark.slow
@pytest.mark.parametrize("family", MAIN)
@pytest.mark.parametrize("formats", [("bitmod4", "int8-e8m0"), ("dialect4", "dialect4-online")])
def test_every_node_is_near_its_float_node_in_other_formats(family: str, formats: tuple[str, str]) -> None:
    model = Lowered(family, formats=lambda graph: eight_bits(graph, *formats))
    assert off(model, model.whole) == {}
    wanted = model.graph.run(model.tokens).double()
    emulated = Quantize(QuantizeConfig(assignment=model.assignment))(model.graph).graph.run(model.tokens)
    assert error(IntegerModel(model.whole).run(model.tokens), wanted) < 1.1 * error(emulated, wanted)


@of(*ALL)
def test_logits_are_near_the_float_model(model: Lowered) -> None:
    integers = IntegerModel(model.whole)
    logits, wanted = integers.run(model.tokens), model.graph.run(model.tokens).double()
    emulated = Quantize(QuantizeConfig(assignment=model.assignment))(model.graph).graph.run(model.tokens)
    assert error(logits, wanted) < 0.15
    assert error(logits, wanted) < 1.3 * error(emulated, wanted)  # what the formats cost in float; embeddings in 8 bits
    assert float(cosine_similarity(logits, wanted, -1).mean()) > 0.98
    assert float((logits.argmax(-1) == wanted.argmax(-1)).double().mean()) > 0.8
    assert integers.report()["saturated"] == 0


@of(*MAIN)
def test_sequences_of_a_batch_and_prefixes_give_their_own_bits(model: Lowered) -> None:
    def run(x: Tensor) -> Tensor:
        return IntegerModel(model.whole).run(x)

    both = run(model.tokens)
    for row in range(2):
        assert torch.equal(run(model.tokens[row : row + 1]), both[row : row + 1])
    for tokens in (1, WINDOW, TOKENS - 1):
        assert torch.equal(run(model.tokens[:, :tokens]), both[:, :tokens])


@of(*MAIN)
@pytest.mark.parametrize("block", [0, 1])
def test_a_block_alone_gives_the_integers_of_the_whole(block: int, model: Lowered) -> None:
    part = model.part(f"{BLOCKS[model.family]}.{block}")
    assert set(part.inputs) == {"hidden", "positions"}
    found = part.run(integer_inputs(part, model.tokens, whole=model.whole), keep=part.steps)
    wanted = model.whole.run(integer_inputs(model.whole, model.tokens), keep=part.steps)
    for name, value in wanted.items():
        assert part.types[name] == model.whole.types[name]
        if isinstance(value, Tensor):
            assert torch.equal(found[name], value), name
        elif isinstance(value, BlockValues):
            assert torch.equal(found[name].integers, value.integers), name
    assert len(found) > 30


# Sliding windows


def scores(lowered: LoweredGraph) -> list[Scores]:
    return [step.operation.y for step in lowered.steps.values() if isinstance(step.operation, AttentionScores)]


def without_window(lowered: LoweredGraph) -> LoweredGraph:
    """The same integers, but every token sees all keys before it."""
    steps = []
    for step in lowered.steps.values():
        operation = step.operation
        if isinstance(operation, AttentionScores):
            operation = replace(operation, y=replace(operation.y, window=None))
        elif isinstance(operation, AttentionWeights):
            operation = replace(operation, x=replace(operation.x, window=None))
        elif hasattr(operation, "weights") and not isinstance(operation, Linear):
            operation = replace(operation, weights=replace(operation.weights, window=None))
        steps.append(Step(step.name, step.node, operation, step.inputs))
    given = {name: getattr(lowered, name) for name in ("model", "sources", "streams", "keys")}
    return LoweredGraph(lowered.inputs, steps, lowered.outputs, **given)


@of("mistral")
def test_a_window_is_seen_from_the_first_token_that_is_longer(model: Lowered) -> None:
    assert [each.window for each in scores(model.whole)] == [WINDOW, WINDOW]
    plain = model.changed(sliding_window=None)
    assert [each.window for each in scores(plain.whole)] == [None, None]
    windowed, full = (IntegerModel(each.whole).run(model.tokens) for each in (model, replace(plain)))
    float_windowed, float_full = (each.graph.run(model.tokens) for each in (model, plain))
    differ = (float_windowed - float_full).abs().amax((0, 2))
    assert float(differ[:WINDOW].max()) < 1e-4 < float(differ[WINDOW:].min())
    assert error(windowed[:, WINDOW:], float_windowed[:, WINDOW:]) < 0.5 * error(
        full[:, WINDOW:], float_windowed[:, WINDOW:]
    )


@of("mistral")
def test_integers_without_the_window_are_found_at_attention(model: Lowered) -> None:
    assert set(off(model, without_window(model.whole))) == {f"model.layers.{i}.self_attn.pv" for i in range(2)}


def test_a_window_as_long_as_the_keys_is_none_and_layers_may_differ() -> None:
    mixed = Lowered("qwen2").changed(use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1)
    assert [each.window for each in scores(mixed.whole)] == [None, WINDOW]
    assert off(mixed, mixed.whole) == {}
    long = Lowered("mistral").changed(sliding_window=TOKENS)
    assert [each.window for each in scores(long.whole)] == [None, None]


# Projections that are read in parts


def projection(model: Lowered, name: str) -> tuple[Tensor, Tensor]:
    """Weight and bias of a linear layer."""
    (node,) = (each for each in model.graph.module.graph.nodes if INFO in each.meta and info_of(each).name == name)
    return attribute(node.args[1]), attribute(node.args[2])


@of("gpt2")
def test_the_parts_of_a_projection_are_the_whole_one_cut(model: Lowered) -> None:
    """Sums of every part are those of the whole weight; the unsplit layer is computed here by hand."""
    name, whole = f"{BLOCKS['gpt2']}.1.attn.c_attn", model.whole
    weight, bias = projection(model, name)
    steps = [whole.steps[f"{name}.{part}"] for part in range(3)]
    (codes,) = {step.inputs[0] for step in steps}
    kept = [codes, *(f"{step.name}{end}" for step in steps for end in ("", ".requantize", ".bias"))]
    values = whole.run(integer_inputs(whole, model.tokens), keep=kept)
    unsplit = Linear.of(weight, whole.types[codes], steps[0].operation.input_format, steps[0].operation.weight_format)
    sums = unsplit.run(values[codes])
    assert torch.equal(torch.cat([values[step.name] for step in steps], -1), sums)
    real = sums.double() * unsplit.scales * 2.0**unsplit.output.exponent + bias.double()
    for index, (step, part) in enumerate(zip(steps, real.split(32, -1), strict=True)):
        kind = whole.types[f"{step.name}.bias"]
        assert isinstance(kind, Integers)
        factor = math.log2(math.e) / math.sqrt(8) if index == 0 else 1.0
        assert float((values[f"{step.name}.bias"] - part * factor * 2.0**-kind.exponent).abs().max()) < 2
    assert whole.streams[f"{name}.2"] == f"{name}.2.bias"


@of("gpt2")
@pytest.mark.parametrize("other", [1, 2])
def test_parts_in_another_order_are_found(other: int, model: Lowered) -> None:
    name = f"{BLOCKS['gpt2']}.0.attn.c_attn"
    product = model.whole.steps[f"{name}.{other}"].operation
    wrong = with_operation(model.whole, f"{name}.0", lambda operation: replace(product, x=operation.x))
    assert f"{name}.0" in off(model, wrong)


@of("gpt2")
@pytest.mark.parametrize("sources", ["whole", "graph"])
def test_attention_whose_projection_is_outside_takes_its_parts(sources: str, model: Lowered) -> None:
    name = f"{BLOCKS['gpt2']}.0.attn"
    part = model.part([f"{name}.{each}" for each in ("qk", "softmax", "pv")])
    assert part.sources == {f"{name}.c_attn.{index}": f"{name}.c_attn.{index}" for index in range(3)}
    found = part.run(integer_inputs(part, model.tokens, **{sources: getattr(model, sources)}))[f"{name}.pv"]
    wanted = model.whole.run(integer_inputs(model.whole, model.tokens), keep=[f"{name}.pv"])[f"{name}.pv"]
    assert torch.equal(found, wanted) if sources == "whole" else error(found, wanted) < 0.1


@of("mistral")
def test_what_comes_from_outside_has_its_place_and_factor(model: Lowered) -> None:
    """Heads of a float node become vectors, the outputs of a rotation are two inputs, queries have their factor."""
    name = "model.layers.0.self_attn"
    for nodes in (["qk", "softmax", "pv"], ["o_proj"]):
        part = model.part([f"{name}.{each}" for each in nodes])
        near = integer_inputs(part, model.tokens, graph=model.graph)
        exact = integer_inputs(part, model.tokens, whole=model.whole)
        assert near.keys() == exact.keys()
        for key in part.sources:
            assert near[key].shape == exact[key].shape
            assert 0 < error(near[key], exact[key]) < 0.1


class Gate(nn.Module):
    """A gate whose two inputs are one linear layer, or two; the halves of one may alternate, or overlap."""

    def __init__(self, way: str) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        weight, bias = (torch.randn(size, generator=generator) for size in ((24, 16), (24,)))
        self.way, self.last = way, nn.Linear(12, 4)
        self.order = torch.arange(24).view(12, 2).T.flatten() if way == "alternating" else torch.arange(24)
        with torch.no_grad():
            nn.init.normal_(self.last.weight, generator=generator)
            self.last.bias.zero_()
            if way == "apart":
                self.gate, self.up = nn.Linear(16, 12), nn.Linear(16, 12)
                for layer, part in ((self.gate, slice(0, 12)), (self.up, slice(12, 24))):
                    layer.weight.copy_(weight[part])
                    layer.bias.copy_(bias[part])
            else:
                self.both = nn.Linear(16, 24)
                back = torch.argsort(self.order)
                self.both.weight.copy_(weight[back])
                self.both.bias.copy_(bias[back])

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "apart":
            gate, up = self.gate(x), self.up(x)
        elif self.way == "alternating":
            gate, up = self.both(x).unflatten(-1, (12, 2)).unbind(-1)
        elif self.way == "overlapping":
            y = self.both(x)
            gate, up = y[..., :12], y[..., 11:23]
        else:
            gate, up = self.both(x).chunk(2, -1)
        return self.last(nn.functional.silu(gate) * up)


def gate(way: str, weights: str = "int8", inputs: str = "int8-e8m0") -> tuple[LoweredGraph, Tensor]:
    """A gate in integers, with the ranges of the one that is apart, and what it gives."""
    x = torch.randn(32, 16, generator=torch.Generator().manual_seed(4))
    graph = capture_features(Gate(way).eval(), x[:1])
    ranges = calibrate(graph, x)
    if way == "apart":
        ranges["gate"] = ranges["up"] = max(ranges["gate"], ranges["up"])
    formats = {key: weights if key.endswith("weight") else inputs for key in graph.sites}
    lowered = lower_graph(graph, Assignment("gate", formats), ranges)
    return lowered, IntegerModel(lowered).run(x)


@pytest.mark.parametrize("way", ["joined", "alternating"])
@pytest.mark.parametrize("formats", [("int8", "int8-e8m0"), ("bitmod4", "int8-e8m0"), ("dialect4", "dialect4-online")])
def test_one_layer_in_parts_gives_the_bits_of_two_layers(way: str, formats: tuple[str, str]) -> None:
    lowered, found = gate(way, *formats)
    apart, wanted = gate("apart", *formats)
    assert torch.equal(found, wanted)
    assert [step.operation.kind for step in lowered.steps.values()] == [
        step.operation.kind for step in apart.steps.values()
    ]


def test_a_format_with_one_scale_for_the_tensor_keeps_it_in_the_parts() -> None:
    lowered, _ = gate("joined", "int8-tensor")
    first, second = (lowered.steps[f"both.{index}"].operation for index in range(2))
    assert torch.equal(first.scales, second.scales)
    apart, _ = gate("apart", "int8-tensor")
    assert not torch.equal(apart.steps["gate"].operation.scales, apart.steps["up"].operation.scales)


def test_parts_that_overlap_are_refused() -> None:
    with pytest.raises(NotLoweredError, match="operand 0 is a part of a vector"):
        gate("overlapping")


# Biases


def test_a_sum_that_its_bias_brings_back_into_range_is_not_cut() -> None:
    """Sums up to 3.4 times the range of the output; a stream of the output's width would cut them."""
    layer = nn.Linear(8, 4)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.bias.fill_(-7.0)
    x = 1 + 0.1 * torch.rand(16, 8, generator=torch.Generator().manual_seed(5))
    graph = capture_features(nn.Sequential(layer, nn.ReLU(), nn.Linear(4, 2)).eval(), x[:1])
    ranges = {**calibrate(graph, x), "0": 4.0}
    formats = {key: "int8" if key.endswith("weight") else "int8-e8m0" for key in graph.sites}
    lowered = lower_graph(graph, Assignment("bias", formats), ranges)
    steps = lowered.run(integer_inputs(lowered, x), keep=["0.requantize", "0.bias"])
    kind = lowered.types["0.bias"]
    assert isinstance(kind, Integers)
    assert int(steps["0.requantize"].max()) > (1 << kind.bits - 1)
    real = nn.functional.linear(x, layer.weight, layer.bias).detach()
    assert float((steps["0.bias"] * 2.0**kind.exponent - real).abs().max()) < 0.05
