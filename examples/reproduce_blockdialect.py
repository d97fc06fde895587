"""The MACs of BlockDialect (ICML 2025, arXiv 2501.01144v5, Table 5) beside ours: ratios of area.

    python examples/reproduce_blockdialect.py [--library asap7 --library ecp5] [--markdown | --json]
    python examples/reproduce_blockdialect.py --liberty ../shared/liberty/asap7 --clock 2000

Ours are read from the measured table of sizes (`make table-synth` measures it again), or, with a cell library, they
are synthesised here, summing 64 products each as the paper's do, which takes a minute. Only ratios compare: the paper
has commercial synthesis and Nangate's cells at 45 nm.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mxhw.errors import InputError
from mxhw.hardware.published import DIALECT, AreaRatio, area_ratios, measured_ratios, units_compared

LIBRARIES = ("asap7", "sg13g2", "xilinx", "ecp5")  # those of the platforms
PRODUCTS = 64  # that a MAC of the paper sums (Table 5)
WIDTH = 170  # columns of the terminal where it is not one
NOTES = (
    f"DialectFP4's MAC is published with {DIALECT.area:g} µm² and {DIALECT.power:g} µW at 0.5 GHz: "
    f"{DIALECT.energy:.3f} pJ an operation. Power is not measured here.",
    "The paper's FP6 is not named further: both of OCP's are compared with it. Its INT5 MAC and its DialectFP4 MAC on "
    "top of an INT4 one have no unit here.",
)
MEASURED_NOTE = (
    "The paper's MACs all sum 64 products. In the measured table those of blocks sum 32 and those of integers 512, in "
    "accumulators 3 bits wider than for 64: beside them DialectFP4 looks smaller than at equal sums (--liberty)."
)


def synthesised(liberty: Path, clock: float | None) -> tuple[str, list[AreaRatio]]:
    """Return the name of a library, and the ratios of our MACs in it, each summing as many products as the paper's."""
    from mxhw.synthesis import measure, open_library, parse_unit

    with tempfile.TemporaryDirectory(prefix="mxhw-liberty-") as scratch:
        library = open_library(liberty, Path(scratch))
        sizes = {
            name: measure(parse_unit(unit).make(), libraries=[library], clock=clock).cells[library.name].area
            for name, unit in units_compared(PRODUCTS).items()
        }
    return library.name, area_ratios(sizes)


def table_of(columns: dict[str, list[AreaRatio]]) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows: ratios of areas by library, and by how much they are off the published one."""
    head = ["DialectFP4's area over that of", "our unit", "published", *columns, "energy, published"]
    rows = []
    for several in zip(*columns.values(), strict=True):
        first = several[0]
        ours = [
            "–" if each.ours is None else f"{each.ours:.3f} ({percent(each.ours / each.published - 1)})"
            for each in several
        ]
        unit = "–" if first.unit is None else f"`{first.unit}`"
        rows.append([first.mac, unit, f"{first.published:.3f}", *ours, f"{first.published_energy:.3f}"])
    return head, rows


def percent(part: float) -> str:
    """Return a change."""
    return f"{part:+.0%}".replace("%", " %").replace("-", "−")


def print_table(head: list[str], rows: list[list[str]], *, markdown: bool) -> None:
    """Print it as markdown, or for a terminal."""
    if markdown:
        for cells in (head, ["---", "---", *["--:"] * (len(head) - 2)], *rows):
            print(f"| {' | '.join(cells)} |")
        print()
        return
    table = Table(*head)
    for row in rows:
        table.add_row(*(cell.strip("`") for cell in row))
    console = Console()
    console.width = max(console.width, WIDTH)
    console.print(table, "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", action="append", help=f"of the measured table; default: {', '.join(LIBRARIES)}")
    parser.add_argument("--liberty", type=Path, help="a cell library to synthesise with: a .lib(.gz), or their folder")
    parser.add_argument("--clock", type=float, metavar="PS", help="the longest path that is allowed with --liberty")
    written = parser.add_mutually_exclusive_group()
    written.add_argument("--markdown", action="store_true")
    written.add_argument("--json", action="store_true")
    given = parser.parse_args()
    try:
        if given.liberty is not None:
            columns = dict([synthesised(given.liberty, given.clock)])
        else:
            columns = {library: measured_ratios(library) for library in given.library or LIBRARIES}
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if given.json:
        print(json.dumps({name: [asdict(row) for row in rows] for name, rows in columns.items()}, indent=1))
        return 0
    print_table(*table_of(columns), markdown=given.markdown)
    for note in (*NOTES, *([] if given.liberty else [MEASURED_NOTE])):
        print(f"- {note}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
