"""Structures made from shapes and formats alone are those that emission makes, but for widths that weights decide."""

from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import pytest
from transformers import MixtralConfig

from mxhw.errors import InputError
from mxhw.flow.assignments import layered_assignment
from mxhw.hardware.sizing import with_sizes
from mxhw.hardware.structure import Design, Product, Scores, Step
from mxhw.ir import Assignment, Graph
from mxhw.models import capture, load_skeleton
from mxhw.passes.analysis.structure import Choices, model_structure
from mxhw.passes.emit.dataflow.costed import design_of
from mxhw.passes.emit.dataflow.place import place_graph
from mxhw.passes.transform.lower import lower_graph
from tests.passes.transform.lower.families import TOKENS, Lowered, eight_bits

LESS = 6  # bits that a sum, or its multiplier, has less at most than any weights could ask for
BY_WEIGHTS = {"input_bits", "output_bits", "accumulator_bits", "reduced_bits", "left_bits", "right_bits"}
NOT_COMPARED = {"kept_bits", "constant_terms", "gain_bits", "value_bits", "constant_words", "constant_bits"}
BITMOD = partial(eight_bits, weights="bitmod4")
DIALECT = partial(eight_bits, weights="dialect4", inputs="dialect4-online")
CASES = [
    Lowered("qwen2"),
    Lowered("qwen2", formats=BITMOD),
    Lowered("qwen2", formats=DIALECT),
    Lowered("starcoder2"),
]


def emitted_block(lowered: Lowered) -> Design:
    """Return the first layer as emission places it."""
    layer = next(info.layer for info in lowered.graph.nodes.values() if info.layer is not None)
    part = lower_graph(lowered.graph, lowered.assignment, lowered.ranges, nodes=layer)
    return design_of(part, place_graph(part))


def charged_block(lowered: Lowered) -> Design:
    """Return the first layer from shapes alone."""
    choices = Choices(formats=lowered.assignment.formats, keys=TOKENS)
    structure = model_structure(lowered.graph, choices, folded=False)
    arrays = {info.name: (1, 8) for info in lowered.graph.gemms if info.op == "linear"}
    return with_sizes(structure.design, arrays, {}).blocks[0].design


@pytest.mark.parametrize("lowered", CASES, ids=lambda each: f"{each.family}")
def test_a_block_is_charged_for_the_steps_that_are_emitted(lowered: Lowered) -> None:
    emitted, charged = emitted_block(lowered), charged_block(lowered)
    assert set(emitted.steps) == set(charged.steps)
    for name, step in emitted.steps.items():
        own = charged.steps[name]
        assert [*step.inputs] == list(own.inputs), name
        assert (step.lanes_in, step.lanes_out, step.node) == (own.lanes_in, own.lanes_out, own.node), name
        assert not differences(step, own), name


def differences(step: Step, own: Step) -> dict[str, tuple[object, object]]:
    """Return the fields in which two units differ by more than weights can explain."""
    assert type(step.unit) is type(own.unit)
    found = {}
    for each in fields(step.unit):
        real, assumed = getattr(step.unit, each.name), getattr(own.unit, each.name)
        if each.name in NOT_COMPARED or (each.name in BY_WEIGHTS and 0 <= assumed - real <= LESS):
            continue
        if real != assumed:
            found[each.name] = real, assumed
    return found


def test_differences_between_units_are_found() -> None:
    steps = charged_block(CASES[0]).steps
    step = steps["model.layers.0.mlp.up_proj"]
    wider = replace(step, unit=replace(step.unit, columns=4))  # type: ignore[call-arg]
    assert differences(wider, step) == {"columns": (4, 8)}


def test_layers_that_share_a_block_have_the_weights_and_caches_of_all() -> None:
    graph = CASES[0].graph
    folded = model_structure(graph, Choices(formats=CASES[0].assignment.formats, banks=3))
    (use,) = folded.design.blocks
    assert len(use.layers) == 2 == folded.design.layers
    products = [step.unit for step in use.design.steps.values() if isinstance(step.unit, Product)]
    assert {product.layers for product in products} == {2}
    assert [step.unit.banks for step in use.design.steps.values() if isinstance(step.unit, Scores)] == [6]


def test_layers_of_several_formats_share_the_array_that_has_all_values() -> None:
    graph = CASES[0].graph
    mixed = layered_assignment(graph, ["bitmod3", "bitmod4"])
    steps = model_structure(graph, Choices(formats=mixed.formats)).design.blocks[0].design.steps
    assert {step.unit.weight_type for step in steps.values() if isinstance(step.unit, Product)} == {"fp4"}
    other = replace(mixed, formats={**mixed.formats, **_of_layer(graph, 1, "int8")})
    with pytest.raises(InputError, match=r"node '.*q_proj' cannot share its array between layers: "):
        model_structure(graph, Choices(formats=other.formats))


def _of_layer(graph: Graph, index: int, fmt: str) -> dict[str, str]:
    layer = next(iter(graph.blocks.values()))[index]
    return {key: fmt for key in graph.sites if key.startswith(f"{layer}.") and key.endswith(":weight")}


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """A mixture of experts without weights."""
    folder: Path = tmp_path_factory.mktemp("mixture")
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "vocab_size": 128}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 8, "num_experts_per_tok": 2}
    config = MixtralConfig(**sizes, **heads, max_position_embeddings=64)
    config.architectures = ["MixtralForCausalLM"]
    config.save_pretrained(folder)
    return capture(load_skeleton(folder), batch=1, sequence=TOKENS)


def test_experts_are_charged_for_all_weights_and_for_the_work_of_the_active_ones(mixture: Graph) -> None:
    assignment = layered_assignment(mixture, ["bitmod4"])
    structure = model_structure(mixture, Choices(formats=assignment.formats))
    unit = structure.design.blocks[0].design.steps["mlp.experts.down_proj"].unit
    assert isinstance(unit, Product)
    assert (unit.experts, unit.active_experts, unit.has_rtl) == (8, 2, False)
    one = replace(unit, experts=1, active_experts=1)
    assert unit.memories()[0].capacity == 8 * one.memories()[0].capacity
    assert unit.memories()[0].reads == 2 * one.memories()[0].reads


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lm_head:weight": None}, r"node 'lm_head': the assignment gives its weight no format, .*add lm_head:weight"),
        (
            {"lm_head:weight": "nvfp4"},
            r"node 'lm_head': no hardware unit multiplies inputs in int8-e8m0 by weights in ",
        ),
        (
            {"model.layers.1.mlp.up_proj:input": "int6-e8m0"},
            r"node 'model.layers.1.mlp.up_proj': its input is in int6-e8m0, that of 'model.layers.0.mlp.up_proj', ",
        ),
    ],
)
def test_what_has_no_hardware_is_refused_by_name(change: dict[str, str | None], message: str) -> None:
    formats = {key: each for key, each in {**CASES[0].assignment.formats, **change}.items() if each is not None}
    assignment = Assignment(CASES[0].assignment.model, formats)
    with pytest.raises(InputError, match=message):
        model_structure(CASES[0].graph, Choices(formats=assignment.formats))
