"""Synthesis of the hardware library with yosys: cells, area, delay, FPGA resources, and formal equivalence."""

from mxhw.synthesis.asic import CellArea, GateCount, count_gates, map_to_cells
from mxhw.synthesis.equivalence import Proof, prove_equal
from mxhw.synthesis.fpga import FAMILIES, Family, Resources, family_named
from mxhw.synthesis.liberty import Library, open_library
from mxhw.synthesis.measure import FamilyFigures, Figures, measure, tool_versions
from mxhw.synthesis.units import UnitChoice, describe_units, parse_unit
from mxhw.synthesis.yosys import YosysError, require_yosys, source_of

__all__ = [
    "FAMILIES",
    "CellArea",
    "Family",
    "FamilyFigures",
    "Figures",
    "GateCount",
    "Library",
    "Proof",
    "Resources",
    "UnitChoice",
    "YosysError",
    "count_gates",
    "describe_units",
    "family_named",
    "map_to_cells",
    "measure",
    "open_library",
    "parse_unit",
    "prove_equal",
    "require_yosys",
    "source_of",
    "tool_versions",
]
