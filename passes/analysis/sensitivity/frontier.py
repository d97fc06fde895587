"""The float graph run up to some node on all windows: what is measured from there on need not begin at the start.

A unit alone in a format changes nothing before its first node, so the values there are those of the float graph, the
same for all candidates. They are kept for all windows at one place that moves on through the graph: the values still to
be read, as between two parts of a streamed model (:mod:`mxhw.passes.analysis.streamed`). Results are those of whole
runs, bit for bit: the same operators get the same values.

Graphs with operators that work in place are run from the start every time, since kept values would change.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from mxhw.errors import InputError
from mxhw.ir import Graph
from mxhw.ir.describe import INFO
from mxhw.passes.analysis.lockstep import works_in_place
from mxhw.passes.analysis.sensitivity.rounding import Rounding

__all__ = ["Frontier", "Rounded"]

_Values = dict[fx.Node, Any]


class Frontier:
    """Values of the float graph at one place, for each of some inputs.

    Parameters
    ----------
    graph : Graph
    inputs : sequence of Tensor
        What the graph takes, one after the other.

    Attributes
    ----------
    order : list of fx.Node
        Of the graph.
    place : int
        The node of `order` that has not run yet.
    """

    def __init__(self, graph: Graph, inputs: Sequence[Tensor]) -> None:
        graph.check_weights()
        self.order = list(graph.module.graph.nodes)
        sources = graph.module.graph.find_nodes(op="placeholder")
        if len(sources) != 1 or self.order[0] is not sources[0]:
            raise InputError(
                f"graph of {graph.signature.model} has {len(sources)} inputs; sensitivity is measured where tokens are "
                "the only one, not in a graph for decoding"
            )
        self._numbers = {node.meta[INFO].name: i for i, node in enumerate(self.order) if INFO in node.meta}
        self._resumable = not any(works_in_place(node) for node in self.order)
        self._stepper = _Stepper(graph.module)
        self._values: list[_Values] = [{sources[0]: x} for x in inputs]
        self.place = 1

    def number(self, name: str) -> int:
        """Return the number in `order` of the node of that name."""
        return self._numbers[name]

    def first(self, names: Sequence[str]) -> int:
        """Return the place that a run in which these nodes differ can begin at."""
        return min(self.number(name) for name in names) if self._resumable else 1

    @torch.no_grad()
    def advance(self, place: int) -> None:
        """Run the float graph on all inputs up to a place, which must not lie before the present one."""
        if place < self.place:
            raise ValueError(f"frontier is at {self.place} and cannot go back to {place}")
        for node in self.order[self.place : place]:
            for values in self._values:
                self._stepper.step(node, values, None)
        self.place = place

    def arguments(self, index: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what the node at the present place gets for an input."""
        return self._stepper.read(self.order[self.place], self._values[index])

    @torch.no_grad()
    def finish(self, index: int, rounding: Rounding) -> Tensor:
        """Return the graph's output for an input where a rounding takes place from here on; the frontier stays."""
        return self._stepper.to_end(self.order[self.place :], dict(self._values[index]), rounding)


class Rounded:
    """A graph in which a rounding takes place: what a :class:`QualityEvaluator` scores.

    With a frontier of the evaluator's windows, which are asked for one after the other, runs begin there.
    """

    def __init__(self, graph: Graph, rounding: Rounding, frontier: Frontier | None = None) -> None:
        self._graph, self._rounding, self._frontier = graph, rounding, frontier
        self._done = 0

    def run(self, x: Tensor) -> Tensor:
        """Return the logits [batch, sequence, vocabulary] of token ids [batch, sequence]."""
        if self._frontier is None:
            return Frontier(self._graph, [x]).finish(0, self._rounding)
        self._done += 1
        return self._frontier.finish(self._done - 1, self._rounding)


class _Stepper(fx.Interpreter):
    """Runs nodes one by one on values that are given, and forgets each value after its last use."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self._rounding: Rounding | None = None

    def step(self, node: fx.Node, values: _Values, rounding: Rounding | None) -> Any:
        """Run one node; its value is added to `values`, and those that nothing reads any more are dropped."""
        self.env, self._rounding = values, rounding
        result = values[node] = self.run_node(node)
        for dead in (*self.user_to_last_uses.get(node, ()), *(() if node.users else (node,))):
            values.pop(dead, None)
        return result

    def to_end(self, nodes: Sequence[fx.Node], values: _Values, rounding: Rounding) -> Tensor:
        """Run the rest of the graph and return its output."""
        result = None
        for node in nodes:
            result = self.step(node, values, rounding)
        assert isinstance(result, Tensor)
        return result

    def read(self, node: fx.Node, values: _Values) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of a node."""
        self.env = values
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        return tuple(args), dict(kwargs)

    def run_node(self, n: fx.Node) -> Any:
        if self._rounding is None or not self._rounding.places(n):
            return super().run_node(n)
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        return getattr(self, n.op)(n.target, self._rounding.arguments(n, args), kwargs)
