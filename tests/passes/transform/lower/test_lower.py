"""A lowered Llama: its steps, near float emulation, causal to the bit, and the same in parts."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from mxhw.arithmetic.dataflow import Indices, IntegerGraph, Integers, Operation, Requantize
from mxhw.errors import InputError
from mxhw.ir import Assignment, Graph
from mxhw.passes.transform import Quantize, QuantizeConfig
from mxhw.passes.transform.lower import IntegerModel, LoweredGraph, integer_inputs, lower_graph
from tests.passes.transform.lower.graphs import error, with_operation

BLOCK = "model.layers.0"
STEPS = [
    "input_layernorm",
    "input_layernorm.quantize",
    "self_attn.q_proj",
    "self_attn.q_proj.requantize",
    "self_attn.k_proj",
    "self_attn.k_proj.requantize",
    "self_attn.v_proj",
    "self_attn.v_proj.requantize",
    "self_attn.rope.q",
    "self_attn.rope.q.requantize",
    "self_attn.rope.k",
    "self_attn.rope.k.requantize",
    "self_attn.rope.q.quantize",
    "self_attn.rope.k.quantize",
    "self_attn.qk",
    "self_attn.softmax",
    "self_attn.v_proj.quantize",
    "self_attn.pv",
    "self_attn.pv.quantize",
    "self_attn.o_proj",
    "self_attn.o_proj.requantize",
    "add",
    "post_attention_layernorm",
    "post_attention_layernorm.quantize",
    "mlp.gate_proj",
    "mlp.gate_proj.requantize",
    "mlp.act_fn",
    "mlp.up_proj",
    "mlp.up_proj.requantize",
    "mlp.mul",
    "mlp.mul.quantize",
    "mlp.down_proj",
    "mlp.down_proj.requantize",
    "add_2",
]


def kl(reference: Tensor, logits: Tensor) -> float:
    p, q = reference.double().log_softmax(-1), logits.double().log_softmax(-1)
    return float((p.exp() * (p - q)).sum(-1).mean())


@pytest.fixture(scope="module")
def emulation(tiny: Graph, assignment: Assignment, windows: Tensor) -> Tensor:
    return Quantize(QuantizeConfig(assignment=assignment))(tiny).graph.run(windows)


def test_a_block_has_the_steps_of_the_design(tiny: Graph, assignment: Assignment, ranges: dict[str, float]) -> None:
    block = lower_graph(tiny, assignment, ranges, nodes=BLOCK)
    assert list(block.steps) == [f"{BLOCK}.{name}" for name in STEPS]
    assert set(block.inputs) == {"hidden", "positions"}
    assert block.inputs["positions"] == Indices(count=16)
    assert block.outputs == (f"{BLOCK}.add_2",)
    assert block.sources == {"hidden": "model.embed_tokens"}
    assert all(step.node in tiny.nodes for step in block.steps.values())


def test_streams_have_the_widths_of_the_design(tiny: Graph, whole: LoweredGraph, ranges: dict[str, float]) -> None:
    kinds = {name: step.operation.kind for name, step in whole.steps.items()}
    residual = [name for name, kind in kinds.items() if kind in ("embedding", "add")]
    assert len(residual) == 1 + 2 * 2
    exponent = math.ceil(math.log2(max(ranges[name] for name in residual))) + 1 - 23
    assert {whole.types[name] for name in residual} == {Integers(length=32, bits=24, exponent=exponent)}
    for name in ("self_attn.o_proj", "mlp.down_proj"):
        assert whole.types[f"{BLOCK}.{name}.requantize"] == whole.types[residual[0]]
    norm = whole.types[f"{BLOCK}.input_layernorm"]
    largest = max(ranges[f"model.layers.{layer}.input_layernorm"] for layer in range(2))
    assert norm == Integers(length=32, bits=16, exponent=math.ceil(math.log2(largest)) + 1 - 15)
    logits = whole.types["lm_head.requantize"]
    assert logits == Integers(length=64, bits=32, exponent=math.ceil(math.log2(ranges["lm_head"])) + 2 - 31)


def test_logits_are_near_float_emulation(whole: LoweredGraph, windows: Tensor, emulation: Tensor) -> None:
    model = IntegerModel(whole)
    logits = model.run(windows)
    assert error(logits, emulation) < 0.08  # flipped codes, mostly: the model is random, and small
    assert kl(emulation, logits) < 5e-3
    assert model.report()["saturated"] == 0
    assert model.report()["elements"] > 50_000


@pytest.mark.parametrize("name", [f"{BLOCK}.self_attn.q_proj.requantize", f"{BLOCK}.mlp.down_proj.requantize"])
def test_a_wrong_shift_is_seen(name: str, whole: LoweredGraph, windows: Tensor, emulation: Tensor) -> None:
    def wrong(operation: Operation) -> Operation:
        assert isinstance(operation, Requantize)
        return replace(operation, spec=replace(operation.spec, shift=operation.spec.shift - 1))

    assert error(IntegerModel(with_operation(whole, name, wrong)).run(windows), emulation) > 0.15


def test_saturated_elements_are_counted(tiny: Graph, assignment: Assignment, ranges, windows: Tensor) -> None:
    names = {f"model.layers.{layer}.mlp.mul" for layer in range(2)}  # which share an exponent
    model = IntegerModel(lower_graph(tiny, assignment, ranges | {name: ranges[name] / 8 for name in names}))
    model.run(windows)
    assert sum(model.saturated.values()) > 0
    assert set(model.saturated) <= names


def test_a_prefix_and_a_batch_give_the_same_bits(whole: LoweredGraph, windows: Tensor) -> None:
    def run(x: Tensor) -> Tensor:
        return whole.run(integer_inputs(whole, x))["lm_head.requantize"]

    full = run(windows)
    for tokens in (1, 5, 15):
        assert torch.equal(run(windows[:, :tokens]), full[:, :tokens])
    for i in range(len(windows)):
        assert torch.equal(run(windows[i : i + 1]), full[i : i + 1])
    later = windows.clone()
    later[:, -1] = (later[:, -1] + 1) % 64
    assert not torch.equal(run(later), full)  # what has changed is seen, but not before it comes
    assert torch.equal(run(later)[:, :-1], full[:, :-1])


@pytest.mark.parametrize("nodes", [BLOCK, "model.layers.1.mlp", ["model.layers.1.self_attn", "model.layers.1.add"]])
def test_a_part_computes_what_the_whole_does(
    nodes, tiny: Graph, assignment: Assignment, ranges, windows: Tensor, whole: LoweredGraph
) -> None:
    part = lower_graph(tiny, assignment, ranges, nodes=nodes)
    found = part.run(integer_inputs(part, windows, whole=whole), keep=part.steps)
    wanted = whole.run(integer_inputs(whole, windows), keep=[name for name in part.steps if name in whole.steps])
    assert len(wanted) >= len(found) - 1 > 3  # a quantizer of an input may stand outside in the whole
    for name, value in wanted.items():
        if isinstance(value, Tensor):
            assert torch.equal(found[name], value), name


def test_inputs_of_a_part_come_from_the_float_model_too(
    tiny: Graph, assignment: Assignment, ranges, windows: Tensor, whole: LoweredGraph
) -> None:
    block = lower_graph(tiny, assignment, ranges, nodes="model.layers.1")
    near, exact = (integer_inputs(block, windows, **given)["hidden"] for given in ({"graph": tiny}, {"whole": whole}))
    assert near.shape == exact.shape == (3, 16, 32)
    assert 0 < error(near, exact) < 0.05
    with pytest.raises(InputError, match=r"model.layers.0.add_2 is read from outside"):
        integer_inputs(block, windows)
    with pytest.raises(InputError, match=r"1 to 16\], not \[3, 17\]"):
        integer_inputs(block, torch.zeros(3, 17, dtype=torch.int64), whole=whole)


def test_a_stream_is_quantized_once_per_format(tiny: Graph, assignment: Assignment, ranges) -> None:
    other = {f"{BLOCK}.self_attn.v_proj:input": "int6-e8m0"}
    lowered = lower_graph(tiny, replace(assignment, formats={**assignment.formats, **other}), ranges, nodes=BLOCK)
    names = [name for name in lowered.steps if name.startswith(f"{BLOCK}.input_layernorm.quantize")]
    assert names == [f"{BLOCK}.input_layernorm.quantize", f"{BLOCK}.input_layernorm.quantize_2"]
    readers = {step.name: step.inputs for step in lowered.steps.values()}
    assert readers[f"{BLOCK}.self_attn.q_proj"] == readers[f"{BLOCK}.self_attn.k_proj"] == (names[0],)
    assert readers[f"{BLOCK}.self_attn.v_proj"] == (names[1],)


@pytest.mark.parametrize("formats", [("bitmod4", "int8-e8m0"), ("dialect4", "dialect4-online")])
def test_other_formats_are_near_their_emulation(formats, tiny: Graph, assignment, ranges, windows: Tensor) -> None:
    names = dict(zip(("weight", "input"), formats, strict=True))
    given = {key: names.get(key.rpartition(":")[2], name) for key, name in assignment.formats.items()}
    other = replace(assignment, formats=given)
    emulated = Quantize(QuantizeConfig(assignment=other))(tiny).graph.run(windows)
    lowered = IntegerModel(lower_graph(tiny, other, ranges)).run(windows)
    plain = tiny.run(windows)
    assert error(lowered, plain) < 1.25 * error(emulated, plain)  # codes flip, but integers lose little more
    assert error(lowered, emulated) < 0.75 * error(emulated, plain)


def test_more_keys_change_no_bit(tiny: Graph, assignment: Assignment, ranges, windows: Tensor, whole) -> None:
    longer = lower_graph(tiny, assignment, ranges, keys=40)
    assert longer.inputs["positions"] == Indices(count=40)
    assert torch.equal(IntegerModel(longer).run(windows), IntegerModel(whole).run(windows))
    for wrong in (0, 65, 3.5):
        with pytest.raises(InputError, match="keys must be 1 to the context of 64"):
            lower_graph(tiny, assignment, ranges, keys=wrong)


def test_a_part_gives_no_logits(tiny: Graph, assignment: Assignment, ranges) -> None:
    with pytest.raises(InputError, match="a part of a model gives no logits"):
        IntegerModel(lower_graph(tiny, assignment, ranges, nodes=BLOCK))


def test_unknown_names_and_ranges_are_refused(tiny: Graph, assignment: Assignment, ranges) -> None:
    with pytest.raises(InputError, match=r"no node 'model.layers.7'"):
        lower_graph(tiny, assignment, ranges, nodes="model.layers.7")
    with pytest.raises(InputError, match=r"no node 'model.layers.0.mlp.gate'"):  # a prefix ends at a dot
        lower_graph(tiny, assignment, ranges, nodes="model.layers.0.mlp.gate")
    few = {name: value for name, value in ranges.items() if name != f"{BLOCK}.mlp.mul"}
    with pytest.raises(InputError, match=f"ranges lack '{BLOCK}.mlp.mul'"):
        lower_graph(tiny, assignment, few)


def test_the_graph_is_an_integer_graph(whole: LoweredGraph) -> None:
    assert isinstance(whole, IntegerGraph)
    assert whole.streams["lm_head"] == "lm_head.requantize"
    assert whole.streams[f"{BLOCK}.self_attn.rope.0"] == f"{BLOCK}.self_attn.rope.q.requantize"


class Block(nn.Module):
    """Biases, a LayerNorm, a sum of two branches, activations with and without a table."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(16, 32), nn.Linear(32, 32), nn.Linear(32, 8)
        self.norm = nn.LayerNorm(32)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        return self.last(nn.functional.gelu(x + self.second(self.norm(x))))


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_a_plain_mlp_is_near_its_float_model(approximate: str) -> None:
    from mxhw.ir import capture_features
    from mxhw.passes.transform.lower import calibrate

    x = torch.randn(64, 16)
    for model in (Block(), nn.Sequential(nn.Linear(16, 24), nn.GELU(approximate), nn.Linear(24, 4))):
        graph = capture_features(model.eval(), x[:1])
        formats = {key: "int8" if key.endswith("weight") else "int8-e8m0" for key in graph.sites}
        lowered = lower_graph(graph, Assignment("mlp", formats), calibrate(graph, x))
        assert lowered.inputs == {"input": lowered.inputs["input"]}
        assert isinstance(lowered.inputs["input"], Integers)
        assert lowered.inputs["input"].bits == 16
        assert error(IntegerModel(lowered).run(x), graph.run(x)) < 0.02
