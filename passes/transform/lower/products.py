"""Products with weights for which layers share an array: each with its own weight, all with sums of one type.

What a product has in common with its peers takes the weights of all of them. They are encoded where the first of them
is lowered; those of nodes that are lowered, too, are kept until then, so that a whole model encodes each weight once.
Of others only the bounds and scales stay in memory, but lowering one block takes the time of all that are equal to it.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import fx

from mxhw.arithmetic.dataflow import BlockCodes, Linear
from mxhw.arithmetic.dataflow.products import SumBounds, shared_type
from mxhw.arithmetic.units import supports
from mxhw.errors import InputError
from mxhw.formats import Format
from mxhw.passes.transform.lower.parts import cut_rows

if TYPE_CHECKING:
    from mxhw.passes.transform.lower.lowering import Lowering

__all__ = ["Shared", "SharedProducts"]


@dataclass(frozen=True)
class Shared:
    """The product of a linear layer or of a part of one.

    Attributes
    ----------
    product : Linear
    largest_scale : of the product, and of all others that share an array with it.
    """

    product: Linear
    largest_scale: float


@dataclass(frozen=True)
class _Common:
    """What products of one part of the peers have in common."""

    shared: str | None
    bounds: SumBounds
    largest_scale: float

    def of(self, product: Linear, x: BlockCodes) -> Shared:
        return Shared(replace(product, x=x, shared=self.shared, bounds=self.bounds), self.largest_scale)


class SharedProducts:
    """The products of a lowering's linear layers."""

    def __init__(self, lowering: "Lowering") -> None:
        self._lowering = lowering
        self._common: dict[tuple[fx.Node, ...], tuple[_Common, ...]] = {}
        self._waiting: dict[fx.Node, tuple[Linear, ...]] = {}

    def formats(self, node: fx.Node) -> tuple[Format, Format]:
        """Return the formats of input and weight; InputError if the assignment does not say both."""
        found = {operand: self._lowering.format(node, operand) for operand in ("weight", "input")}
        weight, inputs = found["weight"], found["input"]
        if weight is None or inputs is None:
            raise InputError(f"no format of its {' and '.join(key for key, value in found.items() if value is None)}")
        return inputs, weight

    def of(self, node: fx.Node, x: BlockCodes) -> tuple[Shared, ...]:
        """Return the products of a linear layer with its input, one per part; one if it is not read in parts.

        Peers share if one array computes with all their formats; otherwise each has its own bounds and scales.

        Raises
        ------
        InputError
            If the layer has no formats or no weight, or no unit computes with them.
        """
        members = self._members(node)
        if len(members) == 1:
            return tuple(Shared(each, float(each.scales.max())) for each in self._made(node, x))
        if members not in self._common:
            self._common[members] = self._measured(members, x)
        own = self._waiting.pop(node)
        return tuple(common.of(part, x) for part, common in zip(own, self._common[members], strict=True))

    def _members(self, node: fx.Node) -> tuple[fx.Node, ...]:
        """Return the node and its peers if one array can compute all their products, else the node."""
        parts, peers = self._lowering.views.parts, self._lowering.peers.of(node)
        wanted = self.formats(node)[0]
        weights: list[Format] = []
        for peer in peers:
            inputs, weight = (self._lowering.format(peer, operand) for operand in ("input", "weight"))
            if inputs != wanted or weight is None or not supports(wanted, weight) or parts.get(peer) != parts.get(node):
                return (node,)
            weights.append(weight)
        try:
            shared_type(weights)
        except InputError:  # no array has all their weights
            return (node,)
        return peers

    def _made(self, node: fx.Node, x: BlockCodes) -> tuple[Linear, ...]:
        """Return the product of a node, or its parts, sharing nothing."""
        inputs, weight_format = self.formats(node)
        weight, parts = self._lowering.parameter(node, 1), self._lowering.views.parts.get(node)
        if weight is None:
            raise InputError("no weight")
        product = Linear.of(weight, x, inputs, weight_format)
        return (product,) if parts is None else tuple(cut_rows(product, channels) for channels in parts)

    def _measured(self, members: tuple[fx.Node, ...], x: BlockCodes) -> tuple[_Common, ...]:
        """Return what each part has in common with those of the peers; keep the products that will be asked for."""
        measured: list[list[tuple[SumBounds, float]]] = []
        for member in members:
            own = self._made(member, x)
            if member in self._lowering.chosen:
                self._waiting[member] = own
            copies = (replace(part) for part in own)  # whose integers are dropped once they have been looked at
            measured.append([(SumBounds(part.floor, part.largest), float(part.scales.max())) for part in copies])
        shared = shared_type([self.formats(member)[1] for member in members])
        return tuple(
            _Common(shared, SumBounds.joined(bounds for bounds, _ in part), max(scale for _, scale in part))
            for part in zip(*measured, strict=True)
        )
