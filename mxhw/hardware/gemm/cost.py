"""All costs of GEMM units at once: cycles, traffic, resources, energy, of every design point."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add

from mxhw.hardware.gemm.cycles import bounded_cycles, gemm_cycles, steady_cycles
from mxhw.hardware.gemm.numbers import Numbers
from mxhw.hardware.gemm.points import GemmPoints
from mxhw.hardware.gemm.prices import GemmPrices
from mxhw.hardware.gemm.traffic import GemmTraffic, gemm_memories, gemm_traffic

__all__ = ["GemmCosts", "gemm_costs"]


@dataclass(frozen=True)
class GemmCosts:
    """Costs of all products, an entry a point.

    Attributes
    ----------
    cycles : first beat in to last beat out.
    traffic : bits that pass the unit's edge.
    resources : resource → part ("elements", "columns", "rows", "control", and the memories) → amount.
    energy : pJ by part ("logic", "static", the memories, "outside"); None where the platform has no figure for logic
        or for accesses.
    """

    cycles: Numbers
    traffic: GemmTraffic
    resources: Mapping[str, Mapping[str, Numbers]]
    energy: Mapping[str, Numbers] | None

    def resource(self, name: str) -> Numbers:
        """Return the amount of a resource: 0 for one that the unit does not take."""
        return reduce(add, self.resources.get(name, {}).values(), 0.0)

    def total_energy(self) -> Numbers:
        """Return the energy [pJ] of all parts; there is one only where :attr:`energy` is not None."""
        assert self.energy is not None
        return reduce(add, self.energy.values(), 0.0)


def gemm_costs(points: GemmPoints, prices: GemmPrices, *, port: Numbers | None = None) -> GemmCosts:
    """Return the costs of units.

    ``port``: weights lie outside and come a column tile at a time through so many bits a cycle
    (:func:`.bounded_cycles`); None: memories hold them all.
    """
    tiled = port is not None
    cycles = bounded_cycles(points, port) if tiled else gemm_cycles(points)
    traffic = gemm_traffic(points, tiled=tiled)
    memories = gemm_memories(points, tiled=tiled)
    resources: dict[str, dict[str, Numbers]] = {name: sizes.of(points) for name, sizes in prices.sizes.items()}
    logic = {name: reduce(add, parts.values()) for name, parts in resources.items()}
    for part, memory in memories.items():
        for name, amount in prices.memory(memory).items():
            resources.setdefault(name, {})[part] = amount * memory.copies
    if prices.access is None or prices.logic_energy is None:
        return GemmCosts(cycles, traffic, resources, None)
    steady, leaking = steady_cycles(points), prices.static_energy
    bits = reduce(add, (memory.capacity * memory.copies for memory in memories.values()))
    energy: dict[str, Numbers] = {
        "logic": sum((logic[name] * each * steady for name, each in prices.logic_energy.items()), 0.0),
        "static": sum((logic[name] * each for name, each in leaking.items()), bits * prices.static_bit) * cycles,
        "outside": traffic.weights * prices.outside_energy,
    }
    for part, memory in memories.items():
        read, write = prices.access(memory)
        energy[part] = memory.copies * (memory.reads * read + memory.writes * write)
    return GemmCosts(cycles, traffic, resources, energy)
