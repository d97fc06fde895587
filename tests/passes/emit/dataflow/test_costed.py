"""Records of placed components: their memories are those of the RTL, bit for bit."""

from collections.abc import Mapping

import pytest
import torch

from mxhw.arithmetic.dataflow import Folded, Linear
from mxhw.arithmetic.dataflow.operation import Operation
from mxhw.errors import InputError
from mxhw.hardware.structure import Product
from mxhw.hardware.structure.products import SCALE_BITS
from mxhw.hardware.structure.unit import QUEUE_WORDS
from mxhw.passes.emit.dataflow.costed import design_of, record_of
from mxhw.passes.emit.dataflow.place import place_graph
from mxhw.rtl_templates.dataflow.payloads import SCALE_BITS as RTL_SCALE_BITS
from mxhw.synthesis import source_of
from mxhw.synthesis.yosys import _QUEUE_WORDS
from tests.passes.emit.dataflow.blocks import BlockShape, decoder_block
from tests.passes.emit.dataflow.layers import Case, placed, rms_norm, scaled

BITMOD, DIALECT = ("int8-e8m0", "bitmod4"), ("dialect4-online", "dialect4")
WIDE: Mapping[str, Mapping[str, int]] = {
    "q_proj": {"columns": 4, "lanes": 2},
    "gate_proj": {"rows": 2, "columns": 8},
    "scores": {"lanes": 2},
    "values": {"lanes": 4, "output_lanes": 2},
    "mul": {"lanes": 4},
    "input_layernorm": {"lanes": 8},
    "down_proj.requantize": {"lanes": 4},
}
CASES = [
    (BlockShape(), {}),
    (BlockShape(), WIDE),
    (BlockShape(hidden=128, ffn=256, heads=4, kv_heads=4, keys=40, formats=BITMOD), WIDE),
    (BlockShape(hidden=256, ffn=256, heads=4, kv_heads=4, keys=40), {"up_proj": {"rows": 4, "columns": 32}}),
    (BlockShape(hidden=64, ffn=96, keys=5, formats=DIALECT), {}),
]


@pytest.mark.parametrize(("shape", "sizes"), CASES)
def test_memories_of_records_hold_what_those_of_the_rtl_hold(
    shape: BlockShape, sizes: Mapping[str, Mapping[str, int]]
) -> None:
    graph = decoder_block(shape)
    components = place_graph(graph, sizes)
    design = design_of(graph, components)
    assert list(design.steps) == list(graph.steps)
    wrong = {}
    for name, step in design.steps.items():
        held, source = sum(shape.capacity for shape in step.unit.memories()), source_of(components[name].component)
        if held != source.memory_bits:
            wrong[name] = (held, source.memory_bits)
    assert not wrong


def test_scales_are_as_wide_as_in_the_rtl() -> None:
    assert SCALE_BITS == RTL_SCALE_BITS


def test_queues_are_memories_from_the_same_length_on_as_in_synthesis() -> None:
    assert QUEUE_WORDS == _QUEUE_WORDS


@pytest.mark.parametrize("operation", [rms_norm(torch.linspace(0.5, 1, 8), torch.linspace(1, 2, 8)), scaled(3, 5)])
def test_a_unit_that_layers_share_has_the_constants_of_all(operation: Folded) -> None:
    made = placed(Case(operation))
    unit = record_of(operation, made)
    assert sum(shape.capacity for shape in unit.memories()) == source_of(made.component).memory_bits
    assert any(shape.constant and shape.name == "constants" for shape in unit.memories())


def test_weights_of_a_product_are_those_that_its_memories_hold() -> None:
    graph = decoder_block(CASES[2][0])
    design = design_of(graph, place_graph(graph))
    for name, step in design.steps.items():
        if isinstance(step.unit, Product):
            assert isinstance(graph.steps[name].operation, Linear)
            inside = {shape.name: shape.capacity for shape in step.unit.memories()}
            assert step.unit.weight_bits == inside["weights"] + inside.get("metadata", 0)


def test_an_operation_without_a_record_is_named() -> None:
    class Unknown(Operation):
        kind = "unknown"
        inputs, output = (), None  # type: ignore[assignment]

        def run(self, *values: object) -> None:  # type: ignore[override]
            """Compute nothing."""

    with pytest.raises(InputError, match=r"the cost of operation 'unknown' is not known; .*register_record"):
        record_of(Unknown(), None)  # type: ignore[arg-type]
