"""Sizes that the cost model predicts against synthesis: arrays, other units, and a whole small decoder block.

    python bench/validation/area.py [--library asap7] [--liberty DIR] [--measure]

Rows come from what `mxhw/hardware/data/unit_sizes.json` stores of synthesised points. Those that are marked as held out
took no part in the fit, and designs never do. With ``--measure`` designs that are new or have changed are synthesised
first (minutes each); points are measured by `make table-synth`.

Memories are left out on both sides: `mxhw_ram` and `mxhw_rom` of any size, queues of 32 words and more.
"""

import argparse
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # the block is that of the tests

from mxhw.errors import InputError  # noqa: E402
from mxhw.hardware.sizes import Resources, unit_sizes  # noqa: E402
from mxhw.hardware.sizes.connections import design_logic  # noqa: E402
from mxhw.hardware.structure import Design, Product  # noqa: E402
from mxhw.passes.emit.dataflow.costed import design_of  # noqa: E402
from mxhw.passes.emit.dataflow.modules import Modules  # noqa: E402
from mxhw.passes.emit.dataflow.names import stream_names  # noqa: E402
from mxhw.passes.emit.dataflow.place import input_lanes, place_graph  # noqa: E402
from mxhw.passes.emit.dataflow.top import Top, top_verilog  # noqa: E402
from mxhw.synthesis import open_library  # noqa: E402
from mxhw.synthesis.grid import all_points  # noqa: E402
from mxhw.synthesis.points import SIZES, SizeFile, digest_of, size_of  # noqa: E402
from mxhw.synthesis.table import TARGETS  # noqa: E402
from mxhw.synthesis.yosys import BLACK_BOXES, Source  # noqa: E402
from tests.passes.emit.dataflow.blocks import BlockShape, decoder_block  # noqa: E402

LIBRARIES = ("asap7", "sg13g2", "ecp5", "xilinx")
RESOURCES = {"asap7": ("area",), "sg13g2": ("area",), "ecp5": ("lut", "ff", "dsp"), "xilinx": ("lut", "ff", "dsp")}


@dataclass(frozen=True)
class Row:
    """A figure that is predicted, and synthesised.

    Attributes
    ----------
    what : the unit or design, and its sizes.
    library : cell library or FPGA family.
    resource : "area" [um2], "lut", "ff" or "dsp".
    held_out : it took no part in the fit.
    """

    what: str
    library: str
    resource: str
    predicted: float
    synthesised: float
    held_out: bool

    @property
    def error(self) -> float:
        """Relative to synthesis; of what is not there at all, the amount itself."""
        return (self.predicted - self.synthesised) / max(1.0, self.synthesised)


@dataclass(frozen=True)
class _Library:
    """As much of a platform as sizes need."""

    library: str
    area_scale: float = 1.0


def array_rows(library: str) -> Iterator[Row]:
    """Yield the rows of products: arrays with decoders, drain and what stands around them."""
    yield from _point_rows(library, products=True)


def unit_rows(library: str) -> Iterator[Row]:
    """Yield the rows of all other units."""
    yield from _point_rows(library, products=False)


def _point_rows(library: str, *, products: bool) -> Iterator[Row]:
    measured = SizeFile().library(library).get("measured", {})
    for point in all_points():
        if isinstance(point.unit, Product) == products and point.label in measured:
            found = unit_sizes(point.unit, _Library(library))  # type: ignore[arg-type]
            yield from _rows(point.label, library, found, measured[point.label], held_out=point.held_out)


def _rows(
    what: str, library: str, predicted: Resources, measured: Mapping[str, Any], *, held_out: bool
) -> Iterator[Row]:
    for resource in RESOURCES[library]:
        yield Row(what, library, resource, predicted[resource], measured[resource], held_out)


PRODUCTS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
DESIGNS: Mapping[str, tuple[BlockShape, Mapping[str, Mapping[str, int]]]] = {
    "decoder block, int8, 2 columns": (
        BlockShape(hidden=16, heads=2, kv_heads=1, ffn=24),
        {name: {"columns": 2} for name in PRODUCTS},
    ),
}


def design_rows(library: str) -> Iterator[Row]:
    """Yield the rows of whole designs that were measured."""
    measured = SizeFile().library(library).get("designs", {})
    for name, sizes in DESIGNS.items():
        if name in measured:
            design, _ = small_design(*sizes)
            found = design_logic(design, _Library(library))  # type: ignore[arg-type]
            yield from _rows(name, library, found, measured[name], held_out=True)


def small_design(shape: BlockShape, sizes: Mapping[str, Mapping[str, int]]) -> tuple[Design, Source]:
    """Return the record of a decoder block, and its Verilog."""
    graph = decoder_block(shape)
    placed = place_graph(graph, sizes)
    names = stream_names([*graph.inputs, *graph.steps])
    images: Any = defaultdict(lambda: defaultdict(lambda: "image.hex"))
    top, modules = Top(graph, placed, names, input_lanes(graph, placed), {}, images), Modules()
    top_verilog(top, modules, "block", [])
    modules.make()
    text = top_verilog(top, modules, "block", [])
    return design_of(graph, placed), _Verilog("\n".join([text, *(module.text for module in modules.texts.values())]))


class _Verilog(Source):
    """A design as Verilog; its memory components are black boxes, its queues memories."""

    def __init__(self, text: str) -> None:
        super().__init__(text, "block", boxed_bits=1, queued_bits=1)

    def write(self, folder: Path) -> tuple[str, ...]:
        (folder / "design.v").write_text(self.text, encoding="utf-8")
        (folder / "memories.v").write_text(BLACK_BOXES, encoding="utf-8")
        # Flip-flops without a reset have initial values in Verilog, some of which yosys takes for conflicts.
        read = ("read_verilog -lib memories.v", "read_verilog design.v", f"hierarchy -check -top {self.name}")
        return (*read, "proc", "setattr -unset init w:*")


def measure(library: str, liberty: Path | None, path: Path = SIZES) -> None:
    """Synthesise the designs that are new or have changed."""
    target, table = TARGETS[library], SizeFile(path)
    with tempfile.TemporaryDirectory(prefix="mxhw-area-") as scratch:
        cells = None
        if target.liberty:
            if liberty is None:
                raise InputError(f"--liberty is needed for {library}: the folder that holds the cell libraries")
            cells = open_library(liberty / target.liberty, Path(scratch) / library)
        for name, sizes in DESIGNS.items():
            _, source = small_design(*sizes)
            digest = digest_of(source, library, target.clock)
            kept = table.library(library).setdefault("designs", {})
            if kept.get(name, {}).get("digest") != digest:
                print(f"{library}: {name} …", file=sys.stderr, flush=True)
                kept[name] = size_of(source, library, cells, target.clock) | {"digest": digest}
                table.write()


def table(rows: list[Row]) -> Iterator[str]:
    """Yield rows as a table in Markdown, the largest error last."""
    yield "| what | library | resource | predicted | synthesised | error | held out |"
    yield "|---|---|---|---:|---:|---:|---|"
    for row in sorted(rows, key=lambda row: (row.library, row.resource, abs(row.error))):
        figures = f"{row.predicted:.0f} | {row.synthesised:.0f} | {row.error:+.1%}"
        yield f"| {row.what} | {row.library} | {row.resource} | {figures} | {'yes' if row.held_out else ''} |"


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", action="append", choices=LIBRARIES, help="default: all")
    parser.add_argument("--liberty", type=Path, help="the folder that holds the cell libraries")
    parser.add_argument("--measure", action="store_true", help="synthesise designs that have changed")
    given = parser.parse_args()
    for library in given.library or LIBRARIES:
        if given.measure:
            measure(library, given.liberty)
        for title, rows in (("arrays", array_rows), ("units", unit_rows), ("designs", design_rows)):
            print(f"\n{library}: {title}\n")
            print("\n".join(table(list(rows(library)))))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"error: {error}")
