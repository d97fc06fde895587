"""Co-simulation: run emitted units in Verilator and compare every output with the software's, bit for bit.

Each layer is streamed twice: without stalls, for the cycles that the unit predicts, and with random stalls on both
ports. Outputs of both runs are compared and both count as mismatches; an output counts once. Either engine does it, in
the same number of cycles: cocotb with the bench that lies beside the design and runs anywhere, or the bulk engine
(`library.py`) with the unit inside this process. Whole designs (`dataflow.py`) are run the same way.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, get_args

from mxhw.errors import InputError
from mxhw.files import write_text
from mxhw.progress import Progress, SilentProgress
from mxhw.sim.beats import to_ints
from mxhw.sim.cocotb_engine import BenchResult, compile_verilator, run_bench
from mxhw.sim.compare import Comparison, Mismatch, compare_beats
from mxhw.sim.dataflow import Engine, is_dataflow_design
from mxhw.sim.dataflow_cosim import DataflowCase, simulate_dataflow
from mxhw.sim.design import DESIGN_FILE, X_BEATS_FILE, Y_BEATS_FILE, GemmDesign, check_image
from mxhw.sim.library import Library, build_library_from_sources
from mxhw.sim.ports import check_stall
from mxhw.sim.streams import SimulationError, StreamError

__all__ = ["COSIM_FILE", "CosimCase", "CosimReport", "Engine", "SimulationError", "find_designs", "run_cosim"]

COSIM_FILE = "cosim.json"


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
    """All layers and whole designs; `passed` only if every output of every run is exact and no port misbehaved."""

    cases: tuple[CosimCase, ...]
    designs: tuple[DataflowCase, ...] = ()

    @property
    def outputs(self) -> int:
        """Accumulators of layers and beats of designs that were compared."""
        return sum(case.outputs for case in self.cases) + sum(case.outputs for case in self.designs)

    @property
    def mismatches(self) -> int:
        """Wrong accumulators and beats."""
        return sum(case.mismatches for case in self.cases) + sum(case.mismatches for case in self.designs)

    @property
    def passed(self) -> bool:
        """Whether the RTL equals the software."""
        exact = all(case.error is None and case.mismatches == 0 for case in self.cases)
        return bool(self.cases or self.designs) and exact and all(case.passed for case in self.designs)

    def to_json(self) -> dict[str, Any]:
        """Return the record of cosim.json; `designs` only where there are any."""
        cases = {"cases": [asdict(case) for case in self.cases]}
        designs = {"designs": [case.to_json() for case in self.designs]} if self.designs else {}
        return {"outputs": self.outputs, "mismatches": self.mismatches, **cases, **designs}


def find_designs(folder: Path) -> list[Path]:
    """Return the folders of layers and whole designs: `folder` itself, or those up to three levels down.

    Raises InputError if there are none.
    """
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
    engine: Engine | None = None,
    waves: Path | None = None,
    output: Path | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> CosimReport:
    """Simulate every design in `folder` (or in the given folders) and compare every output.

    Of whole designs (`mxhw.sim.dataflow`) the beats of every step are compared.

    Parameters
    ----------
    stall : float
        Probability per cycle and port of a pause, 0 to 0.95.
    engine : {"cocotb", "bulk"}, optional
        What drives the ports; default: cocotb for layers, bulk for whole designs.
    waves : Path, optional
        VCD file of the run with stalls; only for a single design.
    output : Path, optional
        Where cosim.json goes; default: `folder`, if it is a single one.

    Raises
    ------
    InputError
        If a design is damaged or contradicts its files.
    MissingToolError
        If Verilator, make or g++ is absent.
    """
    check_stall(stall)
    if engine is not None and engine not in get_args(Engine):
        raise InputError(f"engine must be one of {', '.join(get_args(Engine))}, not {engine!r}")
    layers = (
        find_designs(folder) if isinstance(folder, Path) else [path for item in folder for path in find_designs(item)]
    )
    if waves is not None and len(layers) != 1:
        raise InputError(
            f"waves need a single design, but there are {len(layers)} in {folder}; give one of their folders"
        )
    target = output or (folder if isinstance(folder, Path) else None)
    cases: list[CosimCase] = []
    designs: list[DataflowCase] = []
    with (progress or SilentProgress()).task("co-simulate", len(layers)) as task:
        for layer in layers:
            done: CosimCase | DataflowCase
            if is_dataflow_design(layer):
                designs.append(done := simulate_dataflow(layer, seed, stall, engine or "bulk", waves, cache))
            else:
                cases.append(done := _simulate(layer, seed, stall, engine or "cocotb", waves, cache))
            task.note(f"{layer.name}: {done.mismatches} of {done.outputs} outputs differ")
            task.advance()
    report = CosimReport(tuple(cases), tuple(designs))
    if target is not None:
        write_text(target / COSIM_FILE, json.dumps(report.to_json(), indent=1) + "\n")
    return report


def _simulate(
    layer: Path, seed: int, stall: float, engine: Engine, waves: Path | None, cache: Path | None
) -> CosimCase:
    design = GemmDesign.load(layer)
    expected = _words(layer / Y_BEATS_FILE, design.y_beats)
    beats = _words(layer / X_BEATS_FILE, design.x_beats)
    for name, words in design.images.items():
        check_image(layer / name, words)
    run_both = _by_cocotb if engine == "cocotb" else _by_library
    results, seconds, build_seconds = run_both(layer, design, beats, (0.0, stall), seed, waves, cache)
    return _case(layer, design, expected, results, seconds, build_seconds)


_Simulated = tuple[list[BenchResult], float, float]


def _by_cocotb(
    layer: Path,
    design: GemmDesign,
    beats: list[int],
    stalls: tuple[float, float],
    seed: int,
    waves: Path | None,
    cache: Path | None,
) -> _Simulated:
    """Return the results of both runs, the seconds of simulation and those of the build."""
    sources = [layer / name for name in design.verilog]
    runs = [(stall, seed) for stall in stalls]
    made = compile_verilator(sources, design.top, cache=cache)
    traced = compile_verilator(sources, design.top, waves=waves, cache=cache) if waves else None
    start = perf_counter()
    if traced is None:
        results = run_bench(made, layer.resolve(), runs, ["y"])
    else:
        results = [
            run_bench(one, layer.resolve(), [run], ["y"])[0] for one, run in zip((made, traced), runs, strict=True)
        ]
    return results, perf_counter() - start, made.seconds + (traced.seconds if traced else 0.0)


def _by_library(
    layer: Path,
    design: GemmDesign,
    beats: list[int],
    stalls: tuple[float, float],
    seed: int,
    waves: Path | None,
    cache: Path | None,
) -> _Simulated:
    """Do the same with the unit in this process; a traced build counts as simulation."""
    library = build_library_from_sources(
        [layer / name for name in design.verilog], design.top, folder=layer, cache=cache
    )
    for name, said in (("x", design.x_width), ("y", design.y_width)):
        if (found := library.ports[f"{name}_payload"].width) != said:
            problem = f"{name}_payload is {found} bits wide, but {name}_width in {DESIGN_FILE} is {said}"
            raise InputError(f"{layer}: {problem}; emit the design again")
    start = perf_counter()
    results = [
        _library_run(library, design, beats, stall, seed, waves if index else None)
        for index, stall in enumerate(stalls)
    ]
    return results, perf_counter() - start, library.build.seconds


def _library_run(
    library: Library, design: GemmDesign, beats: list[int], stall: float, seed: int, waves: Path | None
) -> BenchResult:
    try:
        run = library.run(
            {"x": beats}, {"y": design.y_beats}, stall=stall, seed=seed, limit=design.idle_limit, waves=waves
        )
    except StreamError as error:
        received = to_ints((error.received or {})["y"])
        return BenchResult(None, str(error), error.port, error.beat, {"y": received})
    return BenchResult(run.cycles, None, None, None, {"y": run.ints("y")})


def _case(
    layer: Path,
    design: GemmDesign,
    expected: list[int],
    results: list[BenchResult],
    seconds: float,
    build_seconds: float,
) -> CosimCase:
    free, stalled = (result.cycles for result in results)
    compared: list[Comparison] = [compare_beats(design, expected, result.outputs["y"]) for result in results]
    return CosimCase(
        name=layer.name,
        node=design.node,
        unit=design.unit,
        format=design.weight_format,
        input_format=design.input_format,
        outputs=design.m * design.n,
        mismatches=sum(comparison.mismatches for comparison in compared),
        cycles=stalled,
        cycles_stall_free=free,
        cycles_stall_free_predicted=design.cycles_stall_free,
        seconds=seconds,
        build_seconds=build_seconds,
        cycles_per_second=((free or 0) + (stalled or 0)) / seconds,
        error=next((result.error for result in results if result.error), None),
        first_mismatches=next((comparison.first for comparison in compared if comparison.first), ()),
    )


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
