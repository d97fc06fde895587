"""Co-simulation: run emitted units in Verilator and compare every output with the software's, bit for bit.

Each layer is streamed twice: without stalls, for the cycles that the unit predicts, and with random stalls on both
ports. Outputs of both runs are compared and both count as mismatches; an output counts once.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from mxhw.errors import InputError
from mxhw.files import write_text
from mxhw.progress import Progress, SilentProgress
from mxhw.sim.build import build_simulator
from mxhw.sim.compare import Comparison, Mismatch, compare_beats
from mxhw.sim.design import DESIGN_FILE, X_BEATS_FILE, Y_BEATS_FILE, GemmDesign

__all__ = ["COSIM_FILE", "CosimCase", "CosimReport", "SimulationError", "find_designs", "run_cosim"]

COSIM_FILE = "cosim.json"
_HIGHEST_STALL = 0.95


class SimulationError(RuntimeError):
    """The simulator ended without a result: a fault of the bench or of the installation."""


@dataclass(frozen=True, kw_only=True)
class CosimCase:
    """One layer.

    Attributes
    ----------
    outputs, mismatches : int
        Accumulators compared (once), and wrong ones of both runs.
    cycles, cycles_stall_free, cycles_stall_free_predicted
        Clock cycles of the run with stalls, of the one without, and what the unit's cycle function says; None where a
        run broke off.
    seconds, build_seconds, cycles_per_second
        Wall clock of the simulation (both runs, start included), of the build, and simulated cycles over `seconds`.
    error : str or None
        A broken promise of a port, or a deadlock.
    """

    name: str
    node: str
    unit: str
    format: str
    input_format: str
    outputs: int
    mismatches: int
    cycles: int | None
    cycles_stall_free: int | None
    cycles_stall_free_predicted: int
    seconds: float
    build_seconds: float
    cycles_per_second: float
    error: str | None
    first_mismatches: tuple[Mismatch, ...]


@dataclass(frozen=True)
class CosimReport:
    """All layers; `passed` only if every output of every run is exact and no port misbehaved."""

    cases: tuple[CosimCase, ...]

    @property
    def outputs(self) -> int:
        """Accumulators compared."""
        return sum(case.outputs for case in self.cases)

    @property
    def mismatches(self) -> int:
        """Wrong accumulators."""
        return sum(case.mismatches for case in self.cases)

    @property
    def passed(self) -> bool:
        """Whether the RTL equals the software."""
        return bool(self.cases) and self.mismatches == 0 and all(case.error is None for case in self.cases)

    def to_json(self) -> dict[str, Any]:
        """Return the record of cosim.json."""
        return {"outputs": self.outputs, "mismatches": self.mismatches, "cases": [asdict(case) for case in self.cases]}


def find_designs(folder: Path) -> list[Path]:
    """Return the layer folders: `folder` itself, or those up to three levels down; InputError if there are none."""
    for pattern in (".", "*", "*/*", "*/*/*"):
        candidates = [folder] if pattern == "." else sorted(folder.glob(pattern))
        if found := [
            path
            for path in candidates
            if (path / DESIGN_FILE).is_file()
            and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        ]:
            return found
    raise InputError(
        f"no emitted design in {folder}: no {DESIGN_FILE} in it or up to three levels down; run `mxhw emit`"
    )


def run_cosim(
    folder: Path | Sequence[Path],
    *,
    seed: int = 0,
    stall: float = 0.2,
    output: Path | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> CosimReport:
    """Simulate every design in `folder` (or in the given layer folders) and compare every output.

    Parameters
    ----------
    stall : float
        Probability per cycle and port of a pause, 0 to 0.95.
    output : Path, optional
        Where cosim.json goes; default: `folder`, if it is a single one.

    Raises
    ------
    InputError
        If a design is damaged or contradicts its files.
    MissingToolError
        If Verilator, make or g++ is absent.
    """
    if not 0 <= stall <= _HIGHEST_STALL:
        raise InputError(f"stall must be a probability from 0 to {_HIGHEST_STALL}, not {stall!r}")
    layers = (
        find_designs(folder) if isinstance(folder, Path) else [path for item in folder for path in find_designs(item)]
    )
    target = output or (folder if isinstance(folder, Path) else None)
    cases: list[CosimCase] = []
    with (progress or SilentProgress()).task("co-simulate", len(layers)) as task:
        for layer in layers:
            cases.append(_simulate(layer, seed, stall, cache))
            task.note(f"{layer.name}: {cases[-1].mismatches} of {cases[-1].outputs} outputs differ")
            task.advance()
    report = CosimReport(tuple(cases))
    if target is not None:
        write_text(target / COSIM_FILE, json.dumps(report.to_json(), indent=1) + "\n")
    return report


def _simulate(layer: Path, seed: int, stall: float, cache: Path | None) -> CosimCase:
    design = GemmDesign.load(layer)
    expected = _words(layer / Y_BEATS_FILE, design.y_beats)
    _words(layer / X_BEATS_FILE, design.x_beats)
    for name, words in design.images.items():
        _check_image(layer / name, words)
    made = build_simulator([layer / name for name in design.verilog], design.top, cache=cache)
    runs = [{"stall": 0.0, "seed": seed}, {"stall": stall, "seed": seed}]
    start = perf_counter()
    with tempfile.TemporaryDirectory(prefix="mxhw-cosim-") as scratch:
        _run(made.executable, layer.resolve(), design.top, runs, Path(scratch))
        seconds = perf_counter() - start
        figures = [json.loads((Path(scratch) / f"run{index}.json").read_text()) for index in range(len(runs))]
        outputs = [_read_words(Path(scratch) / f"run{index}.hex") for index in range(len(runs))]
    results = [compare_beats(design, expected, words) for words in outputs]
    return _case(layer, design, figures, results, seconds, made.seconds)


def _case(
    layer: Path,
    design: GemmDesign,
    figures: list[dict[str, Any]],
    results: list[Comparison],
    seconds: float,
    build_seconds: float,
) -> CosimCase:
    free, stalled = (figure["cycles"] for figure in figures)
    return CosimCase(
        name=layer.name,
        node=design.node,
        unit=design.unit,
        format=design.weight_format,
        input_format=design.input_format,
        outputs=design.m * design.n,
        mismatches=sum(result.mismatches for result in results),
        cycles=stalled,
        cycles_stall_free=free,
        cycles_stall_free_predicted=design.cycles_stall_free,
        seconds=seconds,
        build_seconds=build_seconds,
        cycles_per_second=((free or 0) + (stalled or 0)) / seconds,
        error=next((figure["error"] for figure in figures if figure["error"]), None),
        first_mismatches=next((result.first for result in results if result.first), ()),
    )


def _run(executable: Path, layer: Path, top: str, runs: list[dict[str, Any]], scratch: Path) -> None:
    """Run the bench in its simulator; it leaves its results in `scratch`."""
    shutil.copy(Path(__file__).with_name("bench.py"), scratch / "mxhw_bench.py")
    environment = _environment(top, scratch) | {"MXHW_BENCH_RUNS": json.dumps(runs), "MXHW_BENCH_OUTPUT": str(scratch)}
    done = subprocess.run(
        [str(executable)],
        cwd=layer,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if (scratch / f"run{len(runs) - 1}.json").is_file():
        return
    if (scratch / "refused.txt").is_file():
        raise InputError(f"{layer}: {(scratch / 'refused.txt').read_text()}; emit the design again")
    tail = "\n".join(done.stdout.splitlines()[-15:])
    raise SimulationError(
        f"the simulation of {layer.name} ended without a result (exit code {done.returncode}):\n{tail}"
    )


def _environment(top: str, scratch: Path) -> dict[str, str]:
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
        "COCOTB_TEST_MODULES": "mxhw_bench",
        "COCOTB_RESULTS_FILE": str(scratch / "results.xml"),
        "COCOTB_TRUST_INERTIAL_WRITES": "1",
        "COCOTB_LOG_LEVEL": "WARNING",
        "TOPLEVEL_LANG": "verilog",
        "LIBPYTHON_LOC": library,
        "GPI_USERS": f"{library};{config.pygpi_entry_point()}",
        "PYGPI_PYTHON_BIN": sys.executable,
        "PYTHONPATH": os.pathsep.join(paths),
    }


def _check_image(path: Path, words: int) -> None:
    """Raise InputError unless a memory image is there with all its words: simulators only warn."""
    try:
        found = path.read_bytes().count(b"\n")
    except OSError as error:
        raise InputError(f"cannot read the memory image {path}: {error.strerror}; emit the design again") from error
    if found != words:
        raise InputError(f"{path} has {found} words, but {DESIGN_FILE} says {words}; emit the design again")


def _words(path: Path, count: int) -> list[int]:
    """Read a beat file of the design; raise InputError if it is absent, damaged or of another length."""
    try:
        words = _read_words(path)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the beats in {path}: {error}; emit the design again") from error
    if len(words) != count:
        raise InputError(f"{path} has {len(words)} beats, but {DESIGN_FILE} says {count}; emit the design again")
    return words


def _read_words(path: Path) -> list[int]:
    return [int(line, 16) for line in path.read_text().split()]
