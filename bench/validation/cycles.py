"""Cycles that the cost model predicts against those of the RTL, in runs without stalls from outside: drawn sizes.

    python bench/validation/cycles.py [--draws 8] [--blocks 4] [--seed 0] [--json FILE]

Units of all kinds stand alone behind one compiled library; decoder blocks are emitted as `mxhw emit` does it, with the
FIFOs that it computes, and simulated with all beats compared. Both run in Verilator; builds are kept.
"""

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from amaranth.hdl import Shape

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # what is drawn is that of the tests

from mxhw.arithmetic.dataflow import Indices, KeyWeights, Scores  # noqa: E402
from mxhw.hardware.cycles import design_cycles, unit_cycles  # noqa: E402
from mxhw.passes.emit.dataflow.beats import payload_shape  # noqa: E402
from mxhw.passes.emit.dataflow.costed import design_of  # noqa: E402
from mxhw.passes.emit.dataflow.emit import emit_dataflow  # noqa: E402
from mxhw.passes.emit.dataflow.fifos import fifo_depths  # noqa: E402
from mxhw.passes.emit.dataflow.place import Port  # noqa: E402
from mxhw.passes.emit.dataflow.timing import Work  # noqa: E402
from mxhw.sim.dataflow import DataflowSimulation  # noqa: E402
from tests.hardware.cycles.draws import KINDS, DrawnUnit, draw_block, draw_unit  # noqa: E402
from tests.passes.emit.dataflow.graphs import drawn  # noqa: E402
from tests.rtl_templates.bank import Bench  # noqa: E402

__all__ = ["Row", "block_rows", "table", "unit_rows"]

LARGEST = 64  # hidden elements of a drawn block
MOST = 8  # multipliers, or lanes, of a drawn unit: builds take as long as units are large


@dataclass(frozen=True)
class Row:
    """A run that is predicted, and simulated.

    Attributes
    ----------
    what : kind of unit, or "block".
    shape : sizes, parallelism and tokens.
    predicted, simulated : cycles, first beat in to last beat out.
    """

    what: str
    shape: str
    predicted: int
    simulated: int

    @property
    def error(self) -> int:
        """Cycles that are predicted too many."""
        return self.predicted - self.simulated


def unit_rows(draws: int, seed: int = 0, kinds: Iterable[str] = KINDS) -> list[Row]:
    """Return so many rows of every kind of unit."""
    rng = random.Random(seed)
    units = {f"{kind}_{n}": draw_unit(rng, kind, MOST) for kind in kinds for n in range(draws)}
    bench = Bench({name: unit.placed.component for name, unit in units.items()})
    return [_unit_row(bench, name, unit) for name, unit in units.items()]


def block_rows(draws: int, seed: int = 0) -> list[Row]:
    """Return so many rows of decoder blocks."""
    rng = random.Random(seed)
    return [_block_row(rng) for _ in range(draws)]


def table(rows: Sequence[Row]) -> str:
    """Return how often predictions are right, by kind."""
    lines = ["| | runs | cycles of RTL | exact | worst error |", "|---|---:|---:|---:|---:|"]
    for what in dict.fromkeys(row.what for row in rows):
        found = [row for row in rows if row.what == what]
        worst = max(found, key=lambda row: abs(row.error))
        cycles = f"{min(row.simulated for row in found):,} to {max(row.simulated for row in found):,}"
        share = sum(row.error == 0 for row in found) / len(found)
        off = f"{worst.error:+d} ({worst.error / worst.simulated:+.2%})" if worst.error else "0"
        lines.append(f"| {what} | {len(found)} | {cycles} | {share:.0%} | {off} |")
    return "\n".join(lines)


def _unit_row(bench: Bench, name: str, unit: DrawnUnit) -> Row:
    work = Work("unit", unit.operation, unit.placed, unit.positions)
    inputs = {
        port.member: _payloads(port, unit, int(work.input_beats(i).sum())) for i, port in enumerate(unit.placed.inputs)
    }
    run = bench.run(name, inputs, int(work.output_beats.sum()))
    first = int(unit.positions[0])
    predicted = unit_cycles(unit.unit, unit.tokens, first)
    sizes = ", ".join(f"{value} {what}" for what, value in unit.placed.parallelism.items())
    shape = f"{unit.placed.module} ({sizes}), tokens {first} to {first + unit.tokens - 1}"
    return Row(unit.kind, shape, predicted, run.cycles)


def _payloads(port: Port, unit: DrawnUnit, count: int) -> list[int]:
    """Payloads that move a component as a run does; what else they say does not matter."""
    kind: Any = port.type
    if isinstance(kind, Indices):
        return [int(position) for position in unit.positions]
    if isinstance(kind, Scores | KeyWeights):
        last = Shape.cast(payload_shape(kind, 1)).width - 1
        keys = [min(int(position) + 1, kind.most) for position in unit.positions]
        return [beat for each in keys for _ in range(kind.heads) for beat in [0] * (each - 1) + [1 << last]]
    return [0] * count


def _block_row(rng: random.Random) -> Row:
    block = draw_block(rng, LARGEST)
    depths = fifo_depths(block.graph, block.placed)
    predicted = design_cycles(design_of(block.graph, block.placed, depths), block.tokens).total
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "block"
        values = drawn(block.graph, block.tokens)
        emit_dataflow(block.graph, values, folder, name="block", parallelism=block.parallelism, fifos=depths)
        result = DataflowSimulation(folder).run()
    if not result.equal:
        raise SystemExit(f"the design computes something else: {result.verdict()}")
    assert result.cycles is not None
    shape = f"{block.shape}, {block.rows} rows, {'drawn' if block.parallelism else 'default'} parallelism"
    return Row("block", f"{shape}, {block.tokens} tokens", predicted, result.cycles)


def main() -> None:
    """Print the table, and the rows that are off."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=8, help="units of each kind")
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file for all rows")
    options = parser.parse_args()
    rows = unit_rows(options.draws, options.seed) + block_rows(options.blocks, options.seed)
    print(table(rows))
    for row in rows:
        if row.error:
            print(f"{row.what}: {row.predicted} predicted, {row.simulated} simulated: {row.shape}")
    if options.json:
        found = [asdict(row) | {"error": row.error} for row in rows]
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
