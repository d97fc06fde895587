"""Every node of a float graph alone, on the values that its integers have got: how far the two are apart."""

import torch
from torch import Tensor, fx

from mxhw.arithmetic.dataflow import BlockCodes, Integers
from mxhw.formats import parse_format
from mxhw.ir import Assignment, Graph
from mxhw.ir.describe import INFO
from mxhw.passes.transform.lower import LoweredGraph, integer_inputs
from mxhw.passes.transform.lower.plan import Plan
from mxhw.passes.transform.lower.probe import attribute, evaluate, run_until
from mxhw.passes.transform.lower.views import Source, Views, info_of

__all__ = ["Alone"]

_CHECKED = ("linear", "rms_norm", "layer_norm", "rope", "act", "mul", "add", "embedding", "attn_pv")
_BOUNDS = {"embedding": 0.5 / 127, "attn_pv": 1e-3, "rms_norm": 3e-4, "layer_norm": 3e-4}


class Alone:
    """Runs float nodes on the values of integer streams.

    Batch and tokens are those that views are numbered with, so that the numbers of an operand index its stream.
    """

    def __init__(
        self,
        graph: Graph,
        lowered: LoweredGraph,
        assignment: Assignment,
        ranges: dict[str, float],
        tokens: int = 3,
    ) -> None:
        self.views = Views(graph)
        self.views.sizes = self.views.sizes[0], tokens
        self.views._known.clear()
        self.plan = Plan(graph, ranges, self.views)
        self.graph, self.lowered, self.assignment = graph, lowered, assignment
        generator = torch.Generator().manual_seed(5)
        self.tokens = torch.randint(0, 40, self.views.sizes, generator=generator)
        self.values = lowered.run(integer_inputs(lowered, self.tokens), keep=lowered.steps)

    def _nodes(self) -> list[fx.Node]:
        return [n for n in self.graph.module.graph.nodes if INFO in n.meta and info_of(n).op in _CHECKED]

    def stream(self, source: Source) -> tuple[Integers, Tensor]:
        """The type of a value's stream, and its vectors, without the factor of queries."""
        name = self.lowered.streams[self.views.key(source)]
        kind = self.lowered.types[name]
        assert isinstance(kind, Integers)
        return kind, self.values[name].double() * 2.0**kind.exponent / self.plan.factors.get(source, 1.0)

    def operand(self, node: fx.Node) -> Tensor:
        """What an argument of a float node would be."""
        if node.op == "get_attr":
            return attribute(node)
        seen = self.views.see(node)
        if seen is None or seen.source.node.op == "placeholder" or info_of(seen.source.node).op == "rope_table":
            return run_until(self.graph, node, self.tokens)
        return self.stream(seen.source)[1].flatten()[seen.numbers].float()

    def wanted(self, node: fx.Node) -> Tensor | tuple[Tensor, ...]:
        """What the float node gives, its operands in their formats."""
        if info_of(node).op == "attn_pv":
            return self._attention(node)
        values = {each: self.operand(each) for each in node.all_input_nodes}
        if info_of(node).op == "linear":
            x, weight = node.all_input_nodes[:2]
            name = info_of(node).name
            step = self.views.key(Source(node))
            values[x] = self._codes(step, 0, values[x])
            values[weight] = parse_format(self.assignment.formats[f"{name}:weight"]).fake_quantize(values[weight])
        return evaluate(node, values)

    def _attention(self, values: fx.Node) -> Tensor:
        """Attention in float from the codes of queries, keys and values: all three of its nodes."""
        softmax = values.all_input_nodes[0]
        scores = softmax.all_input_nodes[0]
        query, key, value = *scores.all_input_nodes, values.all_input_nodes[1]
        seen = self.views.see(query)
        assert seen is not None
        factor = self.plan.factors[seen.source]
        name, last = info_of(scores).name, info_of(values).name
        given = {
            query: self._codes(name, 0, self.operand(query) * factor) / factor,
            key: self._codes(name, 1, self.operand(key)),
            value: self._codes(last, 1, self.operand(value)),
        }
        given[scores] = evaluate(scores, given)
        given[softmax] = evaluate(softmax, given)
        return evaluate(values, given)

    def _codes(self, step: str, position: int, x: Tensor) -> Tensor:
        """What a step takes for the operand ``x`` (vectors, or heads): its codes, which are next to the operand."""
        name = self.lowered.steps[step].inputs[position]
        kind, values = self.lowered.types[name], self.values[name]
        assert isinstance(kind, BlockCodes)
        unit = torch.exp2((values.scale + kind.exponent).double())[..., None].expand(values.codes.shape)
        found = values.mantissas * unit
        if x.dim() == 4:
            found, unit = found.transpose(1, 2), unit.transpose(1, 2)
        else:
            found, unit = (each.flatten(-2)[..., : kind.length] for each in (found, unit))
        assert float(((found - x).abs() / unit).max()) < 1.01 * (1 if kind.kind == "integer" else 4)
        return found.float()

    def deviations(self) -> dict[Source, float]:
        """Per output, the largest distance from the float node less two units of its stream, over its largest value."""
        found = {}
        for node in self._nodes():
            given = self.wanted(node)
            for index in range(self.views.outputs(node)):
                source = Source(node, index)
                stream, own = self.stream(source)
                wanted = self.views.vectors(source, given).double()
                assert own.shape == wanted.expand_as(own).shape
                units = 2 * 2.0**stream.exponent / self.plan.factors.get(source, 1.0)
                found[source] = float(((own - wanted).abs().max() - units) / wanted.abs().max())
        return found

    def off(self) -> dict[str, float]:
        """The outputs that are further off than they may be; of an embedding, codes of 8 bits are half a step off."""
        found = {}
        for source, value in self.deviations().items():
            if value > _BOUNDS.get(info_of(source.node).op, 5e-5):
                found[self.views.key(source)] = value
        return found
