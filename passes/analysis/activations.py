"""The inputs that chosen nodes really get: captured while the graph runs on given tokens.

On a graph in hardware arithmetic (`Quantize` with arithmetic="hardware") these are the unrounded values that the units'
own quantizers see there, so a bench that is fed with them computes what the accuracy was measured with.
"""

from collections.abc import Collection
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, fx

from mxhw.errors import InputError
from mxhw.ir import Graph, NodeInfo
from mxhw.ir.dialect import operand_position

__all__ = ["capture_inputs"]


def capture_inputs(graph: Graph, input_ids: Tensor, node_names: Collection[str]) -> dict[str, Tensor]:
    """Run `graph` on `input_ids` [batch, tokens] and return node name → its input [batch, tokens, K].

    Nodes are linear layers; execution stops after the last of them.

    Raises
    ------
    InputError
        If a node does not exist, is no linear layer, or sees a value that is not finite.
    """
    nodes = graph.nodes
    for name in node_names:
        if name not in nodes:
            raise graph.unknown_node(name)
        if nodes[name].op != "linear":
            raise InputError(f"node {name!r} is {nodes[name].op!r}; only the input of a linear layer can be captured")
    recorder = _Recorder(graph.module, set(node_names))
    with torch.no_grad(), suppress(_AllSeen):
        recorder.run(input_ids)
    return {name: recorder.seen[name] for name in node_names}


class _AllSeen(Exception):  # noqa: N818  (no error: it ends the run early)
    pass


class _Recorder(fx.Interpreter):
    """Runs a graph until every wanted node has been reached, and keeps what they read."""

    def __init__(self, module: fx.GraphModule, wanted: set[str]) -> None:
        super().__init__(module)
        self.wanted = wanted
        self.seen: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        if self.seen.keys() == self.wanted:
            raise _AllSeen
        info = n.meta.get("mxhw")
        if isinstance(info, NodeInfo) and info.name in self.wanted:
            arguments, _ = self.fetch_args_kwargs_from_env(n)
            value = arguments[operand_position(n.target, "input")]
            if not bool(torch.isfinite(value).all()):
                raise InputError(f"the input of {info.name!r} is not finite; the model or its input is broken")
            self.seen[info.name] = value.detach().clone()
        return super().run_node(n)
