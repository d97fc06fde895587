"""Two graphs of one model, run side by side one computing node at a time, without keeping what they computed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, fx
from torch._ops import OpOverload

from mxhw.ir import Graph
from mxhw.ir.describe import INFO

__all__ = ["lockstep", "works_in_place"]


@torch.no_grad()
def lockstep(reference: Graph, other: Graph, x: Tensor) -> Iterator[tuple[str, Any, Any, Any]]:
    """Run two graphs with the same computing nodes on `x`, and yield each node as both reach it.

    Yields
    ------
    name : str
    value : Tensor or tuple of Tensor
        What the node of `reference` gives.
    local : like `value`
        What the node of `other` gives where everything before it had the values of `reference`.
    accumulated : like `value`
        What the node of `other` gives in a run of its own.

    A value is freed after its last use, so read it before the next step.
    """
    plain, free, led = (_Stepper(graph.module) for graph in (reference, other, other))
    led.shares_values = True
    # The led graph computes a node before the reference does: an operator that works in place would change the
    # reference's value, which both read.
    for (_, local), (_, accumulated), (node, value) in zip(led.steps(x), free.steps(x), plain.steps(x), strict=True):
        yield node.meta[INFO].name, value, local, accumulated
        led.replace(value)


class _Stepper(fx.Interpreter):
    """Runs a graph, stops after every computing node, and forgets each value after its last use."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.shares_values = False
        self._reached: fx.Node | None = None

    def steps(self, x: Tensor) -> Iterator[tuple[fx.Node, Any]]:
        """Yield every computing node with its value, in execution order."""
        self.env, self.args_iter = {}, iter((x,))
        for node in self.graph.nodes:
            if node.op == "output":
                return
            value = self.run_node(node)
            self.env[node] = value
            if INFO in node.meta:
                self._reached = node
                yield node, value
            del value
            for dead in (*self.user_to_last_uses.get(node, ()), *(() if node.users else (node,))):
                self.env.pop(dead, None)

    def replace(self, value: Any) -> None:
        """Go on with `value` in the place of what the node that was reached last gave."""
        self.env[cast(fx.Node, self._reached)] = value

    def fetch_args_kwargs_from_env(self, n: fx.Node) -> tuple[Any, Any]:
        """Return the arguments of `n`: copies, if it may change them and they are not this graph's alone."""
        arguments = super().fetch_args_kwargs_from_env(n)
        if self.shares_values and INFO in n.meta and works_in_place(n):
            copied: tuple[Any, Any] = torch.utils._pytree.tree_map_only(Tensor, Tensor.clone, arguments)
            return copied
        return arguments


def works_in_place(node: fx.Node) -> bool:
    """Whether an operator of the node, or of its body, writes into an argument."""
    if node.op == "call_module":
        body = cast(fx.GraphModule, node.graph.owning_module).get_submodule(str(node.target))
        return isinstance(body, fx.GraphModule) and any(works_in_place(inner) for inner in body.graph.nodes)
    return isinstance(node.target, OpOverload) and node.target._schema.is_mutable
