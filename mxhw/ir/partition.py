"""A graph cut into parts that run one after the other: what comes before the layers, every layer, what comes after.

The cut follows execution order: a part is a contiguous run of the graph's order, so parts form a chain whatever passes
between them (the hidden state, but also RoPE tables that every layer reads). A parameter goes where it is read; every
use has a node of its own, so a weight that two parts read (tied embeddings) stands in both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from mxhw.ir.describe import INFO
from mxhw.ir.graph import Graph

__all__ = ["Part", "partition"]


@dataclass(frozen=True)
class Part:
    """A run of nodes.

    Attributes
    ----------
    name : str
        The layer's path, for instance "model.layers.3"; "before X" and "after X" for what belongs to no layer.
    graph : Graph
        Its module takes the values of `inputs` and returns a tuple of those of `outputs`; the parameters are those of
        the whole graph. :meth:`Graph.run` is not for it: call :meth:`run`.
    inputs, outputs : tuple of str
        Names of the fx nodes whose values come in and go out; the names of the whole graph.
    keep : frozenset of str
        Of all values that exist after this part, those that later parts or the result still need.
    """

    name: str
    graph: Graph
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    keep: frozenset[str]

    def run(self, values: Mapping[str, Tensor], graph: Graph | None = None) -> dict[str, Tensor]:
        """Return what is alive after this part, given what was alive before it.

        `graph` is the part with weights, or after a pass; by default the part as it was cut.
        """
        module = (graph or self.graph).module
        with torch.no_grad():
            return self.alive(values, module(*(values[name] for name in self.inputs)))

    def alive(self, values: Mapping[str, Tensor], outputs: Iterable[Tensor]) -> dict[str, Tensor]:
        """Return, of the values before this part and its outputs, those that are still needed."""
        known = {**values, **dict(zip(self.outputs, outputs, strict=True))}
        return {name: value for name, value in known.items() if name in self.keep}


def partition(graph: Graph) -> list[Part]:
    """Cut `graph` before and after every layer (:attr:`mxhw.ir.NodeInfo.layer`), in execution order.

    Running the parts in order on the model's input gives what the graph gives: the same operators on the same values.
    The first part takes the model's input; the last one has one output, the graph's.
    """
    runs = _runs(graph.module.graph)
    part_of = {node: number for number, (_, nodes) in enumerate(runs) for node in nodes}
    result = graph.module.graph.output_node()
    last_use: dict[fx.Node, int] = {}
    for node, number in part_of.items():
        for source in node.all_input_nodes:
            last_use[source] = max(last_use.get(source, 0), number)
    for source in result.all_input_nodes:
        last_use[source] = len(runs)
    parts = []
    for number, (name, nodes) in enumerate(runs):
        reads = dict.fromkeys(source for node in nodes for source in node.all_input_nodes)
        inputs = [source for source in reads if part_of.get(source) != number]
        outputs = [node for node in nodes if last_use.get(node, 0) > number]
        keep = frozenset(
            node.name
            for node, last in last_use.items()
            if last > number >= part_of.get(node, -1) and node.op != "get_attr"
        )
        parts.append(
            Part(
                name=name,
                graph=Graph(_module(graph.module, nodes, inputs, outputs), graph.signature),
                inputs=tuple(node.name for node in inputs),
                outputs=tuple(node.name for node in outputs),
                keep=keep,
            )
        )
    return parts


def _runs(graph: fx.Graph) -> list[tuple[str, list[fx.Node]]]:
    """Return the nodes of every part; one without a record stays with what precedes it, a parameter with its reader."""
    runs: list[tuple[str | None, list[fx.Node]]] = []
    waiting: list[fx.Node] = []
    for node in graph.nodes:
        if node.op in ("placeholder", "output"):
            continue
        if node.op == "get_attr":
            waiting.append(node)
            continue
        info = node.meta.get(INFO)
        if not runs or (info is not None and info.layer != runs[-1][0]):
            runs.append((None if info is None else info.layer, []))
        runs[-1][1].extend((*waiting, node))
        waiting = []
    return [(_name(runs, number), nodes) for number, (_, nodes) in enumerate(runs)]


def _name(runs: list[tuple[str | None, list[fx.Node]]], number: int) -> str:
    layer = runs[number][0]
    if layer is not None:
        return layer
    before = runs[number - 1][0] if number else None
    after = runs[number + 1][0] if number + 1 < len(runs) else None
    return f"after {before}" if before is not None else f"before {after}" if after is not None else "all"


def _module(
    root: fx.GraphModule, nodes: Iterable[fx.Node], inputs: list[fx.Node], outputs: list[fx.Node]
) -> fx.GraphModule:
    graph = fx.Graph()
    copies = {node: graph.placeholder(node.name) for node in inputs}
    for node in nodes:
        copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(tuple(copies[node] for node in outputs))
    return fx.GraphModule(root, graph, class_name="Part")
