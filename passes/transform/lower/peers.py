"""Peers: the nodes at one place of structurally equal layers, which one unit can compute for all of them.

A unit that layers share has one set of widths and shifts. So what a stream or a constant of a layer is scaled to takes
all peers into account: static exponents rest on the largest magnitude of all, and so do those of multipliers and gains.
"""

from collections.abc import Callable, Hashable

from torch import fx

from mxhw.ir import Graph
from mxhw.ir.describe import INFO
from mxhw.passes.transform.lower.ranges import Ranges
from mxhw.passes.transform.lower.views import info_of

__all__ = ["Peers", "shared_ranges"]


class Peers:
    """The nodes at one place of equal layers.

    Parameters
    ----------
    graph : Graph
    share : bool
        False: every node stands alone.

    Attributes
    ----------
    groups : nodes that are peers of each other, in the order of their layers; those without peers are not among them.
    """

    def __init__(self, graph: Graph, *, share: bool = True) -> None:
        found: dict[Hashable, list[fx.Node]] = {}
        for node in graph.module.graph.nodes:
            if share and (place := _place(node)) is not None:
                found.setdefault(place, []).append(node)
        self.groups = tuple(tuple(nodes) for nodes in found.values() if len(nodes) > 1)
        self._group = {node: group for group in self.groups for node in group}
        self._largest: dict[fx.Node, float] = {}

    def of(self, node: fx.Node) -> tuple[fx.Node, ...]:
        """Return a node and its peers, in the order of their layers."""
        return self._group.get(node, (node,))

    def largest(self, node: fx.Node, measure: Callable[[fx.Node], float]) -> float:
        """Return the largest that ``measure`` gives of a node and its peers, each of which is measured once.

        A node has one measure: that of the rule that lowers it.
        """
        for each in self.of(node):
            if each not in self._largest:
                self._largest[each] = measure(each)
        return max(self._largest[each] for each in self.of(node))


def shared_ranges(ranges: Ranges, peers: Peers) -> dict[str, float]:
    """Return ranges in which those of peers are the largest of theirs; what calibration has not seen stays unknown."""
    shared = dict(ranges)
    for group in peers.groups:
        names = [info_of(node).name for node in group]
        outputs = ["", *(f".{index}" for index in range(_outputs(names, ranges)))]
        for output in outputs:
            keys = [f"{name}{output}" for name in names if f"{name}{output}" in ranges]
            shared |= dict.fromkeys(keys, max((ranges[key] for key in keys), default=0.0))
    return shared


def _outputs(names: list[str], ranges: Ranges) -> int:
    """Return how many outputs have a range of their own."""
    count = 0
    while any(f"{name}.{count}" in ranges for name in names):
        count += 1
    return count


def _place(node: fx.Node) -> Hashable | None:
    """Return what is equal for peers; None for a node that is in no layer."""
    if INFO not in node.meta:
        return None
    info = info_of(node)
    if info.layer is None or info.block is None:
        return None
    name = info.name.removeprefix(info.layer)
    return info.block, name, info.op, info.target, info.input_shapes, info.output_shape
