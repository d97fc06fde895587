"""Every node of the integers, alone: near the float node on the very values that it gets; a planted fault is named."""

from dataclasses import replace

import pytest

from mxhw.arithmetic.dataflow import IntegerGraph, Operation, Requantize, RMSNorm
from mxhw.ir import Assignment, Graph
from mxhw.passes.transform.lower import LoweredGraph
from tests.passes.transform.lower.alone import Alone
from tests.passes.transform.lower.graphs import with_operation

BLOCK = "model.layers.0"


def test_every_node_is_near_its_float_node(
    tiny: Graph, whole: LoweredGraph, assignment: Assignment, ranges: dict[str, float]
) -> None:
    alone = Alone(tiny, whole, assignment, ranges)
    assert len(alone.deviations()) == 1 + 2 * (7 + 2 + 2 + 1 + 1 + 1 + 2) + 1 + 1
    assert alone.off() == {}


def shifted(operation: Operation) -> Operation:
    assert isinstance(operation, Requantize | RMSNorm)
    return replace(operation, spec=replace(operation.spec, shift=operation.spec.shift + 1))


def smaller(operation: Operation) -> Operation:
    assert isinstance(operation, Requantize)
    multipliers = tuple(m * 15 // 16 for m in operation.spec.multipliers)
    return replace(operation, spec=replace(operation.spec, multipliers=multipliers))


@pytest.mark.parametrize(
    ("fault", "step", "node"),
    [
        (shifted, "self_attn.q_proj.requantize", "self_attn.q_proj"),
        (smaller, "self_attn.q_proj.requantize", "self_attn.q_proj"),
        (shifted, "self_attn.rope.q.requantize", "self_attn.rope.0"),
        (smaller, "mlp.down_proj.requantize", "mlp.down_proj"),
        (shifted, "input_layernorm", "input_layernorm"),
    ],
)
def test_a_fault_is_found_at_its_node(fault, step, node, tiny, whole, assignment, ranges) -> None:
    wrong: IntegerGraph = with_operation(whole, f"{BLOCK}.{step}", fault)
    assert list(Alone(tiny, wrong, assignment, ranges).off()) == [f"{BLOCK}.{node}"]
