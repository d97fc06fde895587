"""Equal layers are found step for step, and what one block cannot compute for all of them is refused by name."""

import pytest

from mxhw.arithmetic.dataflow import AttentionScores, AttentionValues, Folded, Linear, Operation
from mxhw.errors import InputError
from mxhw.passes.transform.fold import match_layers
from mxhw.passes.transform.fold.layers import fold_operations
from tests.passes.transform.fold.models import model, rewired
from tests.passes.transform.lower.graphs import with_operation

FRONT = {"qwen2": ["model.embed_tokens"], "gpt2": ["transformer.wte", "transformer.wpe", "transformer.add"]}
NORM = {"qwen2": "model.norm", "gpt2": "transformer.ln_f"}


@pytest.mark.parametrize("family", ["qwen2", "gpt2"])
def test_every_step_is_in_front_of_the_layers_in_one_or_behind(family: str) -> None:
    made = model(family)
    found = match_layers(made.whole, made.graph.blocks)
    (prefixes,) = made.graph.blocks.values()
    assert list(found.prefixes) == prefixes
    assert [step.name for step in found.front] == FRONT[family]
    assert found.entry == FRONT[family][-1]
    head = [f"{NORM[family]}.quantize", "lm_head", "lm_head.requantize"]
    assert [step.name for step in found.back] == [NORM[family], *head]
    everything = [*found.front, *(step for own in found.steps for step in own), *found.back]
    assert [step.name for step in everything] == list(made.whole.steps)  # in execution order, each once
    for own, prefix in zip(found.steps, found.prefixes, strict=True):
        assert [found.name(step) for step in found.steps[0]] == [
            found.common + step.name.removeprefix(prefix) for step in own
        ]
        assert own[found.exit].name == f"{prefix}.add_2"


def test_a_block_of_one_layer_is_what_is_read_outside() -> None:
    made = model("qwen2")
    alone = match_layers(made.whole, {0: ["model.layers.1"]})
    assert alone.entry == "model.layers.0.add_2"
    assert alone.steps[0][alone.exit].name == "model.layers.1.add_2"
    before = ("model.embed_tokens", "model.layers.0.")
    assert {step.name for step in alone.front} == {name for name in made.whole.steps if name.startswith(before)}


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ({}, r"one kind of block that is repeated, not 0 \(none\); emit it unfolded"),
        ({0: ["model.layers.0"], 1: ["model.layers.1"]}, r"not 2 \(model.layers.0; model.layers.1\); emit it unfolded"),
        ({0: ["model.layers.0", "model.layers.7"]}, "model.layers.7 has no steps of its own; emit it unfolded"),
        ({0: ["model.layers.0.mlp", "model.layers.1"]}, "emit it unfolded"),
    ],
)
def test_blocks_that_are_no_layers_are_refused(blocks: dict[int, list[str]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        match_layers(model("qwen2").whole, blocks)


FIRST, SECOND = "model.layers.0", "model.layers.1"


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            {f"{SECOND}.add": ("model.embed_tokens", f"{SECOND}.self_attn.o_proj.requantize")},
            f"the layer of {SECOND}.input_layernorm reads model.embed_tokens, {FIRST}.add_2 from outside, not one",
        ),
        (
            {f"{SECOND}.add_2": (f"{SECOND}.mlp.down_proj.requantize", f"{SECOND}.add")},
            f"{SECOND}.add_2 reads other streams than {FIRST}.add_2",
        ),
        (
            {
                f"{SECOND}.input_layernorm": (f"{FIRST}.add",),
                f"{SECOND}.add": (f"{FIRST}.add", f"{SECOND}.self_attn.o_proj.requantize"),
            },
            f"model.norm, behind the layers, reads {SECOND}.add_2",
        ),
        ({"model.norm": ("model.embed_tokens",)}, "model.norm, behind the layers, reads model.embed_tokens"),
        (
            {
                f"{SECOND}.input_layernorm": ("model.embed_tokens",),
                f"{SECOND}.add": ("model.embed_tokens", f"{SECOND}.self_attn.o_proj.requantize"),
            },
            f"the layer after {FIRST} reads model.embed_tokens, which is not in it",
        ),
    ],
)
def test_layers_that_are_connected_otherwise_are_refused(inputs: dict[str, tuple[str, ...]], message: str) -> None:
    made = model("qwen2")
    with pytest.raises(InputError, match=f"{message}.*; emit it unfolded"):
        match_layers(rewired(made.whole, inputs), made.graph.blocks)


def test_a_layer_with_another_kind_of_step_is_refused() -> None:
    made, name = model("qwen2"), f"{SECOND}.mlp.mul"
    other = with_operation(made.whole, name, lambda operation: Renamed(operation))
    with pytest.raises(InputError, match=rf"{SECOND} has other steps than {FIRST} \(.mlp.mul\); emit it unfolded"):
        match_layers(other, made.graph.blocks)
    match_layers(with_operation(made.whole, name, lambda operation: operation), made.graph.blocks)


class Renamed(Operation):
    """An operation with another name."""

    kind = "divide"

    def __init__(self, operation: Operation) -> None:
        self.operation = operation

    @property
    def inputs(self):  # type: ignore[no-untyped-def]
        return self.operation.inputs

    @property
    def output(self):  # type: ignore[no-untyped-def]
        return self.operation.output

    def run(self, *values):  # type: ignore[no-untyped-def]
        return self.operation.run(*values)


def test_constants_of_layers_are_kept_and_equal_operations_are_one() -> None:
    made = model("qwen2")
    found = match_layers(made.whole, made.graph.blocks)
    kinds = {}
    for place, step in enumerate(found.steps[0]):
        members = [own[place].operation for own in found.steps]
        operation = fold_operations(members, banks=6)
        kinds.setdefault(type(operation), set()).add(step.operation.kind)
        if isinstance(operation, Folded):
            assert operation.members == tuple(members)
        elif isinstance(operation, AttentionScores | AttentionValues):
            assert operation.banks == 6
            assert [kind.count for kind in operation.inputs[-1:]] == [6]
        else:
            assert operation is members[0]
    assert kinds.pop(Folded) == {"linear", "requantize", "bias", "rms_norm"}
    assert {kind for own in kinds.values() for kind in own} >= {"rope", "quantize", "attention_weights", "add"}


def test_attention_of_layers_must_be_the_same() -> None:
    made = model("mistral")
    step = made.whole.steps["model.layers.0.self_attn.qk"].operation
    other = model("qwen2").whole.steps["model.layers.0.self_attn.qk"].operation
    assert isinstance(fold_operations([step, step], banks=4), AttentionScores)
    with pytest.raises(InputError, match="the attention_scores of layer 1 differs from that of layer 0; emit it"):
        fold_operations([step, other], banks=4)


def test_linears_of_different_shapes_cannot_share() -> None:
    steps = model("qwen2").whole.steps
    wide, narrow = (steps[f"{FIRST}.self_attn.{name}_proj"].operation for name in ("q", "k"))
    assert isinstance(wide, Linear)
    with pytest.raises(InputError, match="the streams of layer 1 of a linear are not those of layer 0"):
        fold_operations([wide, narrow], banks=2)
