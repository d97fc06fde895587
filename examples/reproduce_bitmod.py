"""The figures of the BitMoD paper (HPCA 2025, arXiv 2411.11745), computed again, and what a stricter model says.

    python examples/reproduce_bitmod.py [--model Llama-3-8B] [--all] [--markdown | --json]

No weights are needed, and it takes seconds. It prints:

- cycles of the paper's plots beside the same by the paper's own rules (`mxhw.hardware.published`), and beside those of
  the stricter model; twelve of the 60 totals, or `--all`;
- the means of its text: speed-ups, and gains in energy;
- what each correction changes, one after the other, for one model and in the means;
- how far energies are reproduced, and what is not.
"""

import argparse
import json
import re
import sys
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from mxhw.errors import InputError
from mxhw.hardware.published import (
    CORRECTIONS,
    MODELS,
    ModelShape,
    correction_rows,
    energy_rows,
    mean_rows,
    model_named,
    total_rows,
)
from mxhw.hardware.published.bitmod_comparison import TASKS, CorrectionRow, EnergyRow, MeanRow, TotalRow

SHOWN = ("Llama-2-7B", "Llama-3-8B"), ("FP16", "BitMoD lossless", "BitMoD lossy")
NUMBERS = re.compile(r"[+−]?[\d.,]+( %)?(, [\d.,]+)?")
WIDTH = 170  # columns of the terminal where it is not one

NOTES = (
    "The bits of ANT and OliVe at prefill, 5.5 and 4.5, are not published: they are the only multiples of 1/32 that "
    "give their plotted cycles of all models.",
    "With corrections 1 and 2 cycles equal those of the simulator that the authors' repository holds since.",
    "What a buffer's access costs comes from CACTI in the paper and is not in its code. It is solved from the 60 "
    "plotted energies on chip (13 numbers): the buffers' energy is a fit; cycles and all other energy are not.",
    "OliVe's gain in energy is 1.31 in the text and 1.32 by the paper's own plots.",
    "Neither model charges softmax, norms, the embedding, rows and latency of DRAM, or leakage.",
)


TableOf = tuple[str, list[str], list[list[str]]]  # title, head, rows


def totals_table(rows: list[TotalRow], *, every: bool) -> TableOf:
    """Return the totals of the paper's plots: twelve, or all."""
    same = sum(row.published == row.reproduced for row in rows)
    title = f"Cycles: {same} of the {len(rows)} totals of the paper's plots are reproduced to the cycle"
    head = ["model", "phase", "accelerator", "published", "reproduced", "stricter", "change"]
    lines = [
        [
            *(row.model, row.phase, row.accelerator),
            *(f"{count:,}" for count in (row.published, row.reproduced, row.stricter)),
            percent(row.change),
        ]
        for row in rows
        if every or is_shown(row)
    ]
    return title, head, lines


def means_table(rows: list[MeanRow]) -> TableOf:
    """Return the means of the paper's text."""
    head = ["mean of", "accelerator", "over", "task", "published", "reproduced", "stricter"]
    lines = [
        [
            *(row.quantity, row.accelerator, row.over, row.task),
            *(f"{row.published:g}", f"{row.reproduced:.3f}", f"{row.stricter:.3f}"),
        ]
        for row in rows
    ]
    return "Speed-ups and gains in energy, means of six models", head, lines


def corrections_table(model: ModelShape, rows: list[CorrectionRow], *, reasons: bool) -> TableOf:
    """Return a row a correction: the model's cycles with all so far, and the means of all models."""
    title = f"{model.name}, million cycles: prefill, first token after it; and means: prefill, generative"
    pairs = [("BitMoD lossless", "FP16"), ("BitMoD lossy", "ANT"), ("BitMoD lossy", "OliVe")]
    head = ["correction", *SHOWN[1], *(f"over {over}" for _, over in pairs), "energy over FP16"]
    lines = []
    for number, row in enumerate(rows):
        counts = [(row.costs[name].prefill.cycles / 1e6, row.costs[name].decode.cycles / 1e6) for name in SHOWN[1]]
        means = [[row.speed_ups[*pair, task] for task in TASKS] for pair in pairs]
        means.append([row.energy_gains[*pairs[0], task] for task in TASKS])
        each = row.correction
        lines.append(
            [
                "as published" if each is None else f"{number} {each.title}",
                *(f"{prefill:,.1f}, {decode:,.2f}" for prefill, decode in counts),
                *(f"{prefill:.3f}, {generative:.3f}" for prefill, generative in means),
                *([("–" if each is None else each.why)] if reasons else []),
            ]
        )
    return title, [*head, *(["what changes"] if reasons else [])], lines


def energy_table(rows: list[EnergyRow]) -> TableOf:
    """Return energies, and how far all that are plotted are off."""
    dram, chip = max(row.dram_error for row in rows), max(row.chip_error for row in rows)
    title = (
        f"Energy [mJ]; of {len(rows)} in the plots DRAM's are at most {dram:.1f} uJ off, those on chip {chip:.1f} uJ"
    )
    head = ["model", "phase", "accelerator", "published", "reproduced", "stricter", "change"]
    lines = [
        [
            *(row.model, row.phase, row.accelerator),
            *(f"{energy / 1e3:,.3f}" for energy in (row.published, row.reproduced, row.stricter)),
            percent(row.stricter / row.published - 1),
        ]
        for row in rows
        if is_shown(row)
    ]
    return title, head, lines


def percent(part: float) -> str:
    """Return a change."""
    return f"{part:+.1%}".replace("%", " %").replace("-", "−")


def is_shown(row: TotalRow | EnergyRow) -> bool:
    """Return whether it is one of the twelve."""
    return row.model in SHOWN[0] and row.accelerator in SHOWN[1]


def print_table(title: str, head: list[str], rows: list[list[str]], *, markdown: bool) -> None:
    """Print a table as markdown, or for a terminal."""
    is_number = [all(NUMBERS.fullmatch(cell) for cell in column) for column in zip(*rows, strict=True)]
    if markdown:
        print(f"{title}:\n")
        for cells in (head, ["--:" if number else "---" for number in is_number], *rows):
            print(f"| {' | '.join(cells)} |")
        print()
        return
    table = Table(title=title, title_justify="left")
    for name, number in zip(head, is_number, strict=True):
        table.add_column(name, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    console = Console()
    console.width = max(console.width, WIDTH)
    console.print(table, "")


def as_json(model: ModelShape) -> dict[str, Any]:
    """Return all figures."""
    return {
        "totals": [{**asdict(row), "change": row.change} for row in total_rows()],
        "means": [asdict(row) for row in mean_rows()],
        "energies": [asdict(row) for row in energy_rows()],
        "corrections": {
            "model": model.name,
            "rows": [
                {
                    "correction": None if row.correction is None else asdict(row.correction),
                    "cycles": {
                        name: {"prefill": costs.prefill.cycles, "decode": [step.cycles for step in costs.steps]}
                        for name, costs in row.costs.items()
                    },
                    "speed_ups": {" ".join(key): value for key, value in row.speed_ups.items()},
                    "energy_gains": {" ".join(key): value for key, value in row.energy_gains.items()},
                }
                for row in correction_rows(model)
            ],
        },
        "notes": NOTES,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=SHOWN[0][0], help=f"whose corrections: {', '.join(m.name for m in MODELS)}")
    parser.add_argument("--all", action="store_true", help="all 60 totals, not twelve")
    written = parser.add_mutually_exclusive_group()
    written.add_argument("--markdown", action="store_true")
    written.add_argument("--json", action="store_true")
    given = parser.parse_args()
    try:
        model = model_named(given.model)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if given.json:
        print(json.dumps(as_json(model), indent=1))
        return 0
    for table in (
        totals_table(total_rows(), every=given.all),
        means_table(mean_rows()),
        energy_table(energy_rows()),
        corrections_table(model, correction_rows(model), reasons=given.markdown),
    ):
        print_table(*table, markdown=given.markdown)
    if not given.markdown:
        for number, each in enumerate(CORRECTIONS, 1):
            print(f"{number} {each.title}: {each.why}")
        print()
    for note in NOTES:
        print(f"- {note}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
