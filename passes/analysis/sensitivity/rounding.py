"""What units in their candidates do to the operands of nodes, without rewriting the graph.

The rule is that of :class:`mxhw.passes.transform.Quantize` with arithmetic "float", operand by operand and bit for bit;
beyond it, some output channels of a weight alone can be rounded. A group of channels is rounded as the tensor that it
is: scales that a format shares within a tensor are the group's own, as in formats by channel.
"""

from collections.abc import Iterable, Sequence
from typing import Any, cast

from torch import Tensor, fx

from mxhw.formats import Format, parse_format
from mxhw.ir import NodeInfo, Site, SiteKey
from mxhw.ir.cache import CACHE, quantize_cache
from mxhw.ir.describe import INFO
from mxhw.ir.dialect import operand_position
from mxhw.passes.analysis.sensitivity.units import Unit, output_axis
from mxhw.passes.transform.weights import WeightCache

__all__ = ["Rounding", "is_constant"]

_Piece = tuple[Format, tuple[int, int] | None]  # channels; None: all of them


class Rounding:
    """Units, each in a candidate. A rounded weight is made once and kept as long as this lives.

    Parameters
    ----------
    choice : iterable of (Unit, format name)
        Checked units (:func:`check_units`) of one graph; those that share sites have other channels.
    weights : WeightCache, optional
        Shared, it keeps what is rounded whole for others.
    """

    def __init__(self, choice: Iterable[tuple[Unit, str]], weights: WeightCache | None = None) -> None:
        self._pieces: dict[SiteKey, list[_Piece]] = {}
        for unit, candidate in choice:
            for key in unit.sites:
                self._pieces.setdefault(key, []).append((parse_format(candidate), unit.channels))
        self._weights = weights if weights is not None else WeightCache()
        self._kept: dict[SiteKey, Tensor] = {}

    def places(self, node: fx.Node) -> tuple[int, ...]:
        """Return which arguments of a node are rounded."""
        info = node.meta.get(INFO)
        sites = info.sites if isinstance(info, NodeInfo) else ()
        return tuple(dict.fromkeys(operand_position(node.target, s.operand) for s in sites if s.key in self._pieces))

    def arguments(self, node: fx.Node, arguments: Sequence[Any]) -> tuple[Any, ...]:
        """Return the arguments that a node gets, with those rounded that a unit is about."""
        changed = list(arguments)
        for place in self.places(node):
            changed[place] = self.operand(node, place, changed[place])
        return tuple(changed)

    def operand(self, node: fx.Node, place: int, value: Tensor) -> Tensor:
        """Return the argument number `place` of a node, whose unrounded value is given."""
        sites = [s for s in node.meta[INFO].sites if operand_position(node.target, s.operand) == place]
        for site in sorted(sites, key=lambda site: site.operand != CACHE):  # what is stored is rounded first
            if site.key in self._pieces:
                value = self._rounded(node, site, value)
        return value

    def _rounded(self, node: fx.Node, site: Site, value: Tensor) -> Tensor:
        pieces = self._pieces[site.key]
        if site.operand == CACHE:
            return quantize_cache(value, pieces[0][0].name, site.axis)
        if not (site.operand == "weight" and is_constant(node)):
            return self._assembled(node.meta[INFO], site, value, pieces, None)
        if site.key not in self._kept:
            self._kept[site.key] = self._assembled(node.meta[INFO], site, value, pieces, self._weights)
        return self._kept[site.key]

    def _assembled(
        self, info: NodeInfo, site: Site, value: Tensor, pieces: list[_Piece], weights: WeightCache | None
    ) -> Tensor:
        def rounded(part: Tensor, fmt: Format) -> Tensor:
            if weights is not None:
                return weights.fake_quantized(part, fmt, site.axis)
            return fmt.fake_quantize(part.detach(), axis=site.axis)

        if pieces[0][1] is None:
            return rounded(value, pieces[0][0])
        result, axis = value.detach().clone(), output_axis(info)
        for fmt, channels in pieces:
            start, stop = cast(tuple[int, int], channels)
            result.narrow(axis, start, stop - start).copy_(rounded(value.narrow(axis, start, stop - start), fmt))
        return result


def is_constant(node: fx.Node) -> bool:
    """Whether the weight of a node is a parameter, not computed by the graph."""
    return cast(fx.Node, node.args[operand_position(node.target, "weight")]).op == "get_attr"
