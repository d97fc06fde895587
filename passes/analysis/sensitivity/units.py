"""Units: what takes one format together. A weight, an operand, all of a kind, a layer's, or a group of output channels.

A unit is named by its sites, not by a model's classes, so that a table of sensitivities, an allocation and a search
speak of the same things. What hardware ties (one array, one element type) is a unit with several sites.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from mxhw.errors import InputError, nearest
from mxhw.formats import parse_format
from mxhw.ir import Graph, NodeInfo, SiteKey
from mxhw.ir.cache import CACHE, tokens_per_block

__all__ = ["Granularity", "Unit", "check_apart", "check_units", "output_axis", "split_channels", "units_of"]

Granularity = Literal["site", "kind", "layer"]
_REST = "model"  # the layer of what is in none: an output head


@dataclass(frozen=True)
class Unit:
    """What takes one format, together.

    Attributes
    ----------
    name : str
        Unique and readable: "layers.0.q_proj:weight", "model.layers.0:attention", "q_proj:weight" (of a kind).
    sites : tuple of site keys
        "node:weight", "node:input", "node:lhs", "node:rhs", "node:cache".
    candidates : tuple of format names
    channels : (start, stop), optional
        Output channels of a weight's sites that take the format, the others stay as captured; None: all of them.

    Raises
    ------
    InputError
        If there is no site or no candidate, one of them stands twice, or the channels are no range.
    """

    name: str
    sites: tuple[SiteKey, ...]
    candidates: tuple[str, ...]
    channels: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for what, values in (("sites", self.sites), ("candidates", self.candidates)):
            if not values or len(set(values)) != len(values):
                raise InputError(f"unit {self.name!r}: {what} must be different names, at least one, not {values!r}")
        if self.channels is not None and not 0 <= self.channels[0] < self.channels[1]:
            raise InputError(
                f"unit {self.name!r}: channels must be (start, stop) with start < stop, not {self.channels}"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON object."""
        channels = None if self.channels is None else list(self.channels)
        return {
            "name": self.name,
            "sites": list(self.sites),
            "candidates": list(self.candidates),
            "channels": channels,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Unit":
        """Invert :meth:`to_json`."""
        channels = data["channels"]
        pair = None if channels is None else (int(channels[0]), int(channels[1]))
        return cls(str(data["name"]), tuple(data["sites"]), tuple(data["candidates"]), pair)


def output_axis(info: NodeInfo) -> int:
    """Return the axis of output channels in the weight of a node: [experts, out, in], or [out, in, taps ...]."""
    return 1 if info.op == "expert_linear" else 0


def units_of(
    graph: Graph, candidates: Sequence[str], operands: Iterable[str] = ("weight",), per: Granularity = "site"
) -> tuple[Unit, ...]:
    """Return units of all sites of these operands, in execution order.

    Parameters
    ----------
    candidates : format names
        Of every unit.
    operands : of "weight", "input", "lhs", "rhs", "cache"
        Different operands are never one unit.
    per : "site", "kind" or "layer"
        What is together: every site is alone; equal last parts of a node's name ("q_proj"); one repeated layer of the
        model, with what is in no layer as one more unit.
    """
    if per not in get_args(Granularity):
        raise InputError(f"units are per {', '.join(get_args(Granularity))}, not {per!r}")
    wanted = tuple(operands)
    members: dict[str, list[SiteKey]] = {}
    for info in graph.nodes.values():
        owner = {"site": info.name, "kind": info.name.rpartition(".")[2], "layer": info.layer or _REST}[per]
        for site in info.sites:
            if site.operand in wanted:
                members.setdefault(f"{owner}:{site.operand}", []).append(site.key)
    return tuple(Unit(name, tuple(keys), tuple(candidates)) for name, keys in members.items())


def split_channels(graph: Graph, unit: Unit, size: int) -> tuple[Unit, ...]:
    """Return a unit of weights as units of `size` output channels each; the last one may have fewer.

    Raises
    ------
    InputError
        If the sites are no weights with equally many output channels, or the size is not positive.
    """
    check_units(graph, [unit])
    counts = {_channels(unit, graph, key) for key in unit.sites}
    if len(counts) != 1 or size < 1 or unit.channels is not None:
        raise InputError(
            f"unit {unit.name!r} cannot be split into groups of {size} output channels: a positive size, and weights "
            f"with equally many channels are needed (they have {sorted(counts)})"
        )
    (count,) = counts
    ranges = [(start, min(start + size, count)) for start in range(0, count, size)]
    return tuple(Unit(f"{unit.name}[{a}:{b}]", unit.sites, unit.candidates, (a, b)) for a, b in ranges)


def check_units(graph: Graph, units: Sequence[Unit]) -> None:
    """Raise an InputError for names that stand twice, unknown sites, formats or channels, and impossible caches.

    Units may have sites in common: each is tried alone.
    """
    names = [unit.name for unit in units]
    if not names or len(set(names)) != len(names):
        twice = next((name for name in names if names.count(name) > 1), None)
        raise InputError(
            f"units need different names, at least one; {twice!r} stands twice" if twice else "no units given"
        )
    sites = graph.sites
    for unit in units:
        formats = [parse_format(name) for name in unit.candidates]
        for key in unit.sites:
            if key not in sites:
                raise InputError(
                    f"unit {unit.name!r} has no site {key!r} in {graph.signature.model}{nearest(key, sites)}"
                )
            if sites[key].operand == CACHE:
                for fmt in formats:
                    tokens_per_block(fmt, sites[key].axis)
            if unit.channels is not None and unit.channels[1] > (count := _channels(unit, graph, key)):
                raise InputError(f"unit {unit.name!r}: channels {unit.channels} exceed the {count} of {key!r}")


def check_apart(units: Sequence[Unit]) -> None:
    """Raise an InputError if two units give one place a format: their formats would be in each other's way."""
    taken: dict[SiteKey, list[Unit]] = {}
    for unit in units:
        for key in unit.sites:
            for other in taken.setdefault(key, []):
                if _overlap(unit.channels, other.channels):
                    raise InputError(
                        f"units {other.name!r} and {unit.name!r} both give {key!r} a format; leave one out"
                    )
            taken[key].append(unit)


def _overlap(a: tuple[int, int] | None, b: tuple[int, int] | None) -> bool:
    return a is None or b is None or (a[0] < b[1] and b[0] < a[1])


def _channels(unit: Unit, graph: Graph, key: SiteKey) -> int:
    site = graph.sites[key]
    if site.operand != "weight":
        raise InputError(f"unit {unit.name!r}: only weights have output channels, not {key!r}; give no channels")
    return int(site.shape[output_axis(graph.nodes[site.node])])  # type: ignore[arg-type]
