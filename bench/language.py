"""Whole language models in RTL: emission, build, proof, cycles against their prediction, speed of talking, perplexity.

    python bench/language.py [MODEL ...] [--only dialect] [--unfolded] [--windows 16] [--out DIR] [--json FILE]

Every model is emitted with the assignments of `examples/mixed_assignments.py`, for two sequences that write 32 tokens
each. The proof compares every beat of every step, without stalls and with them. Cycles of prefill and decode are those
of a session that is sent the same requests, up to the arg-max tokens of the prompts and from there on; its answers are
compared too. Speed is the session's, which compares nothing meanwhile.

Seconds are wall clock; the simulator's cache is empty. Every part runs in a process of its own, so that its peak of
memory is its own; that of the compilers is the largest one's. A model without texts is scored on what it writes itself.
Exits with 1 if a beat differs.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the assignments are those of the examples

Figures = dict[str, Any]

ASSIGNMENTS = ("bitmod-mixed", "dialect")
STALL, SEED = 0.3, 1
CALIBRATION_WINDOWS = 8  # as `mxhw evaluate` takes
LATE = 2  # cycles at most from the reset of a session to the first beat

# What the seconds of emission are divided into: functions of mxhw.flow.language.
PHASES = {
    "load": ("load_model", "capture"),
    "calibrate": ("calibration_ranges",),
    "lower": ("lower_language",),
    "plan": ("plan_language",),
    "generate": ("greedy",),
    "write": ("emit_language",),
}


@dataclass(frozen=True, kw_only=True)
class Job:
    """One design: what it is made of, and where its files are."""

    model: str
    assignment: str
    folded: bool
    keys: int
    tokens: int
    windows: int
    context: int
    folder: Path

    @property
    def title(self) -> str:
        return f"{Path(self.model).name}, {self.assignment}{'' if self.folded else ', unfolded'}"

    @property
    def file(self) -> Path:
        return self.folder / f"{self.assignment}.json"

    @property
    def design(self) -> Path:
        return self.folder / f"{self.assignment}{'' if self.folded else '-unfolded'}"


def write_files(model: str, folder: Path) -> None:
    """Write the assignments of a model."""
    from examples.mixed_assignments import write_assignments
    from mxhw.models import capture, load_model

    write_assignments(capture(load_model(model), batch=1, sequence=16), folder)


def emission(job: Job) -> Figures:
    """Emit the design."""
    import mxhw.flow.language as flow

    seconds = dict.fromkeys(PHASES, 0.0)
    settings = flow.LanguageSettings(keys=job.keys, tokens=job.tokens, fold=job.folded, force=True)
    request = flow.LanguageRequest(model=job.model, assignment=job.file, settings=settings)
    start = time.perf_counter()
    with ExitStack() as stack:
        for phase, names in PHASES.items():
            for name in names:
                stack.enter_context(timed(flow, name, seconds, phase))
        part = flow.emit_language_model(request, job.design)
    whole = time.perf_counter() - start
    return {
        "emission_seconds": whole,
        "emission_phases": seconds,
        "emission_bytes": peak(resource.RUSAGE_SELF),
        "components": len(part.emitted.design.steps),
        "modules": len(part.emitted.design.sources),
    }


@contextmanager
def timed(module: ModuleType, name: str, seconds: dict[str, float], phase: str) -> Iterator[None]:
    """Add the seconds that calls of a function take to those of a phase."""
    function = getattr(module, name)

    def measured(*given: Any, **named: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*given, **named)
        finally:
            seconds[phase] += time.perf_counter() - start

    setattr(module, name, measured)
    try:
        yield
    finally:
        setattr(module, name, function)


def simulation(job: Job) -> Figures:
    """Build the simulator, prove the design and let it answer; nothing here needs torch."""
    from mxhw.sim.dataflow import DataflowSimulation

    with tempfile.TemporaryDirectory() as cache:
        simulated = DataflowSimulation(job.design, cache=Path(cache))
        compilers = peak(resource.RUSAGE_CHILDREN)
        free, stalled = simulated.run(), simulated.run(stall=STALL, seed=SEED)
        talked = session(job, Path(cache), free.cycles)
    return {
        "build_seconds": simulated.build_seconds,
        "compiler_bytes": compilers,
        "simulation_bytes": peak(resource.RUSAGE_SELF),
        "equal": free.equal and stalled.equal and talked.pop("equal"),
        "verdicts": [run.verdict() for run in (free, stalled)],
        "beats": free.beats + stalled.beats,
        "proof_seconds": free.seconds + stalled.seconds,
        **talked,
    }


def session(job: Job, cache: Path, cycles: int | None) -> Figures:
    """Send all requests at once; ``cycles``: of the run that was compared, which are the same ones."""
    import numpy as np

    from mxhw.sim.beats import read_beats
    from mxhw.sim.dataflow_build import build_dataflow_library
    from mxhw.sim.language import load_language_design

    design = load_language_design(job.design)
    language = design.language
    assert language is not None and design.cycles is not None and language.prefill_cycles is not None
    beats = {
        name: read_beats(job.design / item.beats, item.width, item.count)
        for name, item in (design.inputs | design.outputs).items()
    }
    wanted, first = beats[language.tokens], language.prefill_tokens
    with build_dataflow_library(job.design, design, cache=cache).session(limit=design.idle_limit) as opened:
        start = time.perf_counter()
        opened.send(language.requests, beats[language.requests])
        tokens = [opened.receive(language.tokens, first)]
        prefill, answered = opened.cycles, time.perf_counter()
        tokens.append(opened.receive(language.tokens, len(wanted) - first))
        end, whole = time.perf_counter(), opened.cycles
        logits = opened.receive(language.logits, len(beats[language.logits]))
    equal = np.array_equal(np.concatenate(tokens), wanted) and np.array_equal(logits, beats[language.logits])
    # A session counts from reset, a run from its first beat.
    late = 0 if cycles is None else whole - cycles
    predicted = {"prefill": language.prefill_cycles, "decode": design.cycles - language.prefill_cycles}
    found = {"prefill": prefill - late, "decode": whole - prefill}
    return {
        "equal": bool(equal) and 0 <= late <= LATE,
        "prompt_tokens": language.prompt_tokens,
        "generated_tokens": language.generated_tokens,
        "cycles": {name: {"predicted": predicted[name], "simulated": found[name]} for name in predicted},
        "cycles_per_token": found["decode"] / (len(wanted) - first),
        "cycles_per_second": whole / (end - start),
        "prefill_seconds": answered - start,
        "tokens_per_second": (len(wanted) - first) / (end - answered),
    }


def quality(job: Job) -> Figures:
    """Score the assignment as `mxhw evaluate --arithmetic all` does."""
    from mxhw.flow.scores import score_text
    from mxhw.ir import Assignment
    from mxhw.models import capture, load_model, read_ids, windows, written_windows
    from mxhw.passes.analysis import QualityEvaluator, ledger

    loaded = load_model(job.model)
    context = loaded.at_most_context(job.context)
    if {"calibration", "heldout"} <= loaded.texts.keys():
        held_in = windows(read_ids("calibration", loaded), context, CALIBRATION_WINDOWS)
        test = windows(read_ids("heldout", loaded), context, job.windows)
    else:
        written = written_windows(loaded, context, CALIBRATION_WINDOWS + job.windows)
        held_in, test = written[:CALIBRATION_WINDOWS], written[CALIBRATION_WINDOWS:]
    graph, assignment = capture(loaded, batch=1, sequence=context), Assignment.load(job.file)
    evaluator = QualityEvaluator(graph, test, bytes_per_token=loaded.bytes_per_token)
    scores = score_text(evaluator, assignment, "all", calibration=held_in)
    return {
        "bits_per_weight": ledger(graph, assignment, sequence=context).bits_per_weight,
        "predictions": scores.predictions,
        "perplexity": {name: found.perplexity for name, found in scores.qualities.items()},
        "quality_bytes": peak(resource.RUSAGE_SELF),
    }


def peak(who: int) -> int:
    """Return the largest memory of this process, or of the largest that it started, in bytes."""
    return resource.getrusage(who).ru_maxrss * 1024


def apart(function: Callable[..., Any], *given: Any) -> Any:
    """Call a function in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *given).result()


def rows(found: Figures) -> Iterator[tuple[str, str]]:
    """Return what the table says of a design."""
    yield "true bits a weight", f"{found['bits_per_weight']:.3f}"
    for name, value in found["perplexity"].items():
        yield f"perplexity, {name}", f"{value:.4f}"
    yield "emission, s", f"{found['emission_seconds']:.1f}"
    for phase, seconds in found["emission_phases"].items():
        yield f"  {phase}", f"{seconds:.1f} ({seconds / found['emission_seconds']:.0%})"
    yield "components, modules", f"{found['components']}, {found['modules']}"
    yield "Verilator build, s", f"{found['build_seconds']:.1f}"
    yield "proof: beats, s", f"{found['beats']:,}, {found['proof_seconds']:.1f}"
    yield "all equal", "yes" if found["equal"] else "NO"
    for part, cycles in found["cycles"].items():
        yield f"{part} cycles predicted", f"{cycles['predicted']:,}"
        yield f"{part} cycles simulated", f"{cycles['simulated']:,}"
        yield "  error", f"{cycles['predicted'] / cycles['simulated'] - 1:+.4%}"
    yield "cycles a token", f"{found['cycles_per_token']:,.0f}"
    yield "simulated cycles/s", f"{found['cycles_per_second']:,.0f}"
    yield "simulated tokens/s", f"{found['tokens_per_second']:.2f}"
    for part in ("emission", "compiler", "simulation"):
        yield f"{part} memory, GiB", f"{found[f'{part}_bytes'] / 2**30:.2f}"


def show(results: list[Figures]) -> None:
    """Print the table, a column a design."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Language models in RTL")
    table.add_column("")
    for found in results:
        table.add_column(found["title"], justify="right")
    for lines in zip(*(rows(found) for found in results), strict=True):
        table.add_row(lines[0][0], *(value for _, value in lines))
    Console(width=max(100, 34 + 26 * len(results))).print(table)


def jobs(given: argparse.Namespace, scratch: Path) -> Iterator[Job]:
    """Return the designs that are asked for."""
    for number, model in enumerate(given.models):
        folder = scratch / f"{number}-{Path(model).name}"
        apart(write_files, model, folder)
        for name in [given.only] if given.only else ASSIGNMENTS:
            for folded in (True, False) if given.unfolded else (True,):
                yield Job(
                    model=model,
                    assignment=name,
                    folded=folded,
                    keys=given.keys,
                    tokens=given.tokens,
                    windows=given.windows,
                    context=given.context,
                    folder=folder,
                )


def measure(job: Job) -> Figures:
    """Return all figures of a design."""
    found: Figures = {"title": job.title}
    for part in (emission, simulation, quality):
        start = time.perf_counter()
        print(f"{job.title}: {part.__name__} …", file=sys.stderr, flush=True)
        found |= apart(part, job)
        print(f"{job.title}: {part.__name__}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    for verdict in found["verdicts"]:
        print(f"{job.title}: {verdict}", file=sys.stderr, flush=True)
    return found | {"job": {key: str(value) for key, value in asdict(job).items()}, "load": os.getloadavg()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["demo"], metavar="MODEL", help="demo, or directories of models")
    parser.add_argument("--only", choices=ASSIGNMENTS, help="one assignment only")
    parser.add_argument("--unfolded", action="store_true", help="also with hardware of its own for every layer")
    parser.add_argument("--keys", type=int, default=96, help="longest sequence (%(default)s)")
    parser.add_argument("--tokens", type=int, default=32, help="that are written behind each prompt (%(default)s)")
    parser.add_argument("--windows", type=int, default=16, help="of text that perplexity is of (%(default)s)")
    parser.add_argument("--context", type=int, default=256, help="tokens of a window (%(default)s)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="keep the designs there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        results = [measure(job) for job in jobs(given, given.out or Path(scratch))]
    show(results)
    processors, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    print(f"{processors} processors, load average {load:.1f} at the end")
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0 if all(found["equal"] for found in results) else 1


if __name__ == "__main__":
    sys.exit(main())
