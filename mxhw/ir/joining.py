"""A tensor that is made empty and filled slice by slice becomes one concatenation.

    y = new_empty(...); y[..., :a].copy_(p); y[..., a:].copy_(q)   →   y = cat([p, q], -1)      keys of DeepSeek

What reads y then depends on p and q in the graph itself, not through memory that is written after y was made.
"""

from typing import cast

import torch
from torch import Tensor, fx

__all__ = ["join_slices"]

_aten = torch.ops.aten
_EMPTY = (_aten.new_empty.default, _aten.empty.memory_format, _aten.empty_like.default)


def join_slices(graph: fx.Graph) -> None:
    """Rewrite every such tensor of `graph`, in place; what is filled in any other way stays as it is."""
    for target in _EMPTY:
        for node in graph.find_nodes(op="call_function", target=target):
            copies = _copies(node)
            if copies and _covers(node, copies) and _is_read_after(node, copies[-1]):
                _replace(graph, node, copies)


def _copies(empty: fx.Node) -> list[fx.Node]:
    """Return the nodes that copy into slices of `empty`, in order of execution."""
    slices = [user for user in empty.users if user.target is _aten.slice.Tensor]
    users = [user for node in slices for user in node.users]
    if len(users) != len(slices) or any(user.target is not _aten.copy_.default or user.users for user in users):
        return []
    found = set(users)
    return [node for node in empty.graph.nodes if node in found]


def _covers(empty: fx.Node, copies: list[fx.Node]) -> bool:
    """Whether the slices lie side by side along one dimension, all of it, each filled by a tensor of its own shape."""
    value, end = cast(Tensor, empty.meta["val"]), 0
    dimension = _dimension(copies[0])
    for copy in copies:
        _, _, start, stop, *step = _slice(copy).args
        source = copy.args[1]
        if _dimension(copy) != dimension or start != end or step or not isinstance(stop, int):
            return False
        if not isinstance(source, fx.Node) or len(copy.args) > 2:
            return False
        filled, target = source.meta["val"], copy.meta["val"]
        if filled.dtype != value.dtype or filled.shape != target.shape:
            return False
        end = stop
    size = value.shape[dimension]
    return isinstance(size, int) and end >= size


def _slice(copy: fx.Node) -> fx.Node:
    return cast(fx.Node, copy.args[0])


def _dimension(copy: fx.Node) -> int:
    return cast(int, _slice(copy).args[1])


def _is_read_after(empty: fx.Node, last: fx.Node) -> bool:
    return all(user.target is _aten.slice.Tensor or last < user for user in empty.users)


def _replace(graph: fx.Graph, empty: fx.Node, copies: list[fx.Node]) -> None:
    with graph.inserting_after(copies[-1]):
        joined = graph.call_function(_aten.cat.default, ([copy.args[1] for copy in copies], _dimension(copies[0])))
    joined.meta = dict(empty.meta)
    slices = [_slice(copy) for copy in copies]
    for node in (*copies, *slices):
        graph.erase_node(node)
    empty.replace_all_uses_with(joined)
    graph.erase_node(empty)
