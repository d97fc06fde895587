"""The streams of a lowered graph before its steps exist: width and exponent of the output of every node.

Source: arithmetic.md, section 2: the residual stream has 24 bits and one exponent for the whole model, all others 16
bits; logits have 32. The types depend on the whole graph, so that a part of it is lowered to the same integers. Ranges
that equal layers have in common (:mod:`mxhw.passes.transform.lower.peers`) give them streams of the same types.
"""

from math import e, log2

from torch import fx

from mxhw.arithmetic.dataflow import Integers
from mxhw.arithmetic.functions.activation import ActivationSpec
from mxhw.ir import Graph
from mxhw.ir.describe import INFO, INPUT
from mxhw.passes.transform.lower.functions import activation_function
from mxhw.passes.transform.lower.ranges import Ranges, largest_of, static_exponent
from mxhw.passes.transform.lower.residual import residual_nodes
from mxhw.passes.transform.lower.views import Source, Views, info_of, node_argument

__all__ = ["LOGIT_BITS", "RESIDUAL_BITS", "STREAM_BITS", "Plan"]

RESIDUAL_BITS = 24
STREAM_BITS = 16
LOGIT_BITS = 32
_LOGIT_HEADROOM = 2


class Plan:
    """Types of streams.

    Attributes
    ----------
    residual : nodes whose output is the residual stream.
    factors : by source, what its values are multiplied by: ``log2(e)`` times the scale of attention for queries.
    """

    def __init__(self, graph: Graph, ranges: Ranges, views: Views) -> None:
        self.ranges, self.views = ranges, views
        self.output = graph.module.graph.output_node()
        self.residual = residual_nodes(graph, views)
        largest = max((largest_of(ranges, info_of(node).name) for node in self.residual), default=1.0)
        self.residual_exponent = static_exponent(largest, RESIDUAL_BITS)
        self._readers: dict[Source, list[fx.Node]] = {}
        for node in graph.module.graph.nodes:
            if INFO in node.meta or node.op == "output":
                for argument in node.all_input_nodes:
                    if seen := views.see(argument):
                        self._readers.setdefault(seen.source, []).append(node)
        self.factors = self._factors(graph)

    def stream(self, source: Source) -> Integers:
        """Return the type of the stream of a source (16 bits wide where its node has not said otherwise)."""
        length = self.views.length(source)
        if source.node in self.residual or self.feeds_residual(source):
            return Integers(length=length, bits=RESIDUAL_BITS, exponent=self.residual_exponent)
        if source.node.op != "placeholder" and info_of(source.node).op == "act":
            return self._activation(source, length)
        if self.is_logits(source):
            exponent = static_exponent(self.largest(source), LOGIT_BITS, _LOGIT_HEADROOM)
            return Integers(length=length, bits=LOGIT_BITS, exponent=exponent)
        return self.narrow(source)

    def narrow(self, source: Source) -> Integers:
        """Return the type of a source's values in 16 bits."""
        exponent = static_exponent(self.largest(source), STREAM_BITS)
        return Integers(length=self.views.length(source), bits=STREAM_BITS, exponent=exponent)

    def largest(self, source: Source) -> float:
        """Return the largest magnitude of a stream in calibration."""
        node = source.node
        name = INPUT if node.op == "placeholder" else info_of(node).name  # parts share the range of the whole
        key = name if name in self.ranges or f"{name}.0" not in self.ranges else f"{name}.{source.index}"
        return largest_of(self.ranges, key) * self.factors.get(source, 1.0)

    def readers_of(self, source: Source) -> list[fx.Node]:
        """Return the computing nodes (and the graph's output) that read a value, views looked through."""
        return self._readers.get(source, [])

    def feeds_residual(self, source: Source) -> bool:
        """Whether ``source`` is a linear layer that only one sum reads, and that one is in the residual stream."""
        if source.node.op == "placeholder" or info_of(source.node).op != "linear":
            return False
        readers = self.readers_of(source)
        return len(readers) == 1 and readers[0] in self.residual and info_of(readers[0]).op == "add"

    def is_logits(self, source: Source) -> bool:
        """Whether ``source`` is a linear layer that gives the model's output."""
        is_linear = source.node.op != "placeholder" and info_of(source.node).op == "linear"
        return is_linear and self.output in self.readers_of(source)

    def _activation(self, source: Source, length: int) -> Integers:
        """Return the type of an activation with a table; :class:`ActivationSpec` does not depend on its function."""
        seen = self.views.see(source.node.all_input_nodes[0])
        before = self.narrow(source) if seen is None else self.stream(seen.source)
        if before.bits != STREAM_BITS and seen is not None:
            before = self.narrow(seen.source)
        if activation_function(source.node) == "relu":
            return Integers(length=length, bits=before.bits, exponent=before.exponent)
        spec = ActivationSpec(function="silu", exponent=before.exponent, input_bits=STREAM_BITS)
        return Integers(length=length, bits=spec.output_bits, exponent=spec.output_exponent)

    def _factors(self, graph: Graph) -> dict[Source, float]:
        """Return the factor of each query, before and after its rotation."""
        found: dict[Source, float] = {}
        for node in graph.module.graph.nodes:
            if INFO not in node.meta or info_of(node).op != "attn_qk":
                continue
            factor = log2(e) * float(node.args[2])  # type: ignore[arg-type]
            seen = self.views.see(node_argument(node, 0))
            source = None if seen is None else seen.source
            while source is not None and source not in found:
                found[source] = factor
                source = self.before_rotation(source)
        return found

    def before_rotation(self, source: Source) -> Source | None:
        """Return the value that a rope node has rotated to ``source``; None if it is no rotated one."""
        node = source.node
        if node.op == "placeholder" or info_of(node).op != "rope":
            return None
        seen = [each for argument in node.all_input_nodes if (each := self.views.see(argument))]
        rotated = [each for each in seen if each.heads]
        return rotated[source.index].source if source.index < len(rotated) else None
