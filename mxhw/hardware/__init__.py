"""Platforms as data, and the analytic cost of the hardware that mxhw builds."""

from mxhw.hardware.arrays import MOST_COLUMNS, ArrayPlan, cost_arrays, plan_arrays
from mxhw.hardware.components import Component, component, components, library_origin
from mxhw.hardware.cost import GemmCosts, gemm_costs, logic_energy_density
from mxhw.hardware.memories import Memory, unit_memories
from mxhw.hardware.platform import MemoryEnergy, Platform, Quantity, known_platforms, load_platform
from mxhw.hardware.units import GemmBatch, GemmUnit, GemmWork, UnitKind, steady_cycles, total_cycles

__all__ = [
    "MOST_COLUMNS",
    "ArrayPlan",
    "Component",
    "GemmBatch",
    "GemmCosts",
    "GemmUnit",
    "GemmWork",
    "Memory",
    "MemoryEnergy",
    "Platform",
    "Quantity",
    "UnitKind",
    "component",
    "components",
    "cost_arrays",
    "gemm_costs",
    "known_platforms",
    "library_origin",
    "load_platform",
    "logic_energy_density",
    "plan_arrays",
    "steady_cycles",
    "total_cycles",
    "unit_memories",
]
