"""The residual stream of a model: embeddings, and every sum that adds something to it."""

from torch import fx

from mxhw.ir import Graph
from mxhw.ir.describe import INFO
from mxhw.passes.transform.lower.views import Views, info_of

__all__ = ["residual_nodes"]


def residual_nodes(graph: Graph, views: Views) -> frozenset[fx.Node]:
    """Return the nodes whose outputs are the residual stream: embeddings, and sums of which an operand is one."""
    found: set[fx.Node] = set()
    for node in graph.module.graph.nodes:
        if INFO not in node.meta:
            continue
        kind = info_of(node).op
        seen = (views.see(argument) for argument in node.all_input_nodes)
        if kind == "embedding" or (
            kind == "add" and any(each and each.in_order and each.source.node in found for each in seen)
        ):
            found.add(node)
    return frozenset(found)
