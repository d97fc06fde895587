"""Simulation of emitted designs: Verilator builds, the cocotb bench, exact comparison with the software's outputs.

Source of the protocol and of "equal": `mxhw.rtl_templates` (streams) and `mxhw.arithmetic` (values). Nothing here knows
a number format: expected beats are emitted beside a design, and one differing bit is a mismatch.
"""

from mxhw.sim.build import Build, BuildError, build_simulator, default_cache, lint
from mxhw.sim.compare import Comparison, Mismatch, compare_beats
from mxhw.sim.cosim import COSIM_FILE, CosimCase, CosimReport, SimulationError, find_designs, run_cosim
from mxhw.sim.design import GemmDesign

__all__ = [
    "COSIM_FILE",
    "Build",
    "BuildError",
    "Comparison",
    "CosimCase",
    "CosimReport",
    "GemmDesign",
    "Mismatch",
    "SimulationError",
    "build_simulator",
    "compare_beats",
    "default_cache",
    "find_designs",
    "lint",
    "run_cosim",
]
