"""Every node of the integers, alone: near the float node on the very values that it gets; a planted fault is named."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, fx

from mxhw.arithmetic.dataflow import IntegerGraph, Integers, Operation, Requantize, RMSNorm
from mxhw.formats import parse_format
from mxhw.ir import Assignment, Graph
from mxhw.ir.describe import INFO
from mxhw.passes.transform.lower import LoweredGraph, integer_inputs
from mxhw.passes.transform.lower.plan import Plan
from mxhw.passes.transform.lower.probe import attribute, evaluate
from mxhw.passes.transform.lower.views import Source, Views, info_of
from tests.passes.transform.lower.graphs import with_operation

BLOCK = "model.layers.0"


class Alone:
    """Runs float nodes on the values of integer streams.

    Batch and tokens are those that views are numbered with, so that the numbers of an operand index its stream.
    """

    def __init__(self, graph: Graph, lowered: LoweredGraph, assignment: Assignment, ranges: dict[str, float]) -> None:
        self.views = Views(graph)
        self.plan = Plan(graph, ranges, self.views)
        self.graph, self.lowered, self.assignment = graph, lowered, assignment
        batch, tokens = self.views.sizes
        x = torch.randint(0, 64, (batch, tokens), generator=torch.Generator().manual_seed(5))
        self.values = lowered.run(integer_inputs(lowered, x), keep=lowered.steps)

    def stream(self, source: Source) -> tuple[Integers, Tensor]:
        """The type of a value's stream, and the value, without the factor of queries."""
        info = info_of(source.node)
        name = self.lowered.streams[f"{info.name}.{source.index}" if info.op == "rope" else info.name]
        kind = self.lowered.types[name]
        assert isinstance(kind, Integers)
        real = self.values[name].double() * 2.0**kind.exponent / self.plan.factors.get(source, 1.0)
        return kind, real.flatten()

    def operand(self, node: fx.Node) -> Tensor:
        """What an argument of a float node would be."""
        if node.op == "get_attr":
            return attribute(node)
        seen = self.views.see(node)
        assert seen is not None
        return self.stream(seen.source)[1][seen.numbers].float()

    def wanted(self, node: fx.Node) -> Tensor:
        """What the float node gives, its operands in their formats."""
        values = {each: self.operand(each) for each in node.all_input_nodes if not self._is_angle(each)}
        if info_of(node).op == "linear":
            for operand, each in zip(("input", "weight"), node.all_input_nodes, strict=False):
                fmt = parse_format(self.assignment.formats[f"{info_of(node).name}:{operand}"])
                values[each] = fmt.fake_quantize(values[each])
        for each in node.all_input_nodes:
            if each not in values:
                table, index = each.args
                angles = torch.outer(torch.arange(3.0), attribute(table.all_input_nodes[-1]))
                both = torch.cat([angles, angles], -1)[None]
                values[each] = torch.cos(both) if index == 0 else torch.sin(both)
        found = evaluate(node, values)
        return found[0] if isinstance(found, tuple) else found

    def _is_angle(self, node: fx.Node) -> bool:
        return (
            bool(node.args)
            and isinstance(node.args[0], fx.Node)
            and (INFO in node.args[0].meta and info_of(node.args[0]).op == "rope_table")
        )

    def deviations(self) -> dict[str, float]:
        """Per node, the largest distance from the float node: units of its stream, less 0.2 % of its largest value."""
        found = {}
        for node in self.graph.module.graph.nodes:
            if INFO in node.meta and info_of(node).op in ("linear", "rms_norm", "rope", "act", "mul", "add"):
                stream, own = self.stream(Source(node))
                wanted = self.wanted(node)
                seen = self.views._numbered(Source(node)).numbers
                off = (own[seen] - wanted).abs().max() - 0.002 * wanted.abs().max()
                found[info_of(node).name] = (
                    float(off) * self.plan.factors.get(Source(node), 1.0) * 2.0**-stream.exponent
                )
        return found


@pytest.fixture(scope="module")
def deviations(tiny: Graph, whole: LoweredGraph, assignment: Assignment, ranges: dict[str, float]) -> dict[str, float]:
    return Alone(tiny, whole, assignment, ranges).deviations()


def test_every_node_is_near_its_float_node(deviations: dict[str, float]) -> None:
    assert len(deviations) == 1 + 2 * (7 + 2 + 1 + 1 + 1 + 2) + 1
    assert {name: off for name, off in deviations.items() if off > 1.0} == {}


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
        (shifted, "self_attn.rope.q.requantize", "self_attn.rope"),
        (smaller, "mlp.down_proj.requantize", "mlp.down_proj"),
        (shifted, "input_layernorm", "input_layernorm"),
    ],
)
def test_a_fault_is_found_at_its_node(fault, step, node, tiny, whole, assignment, ranges) -> None:
    wrong: IntegerGraph = with_operation(whole, f"{BLOCK}.{step}", fault)
    found = Alone(tiny, wrong, assignment, ranges).deviations()
    assert [name for name, off in found.items() if off > 1.0] == [f"{BLOCK}.{node}"]
