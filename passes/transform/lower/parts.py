"""Linear layers that are read in parts: one projection for queries, keys and values, or for both inputs of a gate.

A part is what one reader takes: some channels, in the order in which it wants them. Each part becomes a product of its
own with the rows of the weight that are its channels, and a stream of its own, so that no unit has to take a vector
apart. A layer is read in parts only if every reader takes the same channels of every token, and no two readers take
different parts that overlap; other layers stay whole.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, fx

from mxhw.arithmetic.dataflow import Linear
from mxhw.formats import cut_channels
from mxhw.ir import Graph
from mxhw.ir.describe import INFO

__all__ = ["Channels", "cut_rows", "find_parts"]

Channels = tuple[int, ...]
_Whole = Callable[[fx.Node], tuple[fx.Node, Tensor] | None]


def find_parts(graph: Graph, width: Callable[[fx.Node], int], whole: _Whole) -> dict[fx.Node, tuple[Channels, ...]]:
    """Return the linear layers that are read in parts, with the channels of each part in the order of their readers.

    Parameters
    ----------
    graph : Graph
    width : channels of a node.
    whole : the node that an argument is a view of, with the number of each element in that node's output; None for an
        argument that is put together from several values.
    """
    found: dict[fx.Node, list[Channels]] = {}
    refused: set[fx.Node] = set()
    for node in graph.module.graph.nodes:
        if INFO not in node.meta and node.op != "output":
            continue
        for argument in node.all_input_nodes:
            seen = whole(argument)
            if seen is None:
                refused |= _behind(argument)
                continue
            channels = _channels(seen[1], width(seen[0])) if _is_linear(seen[0]) else None
            if channels is None:
                refused.add(seen[0])
            elif channels not in found.setdefault(seen[0], []):
                found[seen[0]].append(channels)
    return {
        node: tuple(sorted(parts, key=min))
        for node, parts in found.items()
        if node not in refused and parts != [tuple(range(width(node)))] and _are_disjoint(parts)
    }


def cut_rows(product: Linear, channels: Sequence[int]) -> Linear:
    """Return a product with some rows of its weight, encoded as they are in the whole one."""
    weight_format, encoded = cut_channels(product.weight_format, product.encoded, channels)
    return replace(product, weight_format=weight_format, encoded=encoded)


def _channels(numbers: Tensor, width: int) -> Channels | None:
    """Return the channels that a reader takes of every token, as vectors or heads; None if they are not the same."""
    length = int((numbers < width).sum())  # what is taken of the first token
    if not length or numbers.numel() % length:
        return None
    for order in (numbers, numbers.transpose(1, 2)) if numbers.dim() == 4 else (numbers,):
        rows = order.reshape(-1, length)
        channels = tuple(rows[0].tolist())
        same = torch.equal(rows, rows[0] + width * torch.arange(len(rows))[:, None])
        if same and len(set(channels)) == length:
            return channels
    return None


def _are_disjoint(parts: list[Channels]) -> bool:
    taken = [channel for part in parts for channel in part]
    return len(set(taken)) == len(taken)


def _behind(argument: fx.Node) -> set[fx.Node]:
    """Return the computing nodes that an argument is put together from; sizes do not count."""
    found: set[fx.Node] = set()
    open_nodes = [argument]
    while open_nodes:
        node = open_nodes.pop()
        if INFO in node.meta:
            found.add(node)
        elif node.target is not torch.ops.aten.sym_size.int:
            open_nodes += node.all_input_nodes
    return found


def _is_linear(node: fx.Node) -> bool:
    return INFO in node.meta and node.meta[INFO].op == "linear"
