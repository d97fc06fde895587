"""What a unit costs for one sequence."""

from dataclasses import dataclass
from functools import lru_cache

from mxhw.hardware.cycles import unit_cycles
from mxhw.hardware.energy import EnergyBreakdown, unit_energy
from mxhw.hardware.platform import Platform
from mxhw.hardware.resources import unit_resources
from mxhw.hardware.sizes import Resources, unit_sizes
from mxhw.hardware.structure import Unit, rows_of

__all__ = ["UnitCost", "connection_cost", "unit_cost"]


@dataclass(frozen=True)
class UnitCost:
    """Of one unit for one sequence: cycles, resources, pJ, bits that its memories hold."""

    cycles: int
    resources: Resources
    energy: EnergyBreakdown
    memory_bits: int


@lru_cache(maxsize=65536)
def unit_cost(unit: Unit, platform: Platform, tokens: int) -> UnitCost:
    """Return what a unit costs for one sequence from position 0 on."""
    rows = rows_of(unit)
    cycles = unit_cycles(unit, -(-tokens // rows) * rows)
    logic = unit_sizes(unit, platform)
    return UnitCost(
        cycles=cycles,
        resources=unit_resources(unit, platform),
        energy=unit_energy(unit, tokens, 0, platform, logic, cycles),
        memory_bits=sum(shape.capacity for shape in unit.memories()),
    )


def connection_cost(unit: Unit, platform: Platform) -> UnitCost:
    """Return what a fork, queue or converter costs; its energy is that of a part that works a cycle for each beat or
    less, which is not known here and counted as none."""
    bits = sum(shape.capacity for shape in unit.memories())
    return UnitCost(0, unit_resources(unit, platform), EnergyBreakdown(), bits)
