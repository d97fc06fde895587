"""Cycles of designs that are held up at their ports: closed form and event simulator against the RTL.

    python bench/validation/stalls.py [--quick] [--json FILE]

Every row is a design under random pauses, or behind a memory of a bandwidth. The RTL, in Verilator, is compared with
the event simulator beat by beat, at every port and every step, for some seeds; the closed form, which is an expected
number of cycles, with the mean of the event simulator over more of them, whose standard error is given. "short" pauses
are geometric; of those of the benches one in sixteen lasts up to 1024 cycles.

The exit code is 1 if a beat of the RTL passes in another cycle than was simulated.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # the measured designs are those of the tests

from mxhw.arithmetic.dataflow import IntegerGraph, Linear  # noqa: E402
from mxhw.hardware.cycles import design_cycles  # noqa: E402
from mxhw.hardware.cycles.stalls import PortStalls, stalled_cycles  # noqa: E402
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


@dataclass(frozen=True)
class Row:
    """A design that is held up in one way.

    Attributes
    ----------
    design, held : what, and how.
    free : cycles without stalls.
    closed : expected cycles.
    events, error_of_mean, seeds : mean of the event simulator over seeds, its standard error.
    rtl, beats, unequal : cycles of the RTL for some of the seeds, beats that were compared, streams that differ.
    """

    design: str
    held: str
    free: int
    closed: float
    events: float
    error_of_mean: float
    seeds: int
    rtl: tuple[int, ...]
    beats: int
    unequal: int

    @property
    def error(self) -> float:
        """Closed form over simulated cycles, less 1."""
        return self.closed / self.events - 1

    def cells(self) -> list[str]:
        """Return what the table says."""
        spread = f" ± {self.error_of_mean / self.events:.1%}" if self.seeds > 1 else ""
        rtl = ", ".join(f"{cycles:,}" for cycles in self.rtl)
        said = [self.design, self.held, f"{self.free:,}", rtl, f"{self.unequal} of {self.beats:,} beats"]
        return [*said, f"{self.events:,.0f}{spread} ({self.seeds})", f"{self.closed:,.0f}", f"{self.error:+.2%}"]


HEAD = ["design", "held up", "free", "RTL", "other cycles", "events (seeds)", "closed form", "error"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one design, fewer seeds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there, too")
    given = parser.parse_args(arguments)
    rows = []
    print("| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD))
    for row in validate(quick=given.quick):
        rows.append(row)
        print("| " + " | ".join(row.cells()) + " |", flush=True)
    errors = [abs(row.error) for row in rows]
    within = sum(error <= 0.02 for error in errors)
    mean, largest = np.mean(errors), max(errors)
    print(f"\n{sum(row.unequal for row in rows)} streams with a beat in another cycle than in the RTL")
    print(f"closed form within 2 % in {within} of {len(rows)} rows, mean error {mean:.2%}, largest {largest:.2%}")
    if given.json:
        given.json.write_text(json.dumps([asdict(row) | {"error": row.error} for row in rows], indent=1) + "\n")
    return int(any(row.unequal for row in rows))


def validate(*, quick: bool) -> Iterator[Row]:
    """Give the rows: of one design with few seeds, or of all."""
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
            found = stalled_cycles(design, TOKENS, ports=dict.fromkeys(known, PortStalls(stall, longest)))
            seeds = (8 if quick else 16) if longest == 1 else (24 if quick else 96)
            stalls = [Stalls(stall, seed, longest) for seed in range(seeds)]
            yield _row(name, f"{word} pauses, p = {stall:g}", pair, stalls, found.total, checked=2 if quick else 3)
    interval = float(np.diff(design_cycles(design, TOKENS).ends)[-1])
    for port in ("x", next(iter(pair.timed.outputs))):
        beats = len(pair.timed.under(Stalls()).inputs["x"]) / TOKENS
        for share in SHARES[1:3] if quick else SHARES:
            pace = share * interval / beats
            memory = Memory(ports[known[port]] / pace, latency=60)
            found = stalled_cycles(design, TOKENS, ports={port: PortStalls(pace=pace, latency=60)})
            held = f"{'input' if port == 'x' else 'output'} at {float(memory.bits):.3g} bits a cycle"
            yield _row(name, held, pair, [Stalls(memories={known[port]: memory})], found.total, checked=1)


def _row(name: str, held: str, pair: Pair, stalls: Sequence[Stalls], closed: float, *, checked: int) -> Row:
    cycles = [pair.timed.under(each).cycles for each in stalls]
    rtl, beats, unequal = [], 0, 0
    for each in stalls[:checked]:
        run, found, different = pair.under(each)
        rtl.append(run.cycles)
        beats += sum(map(len, run.times.values()))
        unequal += len(different) + (found.cycles != run.cycles)
    deviation = float(np.std(cycles)) / sqrt(len(cycles))
    mean = float(np.mean(cycles))
    return Row(name, held, pair.timed.cycles, closed, mean, deviation, len(cycles), tuple(rtl), beats, unequal)


if __name__ == "__main__":
    sys.exit(main())
