"""Cycles of designs that are held up at their ports: closed form and event simulator against the RTL.

    python bench/validation/stalls.py [--quick] [--json FILE]

Every row is a design under random pauses, or behind a memory of a bandwidth. The RTL, in Verilator, is compared with
the event simulator beat by beat, at every port and every step, for some seeds; the closed form, which is an expected
number of cycles, with the mean of the event simulator over more of them: as many as make its standard error small,
which is given. "short" pauses are geometric; of those of the benches one in sixteen lasts up to 1024 cycles. The last
columns are the seconds of a run of the event simulator, and of the closed form, whose mean is over many draws at once.

The exit code is 1 if a beat of the RTL passes in another cycle than was simulated, or if a closed form is more than 2 %
off.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path
from time import perf_counter

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # the measured designs are those of the tests

from mxhw.arithmetic.dataflow import IntegerGraph, Linear  # noqa: E402
from mxhw.hardware.cycles import design_cycles  # noqa: E402
from mxhw.hardware.cycles.stalls import PortStalls, StalledCycles, stalled_cycles  # noqa: E402
from mxhw.hardware.structure import Design  # noqa: E402
from mxhw.passes.emit.dataflow.costed import design_of  # noqa: E402
from mxhw.passes.emit.dataflow.fifos import fifo_depths  # noqa: E402
from mxhw.passes.emit.dataflow.place import place_graph  # noqa: E402
from mxhw.sim.memory import Memory  # noqa: E402
from mxhw.sim.performance.stalls import Stalls  # noqa: E402
from mxhw.sim.streams import LONGEST_PAUSE  # noqa: E402
from tests.passes.emit.dataflow.blocks import BlockShape, decoder_block  # noqa: E402
from tests.passes.emit.dataflow.graphs import mlp  # noqa: E402
from tests.sim.performance.rtl import Pair, emitted_pair  # noqa: E402

TOKENS = 16
FORMATS = ("int8-e8m0", "int8"), ("int8-e8m0", "bitmod4"), ("dialect4-online", "dialect4")
SHARES = 0.5, 0.95, 1.05, 2.0
"""Cycles a token of a memory, of those of the slowest step."""

LARGEST_ERROR = 0.02
STANDARD_ERROR = 0.006
"""Of the mean over seeds, of the mean; more seeds are run until it is so small, or there are as many as MOST_SEEDS."""

FEWEST_SEEDS, MOST_SEEDS = 16, 608


@dataclass(frozen=True)
class Row:
    """A design that is held up in one way.

    Attributes
    ----------
    design, held : what, and how.
    free : cycles without stalls.
    closed, closed_error, draws : expected cycles, their standard error, runs that were drawn for them.
    events, error_of_mean, seeds : mean of the event simulator over seeds, its standard error.
    rtl, beats, unequal : cycles of the RTL for some of the seeds, beats that were compared, streams that differ.
    events_seconds, closed_seconds : of a run of the event simulator; of the closed form, all draws.
    """

    design: str
    held: str
    free: int
    closed: float
    closed_error: float
    draws: int
    events: float
    error_of_mean: float
    seeds: int
    rtl: tuple[int, ...]
    beats: int
    unequal: int
    events_seconds: float
    closed_seconds: float

    @property
    def error(self) -> float:
        """Closed form over simulated cycles, less 1."""
        return self.closed / self.events - 1

    def cells(self) -> list[str]:
        """Return what the table says."""
        spread = f" ± {self.error_of_mean / self.events:.1%}" if self.seeds > 1 else ""
        rtl = ", ".join(f"{cycles:,}" for cycles in self.rtl)
        said = [self.design, self.held, f"{self.free:,}", rtl, f"{self.unequal} of {self.beats:,} beats"]
        said += [f"{self.events:,.0f}{spread} ({self.seeds})", f"{self.closed:,.0f}", f"{self.error:+.2%}"]
        return [*said, f"{self.events_seconds:.2f}", f"{self.closed_seconds:.2f} ({self.draws})"]


HEAD = ["design", "held up", "free", "RTL", "other cycles", "events (seeds)", "closed form", "error"]
HEAD += ["s a run", "s closed (draws)"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one design, fewer rows")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there, too")
    given = parser.parse_args(arguments)
    rows = []
    print("| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD))
    for row in validate(quick=given.quick):
        rows.append(row)
        print("| " + " | ".join(row.cells()) + " |", flush=True)
    errors = [abs(row.error) for row in rows]
    within = sum(error <= LARGEST_ERROR for error in errors)
    mean, largest = np.mean(errors), max(errors)
    print(f"\n{sum(row.unequal for row in rows)} streams with a beat in another cycle than in the RTL")
    print(f"closed form within 2 % in {within} of {len(rows)} rows, mean error {mean:.2%}, largest {largest:.2%}")
    if given.json:
        given.json.write_text(json.dumps([asdict(row) | {"error": row.error} for row in rows], indent=1) + "\n")
    return int(within < len(rows) or any(row.unequal for row in rows))


def validate(*, quick: bool) -> Iterator[Row]:
    """Give the rows: some of one design, or all of all."""
    for number, (name, graph) in enumerate(designs(quick=quick)):
        rng = np.random.default_rng(number)
        sizes = {}
        for step in graph.steps.values():
            if isinstance(step.operation, Linear):
                sizes[step.name] = {"lanes": int(rng.choice([4, 8, 16])), "columns": int(rng.choice([1, 2, 4]))}
        placed = place_graph(graph, sizes)
        depths = fifo_depths(graph, placed)
        with tempfile.TemporaryDirectory() as folder:
            pair = emitted_pair(graph, Path(folder) / "design", TOKENS, sizes, depths)
            yield from _rows(name, pair, design_of(graph, placed, depths), quick=quick)


def designs(*, quick: bool) -> Iterator[tuple[str, IntegerGraph]]:
    """Give designs with their names."""
    yield "MLP 16×24", mlp()
    if quick:
        return
    for number, formats in enumerate(FORMATS):
        shape = BlockShape(hidden=(32, 64, 32)[number], kv_heads=(2, 4, 1)[number], ffn=64, formats=formats)
        yield f"block {shape.hidden}×{shape.ffn}, {formats[1]}", decoder_block(shape)


def _rows(name: str, pair: Pair, design: Design, *, quick: bool) -> Iterator[Row]:
    ports = {
        port: each.width
        for group in (pair.timed.timed.inputs, pair.timed.timed.outputs)
        for port, each in group.items()
    }
    # Names of the model, which the closed form has, are not those in Verilog.
    known = dict(zip([*pair.timed.inputs, *pair.timed.outputs], ports, strict=True))
    for longest, word in ((1, "short"), (LONGEST_PAUSE, "long")):
        for stall in (0.3,) if quick else (0.05, 0.3, 0.6):
            held, stalls = f"{word} pauses, p = {stall:g}", [Stalls(stall, seed, longest) for seed in range(MOST_SEEDS)]
            closed = _closed(design, dict.fromkeys(known, PortStalls(stall, longest)))
            yield _row(name, held, pair, stalls, closed, checked=2)
    interval = float(np.diff(design_cycles(design, TOKENS).ends)[-1])
    for port in ("x", next(iter(pair.timed.outputs))):
        beats = len(pair.timed.under(Stalls()).inputs["x"]) / TOKENS
        for share in SHARES[1:3] if quick else SHARES:
            pace = share * interval / beats
            memory = Memory(ports[known[port]] / pace, latency=60)
            closed = _closed(design, {port: PortStalls(pace=pace, latency=60)})
            held = f"{'input' if port == 'x' else 'output'} at {float(memory.bits):.3g} bits a cycle"
            yield _row(name, held, pair, [Stalls(memories={known[port]: memory})], closed, checked=1)


def _closed(design: Design, ports: Mapping[str, PortStalls]) -> tuple[StalledCycles, float]:
    """Return the closed form's cycles, and its seconds."""
    begin = perf_counter()
    return stalled_cycles(design, TOKENS, ports=ports), perf_counter() - begin


def _row(
    name: str, held: str, pair: Pair, stalls: Sequence[Stalls], closed: tuple[StalledCycles, float], *, checked: int
) -> Row:
    begin, cycles, error = perf_counter(), [], 0.0
    for each in stalls:
        cycles.append(pair.timed.under(each).cycles)
        error = float(np.std(cycles)) / sqrt(len(cycles))
        if len(cycles) >= FEWEST_SEEDS and error <= STANDARD_ERROR * float(np.mean(cycles)):
            break
    seconds = (perf_counter() - begin) / len(cycles)
    rtl, beats, unequal = [], 0, 0
    for each in stalls[:checked]:
        run, found, different = pair.under(each)
        rtl.append(run.cycles)
        beats += sum(map(len, run.times.values()))
        unequal += len(different) + (found.cycles != run.cycles)
    return Row(
        design=name,
        held=held,
        free=pair.timed.cycles,
        closed=closed[0].total,
        closed_error=closed[0].standard_error,
        draws=closed[0].draws,
        events=float(np.mean(cycles)),
        error_of_mean=error,
        seeds=len(cycles),
        rtl=tuple(rtl),
        beats=beats,
        unequal=unequal,
        events_seconds=seconds,
        closed_seconds=closed[1],
    )


if __name__ == "__main__":
    sys.exit(main())
