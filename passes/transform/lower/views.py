"""What reaches a node through views (reshape, transpose, getitem, ...): whose values they are, and in which order.

Views are not interpreted one by one: they are run on the numbers of their source's elements, so that what they do is
seen and not assumed. A stream brings the elements of one token after those of the other; a node can take what has the
order of such a stream, as vectors or as head vectors. A linear layer that is read in parts (queries, keys and values of
one projection) counts as a node with several outputs, see :mod:`mxhw.passes.transform.lower.parts`.
"""

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, cast

import torch
from torch import Tensor, fx

from mxhw.errors import InputError
from mxhw.ir import Graph, NodeInfo, size_at
from mxhw.ir.describe import INFO, INPUT
from mxhw.ir.dialect import VIEWS
from mxhw.passes.transform.lower.parts import Channels, find_parts

__all__ = ["Seen", "Source", "Views", "info_of", "node_argument"]

_BATCH, _SEQUENCE = 2, 3  # sizes at which views of a dynamic graph are run


@dataclass(frozen=True)
class Source:
    """One output of a computing node, one part of a linear layer, or the model's input (a placeholder)."""

    node: fx.Node
    index: int = 0


@dataclass(frozen=True)
class Seen:
    """What a node sees of a source.

    Attributes
    ----------
    source : Source
    numbers : int64
        In the shape that the node sees, the number of each element in the source's stream: token after token.
    """

    source: Source
    numbers: Tensor

    @cached_property
    def in_order(self) -> bool:
        """Whether the elements come as in the stream."""
        return self._is_range(self.numbers)

    @cached_property
    def heads(self) -> tuple[int, int] | None:
        """Heads and their length, for [batch, heads, tokens, length] in the order of the stream; None otherwise."""
        if self.numbers.dim() != 4 or not self._is_range(self.numbers.transpose(1, 2)):
            return None
        return self.numbers.shape[1], self.numbers.shape[3]

    @staticmethod
    def _is_range(numbers: Tensor) -> bool:
        return torch.equal(numbers.reshape(-1), torch.arange(numbers.numel()))


_Value = Seen | int | tuple[Seen, ...] | None


class Views:
    """Follows the arguments of a graph's nodes.

    Attributes
    ----------
    sizes : batch and tokens that views are run at.
    parts : the channels of each part, of the linear layers that are read in parts.
    """

    def __init__(self, graph: Graph) -> None:
        signature = graph.signature
        self.signature = signature
        captured = signature.batch, signature.sequence
        self.sizes = (_BATCH, _SEQUENCE) if signature.dynamic else captured
        self._known: dict[fx.Node, _Value] = {}
        self.parts: dict[fx.Node, tuple[Channels, ...]] = {}
        self.parts = find_parts(graph, self._width, self._whole)

    def see(self, node: fx.Node) -> Seen | None:
        """Return what ``node`` is as an argument; None if it is a constant or made of several values."""
        found = self._value(node)
        return self._of_part(found) if isinstance(found, Seen) else None

    def outputs(self, node: fx.Node) -> int:
        """Return how many sources a node is."""
        return 2 if info_of(node).op == "rope" else len(self.parts.get(node, (None,)))

    def key(self, source: Source) -> str:
        """Return what a source is called: its node, and which output of it where there are several; or "input"."""
        if source.node.op == "placeholder":
            return INPUT
        name = info_of(source.node).name
        return f"{name}.{source.index}" if info_of(source.node).op == "rope" or source.node in self.parts else name

    def vectors(self, source: Source, value: Any) -> Tensor:
        """Return the vectors [batch, tokens, length] of a source, from what its node has given."""
        one: Tensor = value[source.index] if isinstance(value, tuple | list) else value
        if self._of_heads(source):
            return one.transpose(1, 2).flatten(-2)
        return one[..., list(self.parts[source.node][source.index])] if source.node in self.parts else one

    def length(self, source: Source) -> int:
        """Return the elements of a token of a source."""
        if source.node in self.parts:
            return len(self.parts[source.node][source.index])
        shape = self.shape(source)
        return shape[1] * shape[3] if self._of_heads(source) else shape[-1]

    def shape(self, source: Source) -> tuple[int, ...]:
        """Return the shape of a source, at :attr:`sizes`."""
        node = source.node
        if node.op == "placeholder":
            return self._input_shape()
        info = info_of(node)
        if info.op == "rope":  # as its inputs, whichever order its outputs have
            rotated = [seen.numbers for a in node.all_input_nodes if (seen := self.see(a)) and seen.numbers.dim() == 4]
            if source.index < len(rotated):
                return tuple(rotated[source.index].shape)
        return tuple(size_at(size, *self.sizes) for size in info.output_shape)

    def _input_shape(self) -> tuple[int, ...]:
        if self.signature.features is None:
            return self.sizes
        free = iter(self.sizes)
        return tuple(next(free) if size is None else size for size in self.signature.features)

    def _of_heads(self, source: Source) -> bool:
        return source.node.op != "placeholder" and info_of(source.node).op in ("rope", "attn_pv")

    def _width(self, node: fx.Node) -> int:
        """Return the elements of a token of a node's whole output."""
        return size_at(info_of(node).output_shape[-1], *self.sizes)

    def _whole(self, node: fx.Node) -> tuple[fx.Node, Tensor] | None:
        """Return the node whose values ``node`` is a view of, and the numbers of its elements, parts not looked at."""
        found = self._value(node)
        return (found.source.node, found.numbers) if isinstance(found, Seen) else None

    def _of_part(self, seen: Seen) -> Seen:
        """Return what a node sees of the part that it reads, of a linear layer that is read in parts."""
        parts = self.parts.get(seen.source.node)
        if parts is None:
            return seen
        length = self._width(seen.source.node)
        first = int(seen.numbers.flatten()[0]) % length
        index = next(i for i, channels in enumerate(parts) if first in channels)
        place = torch.full((length,), -1)
        place[list(parts[index])] = torch.arange(len(parts[index]))
        numbers = seen.numbers // length * len(parts[index]) + place[seen.numbers % length]
        return Seen(Source(seen.source.node, index), numbers)

    def _value(self, node: fx.Node) -> _Value:
        if node not in self._known:
            self._known[node] = self._look(node)
        return self._known[node]

    def _look(self, node: fx.Node) -> _Value:
        if node.op == "placeholder" or INFO in node.meta:
            return self._numbered(Source(node))
        if node.op != "call_function":
            return None
        if node.target is torch.ops.aten.sym_size.int:
            seen = self._value(cast(fx.Node, node.args[0]))
            return int(seen.numbers.shape[cast(int, node.args[1])]) if isinstance(seen, Seen) else None
        return self._view(node)

    def _view(self, node: fx.Node) -> _Value:
        """Run a view on numbers, or arithmetic of sizes on sizes."""
        argument = node.args[0] if node.args else None
        of_several = isinstance(argument, fx.Node) and INFO in argument.meta and _name(node) == "getitem"
        if of_several:
            return self._numbered(Source(cast(fx.Node, argument), cast(int, node.args[1])))
        values = {each: self._value(each) for each in node.all_input_nodes}
        tensors = [value for value in values.values() if isinstance(value, Seen)]
        if _name(node) == "getitem" and isinstance(of := values.get(cast(fx.Node, argument)), tuple):
            return of[cast(int, node.args[1])]
        if any(value is None or isinstance(value, tuple) for value in values.values()) or len(tensors) > 1:
            return None
        if tensors and _name(node) not in VIEWS:
            return None
        plain: dict[Any, Any] = {k: value.numbers if isinstance(value, Seen) else value for k, value in values.items()}
        result: Any = node.target(*fx.map_arg(node.args, plain.get), **fx.map_arg(node.kwargs, plain.get))  # type: ignore[operator]
        if tensors and isinstance(result, tuple | list):  # a split
            return tuple(Seen(tensors[0].source, each) for each in result)
        if tensors:
            return Seen(tensors[0].source, result) if isinstance(result, Tensor) else None
        return result if isinstance(result, int) else None

    def _numbered(self, source: Source) -> Seen:
        shape = self.shape(source)
        numbers = torch.arange(prod(shape))
        if self._of_heads(source):
            batch, heads, tokens, length = shape
            return Seen(source, numbers.view(batch, tokens, heads, length).transpose(1, 2))
        return Seen(source, numbers.view(shape))


def info_of(node: fx.Node) -> NodeInfo:
    """Return the record of a computing node."""
    return cast(NodeInfo, node.meta[INFO])


def node_argument(node: fx.Node, position: int) -> fx.Node:
    """Return an argument that is a node; InputError if it is none."""
    argument = node.args[position] if position < len(node.args) else None
    if not isinstance(argument, fx.Node):
        raise InputError(f"argument {position} is {argument!r}, not a value of the model")
    return argument


def _name(node: fx.Node) -> str:
    return str(getattr(node.target, "__name__", node.target)).partition(".")[0]
