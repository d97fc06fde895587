"""Runs a cocotb bench (`bench.py`, `dataflow_bench.py`) in a design's folder, with Verilator or Icarus Verilog.

Benches write what they found into files; here these become records.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mxhw.errors import InputError
from mxhw.sim.build import GEMM_PORTS, build_simulator
from mxhw.sim.cache import BuildError
from mxhw.sim.streams import SimulationError
from mxhw.sim.taps import TapComparison
from mxhw.sim.toolchain import find_program

__all__ = [
    "BenchResult",
    "DataflowBenchResult",
    "Simulator",
    "compile_icarus",
    "compile_verilator",
    "run_bench",
    "run_dataflow_bench",
]


@dataclass(frozen=True)
class BenchResult:
    """One run: its cycles and the output beats by stream, or the broken promise (with its stream and beat)."""

    cycles: int | None
    error: str | None
    port: str | None
    beat: int | None
    outputs: dict[str, list[int]]


@dataclass(frozen=True)
class DataflowBenchResult:
    """One run of a dataflow design: its cycles, or the broken promise, and what all its ports and taps found."""

    cycles: int | None
    error: str | None
    deadlock: bool
    compared: Mapping[str, TapComparison]


@dataclass(frozen=True)
class Simulator:
    """A compiled simulation.

    Attributes
    ----------
    command : what starts it.
    top : its top module.
    seconds : that compiling took.
    writes_at_once : a port that the bench writes after a clock edge may change at once, because the registers have
        taken their values by then: so it is in Verilator, and not in an event-driven simulator.
    """

    command: tuple[str, ...]
    top: str
    seconds: float
    writes_at_once: bool


def compile_verilator(
    sources: Sequence[Path],
    top: str,
    *,
    ports: Sequence[str] = GEMM_PORTS,
    waves: Path | None = None,
    cache: Path | None = None,
) -> Simulator:
    """Compile with Verilator, or find it compiled before; `waves` is a VCD file that each start writes."""
    if waves is not None and waves.suffix != ".vcd":
        raise InputError(f"waves must be a .vcd file, not {waves}")
    made = build_simulator(sources, top, ports=ports, waves=waves is not None, cache=cache)
    trace = () if waves is None else ("--trace", "--trace-file", str(waves.resolve()))
    return Simulator((str(made.executable), *trace), top, made.seconds, writes_at_once=True)


def compile_icarus(sources: Sequence[Path], top: str, folder: Path, *, waves: Path | None = None) -> Simulator:
    """Compile with Icarus Verilog into `folder`; `waves` is a .vcd or .fst file that each start writes."""
    from cocotb_tools import config

    if waves is not None and waves.suffix not in (".vcd", ".fst"):
        raise InputError(f"waves must be a .vcd or .fst file, not {waves}")
    compiler, program = find_program("iverilog"), folder / "program.vvp"
    files, tops = list(sources), [top]
    if waves is not None:
        (folder / "waves.v").write_text(
            f'module mxhw_waves; initial begin $dumpfile("{waves.resolve()}"); $dumpvars(0, {top}); end endmodule\n'
        )
        files, tops = [*files, folder / "waves.v"], [*tops, "mxhw_waves"]
    roots = [part for name in tops for part in ("-s", name)]
    (folder / "scale.f").write_text("+timescale+1ns/1ps\n")
    command = [str(compiler), "-g2012", "-f", str(folder / "scale.f"), *roots, "-o", str(program), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"iverilog failed with exit code {done.returncode}:\n{done.stderr.strip()}")
    form = "-fst" if waves is not None and waves.suffix == ".fst" else "-vcd" if waves is not None else "-none"
    library = config.lib_entry("vpi", "icarus")
    start = (str(compiler.with_name("vvp")), "-m", str(library), str(program), form)
    return Simulator(start, top, 0.0, writes_at_once=False)


def run_bench(
    simulator: Simulator, folder: Path, runs: Sequence[tuple[float, int]], streams: Sequence[str]
) -> list[BenchResult]:
    """Run the bench in `folder`, once per (stall, seed); return what it found, outputs of `streams` included.

    Raises
    ------
    InputError
        If the ports contradict design.json.
    SimulationError
        If it ends without a result.
    """
    with _finished(simulator, folder, runs, "bench.py") as scratch:
        return [_result(scratch, index, streams) for index in range(len(runs))]


def run_dataflow_bench(simulator: Simulator, folder: Path, stall: float, seed: int) -> DataflowBenchResult:
    """Run the bench of a dataflow design in `folder`; errors are those of :func:`run_bench`."""
    with _finished(simulator, folder, [(stall, seed)], "dataflow_bench.py") as scratch:
        record = json.loads((scratch / "run0.json").read_text())
    streams: dict[str, dict[str, Any]] = record["streams"]
    compared = {
        name: TapComparison(
            found["expected"],
            found["moved"],
            found["different"],
            found["first"],
            None,
            None if found["got"] is None else int(found["got"], 16),
        )
        for name, found in streams.items()
    }
    return DataflowBenchResult(record["cycles"], record["error"], record["deadlock"], compared)


@contextmanager
def _finished(simulator: Simulator, folder: Path, runs: Sequence[tuple[float, int]], bench: str) -> Iterator[Path]:
    """Run one of our benches and give the folder with what it wrote."""
    with tempfile.TemporaryDirectory(prefix="mxhw-cosim-") as name:
        scratch = Path(name)
        shutil.copy(Path(__file__).with_name(bench), scratch / "mxhw_bench.py")
        asked = [{"stall": stall, "seed": seed} for stall, seed in runs]
        environment = bench_environment(simulator.top, scratch, "mxhw_bench")
        if simulator.writes_at_once:
            environment["COCOTB_TRUST_INERTIAL_WRITES"] = "1"
        environment |= {"MXHW_BENCH_RUNS": json.dumps(asked), "MXHW_BENCH_OUTPUT": str(scratch)}
        done = subprocess.run(
            list(simulator.command),
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if (scratch / "refused.txt").is_file():
            raise InputError(f"{folder}: {(scratch / 'refused.txt').read_text()}; emit the design again")
        if not (scratch / f"run{len(runs) - 1}.json").is_file():
            tail = "\n".join(done.stdout.splitlines()[-15:])
            raise SimulationError(
                f"the simulation of {folder.name} ended without a result (exit code {done.returncode}):\n{tail}"
            )
        yield scratch


def bench_environment(top: str, scratch: Path, module: str) -> dict[str, str]:
    """Return what cocotb wants from the process that starts the simulator (as cocotb_tools.runner sets it)."""
    from cocotb_tools import config
    from cocotb_tools.runner import find_libpython

    library = find_libpython.find_libpython()
    if library is None:
        raise InputError(
            f"{sys.executable} has no shared library, which cocotb needs; use a Python built with --enable-shared"
        )
    paths = [str(scratch), *(path for path in sys.path if path.endswith(("site-packages", "dist-packages")))]
    return {
        **os.environ,
        "COCOTB_TOPLEVEL": top,
        "COCOTB_TEST_MODULES": module,
        "COCOTB_RESULTS_FILE": str(scratch / "results.xml"),
        "COCOTB_LOG_LEVEL": "WARNING",
        "TOPLEVEL_LANG": "verilog",
        "LIBPYTHON_LOC": library,
        "GPI_USERS": f"{library};{config.pygpi_entry_point()}",
        "PYGPI_PYTHON_BIN": sys.executable,
        "PYTHONPATH": os.pathsep.join(paths),
    }


def _result(scratch: Path, index: int, streams: Sequence[str]) -> BenchResult:
    record = json.loads((scratch / f"run{index}.json").read_text())
    lines = {name: (scratch / f"run{index}_{name}.hex").read_text().split() for name in streams}
    outputs = {name: [int(line, 16) for line in words] for name, words in lines.items()}
    return BenchResult(record["cycles"], record["error"], record.get("port"), record.get("beat"), outputs)
