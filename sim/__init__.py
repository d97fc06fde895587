"""Simulation of emitted designs: Verilator builds, the cocotb bench, exact comparison with the software's outputs.

Source of the protocol and of "equal": `mxhw.rtl_templates` (streams) and `mxhw.arithmetic` (values). Nothing here knows
a number format: expected beats are emitted beside a design, and one differing bit is a mismatch.
"""

from mxhw.sim.build import Build, build_simulator, lint
from mxhw.sim.cache import BuildError, default_cache
from mxhw.sim.compare import Comparison, Mismatch, compare_beats
from mxhw.sim.cosim import COSIM_FILE, CosimCase, CosimReport, find_designs, run_cosim
from mxhw.sim.dataflow import DataflowDesign, DataflowResult, run_dataflow
from mxhw.sim.design import GemmDesign
from mxhw.sim.library import Library, Run, build_library, build_library_from_sources
from mxhw.sim.protocol import check_streams
from mxhw.sim.session import SimulationSession
from mxhw.sim.streams import SimulationError, StreamError

__all__ = [
    "COSIM_FILE",
    "Build",
    "BuildError",
    "Comparison",
    "CosimCase",
    "CosimReport",
    "DataflowDesign",
    "DataflowResult",
    "GemmDesign",
    "Library",
    "Mismatch",
    "Run",
    "SimulationError",
    "SimulationSession",
    "StreamError",
    "build_library",
    "build_library_from_sources",
    "build_simulator",
    "check_streams",
    "compare_beats",
    "default_cache",
    "find_designs",
    "lint",
    "run_cosim",
    "run_dataflow",
]
