"""One entry of a table of sensitivities: a unit in a candidate."""

from typing import NamedTuple

from mxhw.ir import Graph
from mxhw.passes.analysis.sensitivity.units import Unit

__all__ = ["Entry", "nodes_of"]


class Entry(NamedTuple):
    """A unit, and the format that it alone takes."""

    unit: Unit
    candidate: str


def nodes_of(graph: Graph, unit: Unit) -> tuple[str, ...]:
    """Return the nodes that a unit's sites belong to, each once."""
    sites = graph.sites
    return tuple(dict.fromkeys(sites[key].node for key in unit.sites))
