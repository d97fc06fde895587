"""Measure the points of :mod:`.grid`: what `mxhw/hardware/data/unit_sizes.json` is fitted to.

Part of `python -m mxhw.synthesis.table`. Cell libraries: area and flip-flops by :func:`.asic.map_once`. FPGA families:
LUTs, flip-flops and DSP blocks of one synthesis with DSP blocks allowed, which is what a design gets, but for arrays
of DialectFP4, whose multipliers are of 2 bits. Memories are left out alike everywhere: instances of `mxhw_ram` and
`mxhw_rom` of any size, and queues of 32 words and more; shorter queues are registers, or the LUTs that yosys makes of
them.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from mxhw.errors import InputError
from mxhw.files import write_text
from mxhw.hardware.structure import Product
from mxhw.hardware.structure.unit import QUEUE_WORDS
from mxhw.synthesis.asic import ONCE, map_once
from mxhw.synthesis.fpga import FAMILIES, count_resources
from mxhw.synthesis.grid import Point, all_points
from mxhw.synthesis.liberty import Library
from mxhw.synthesis.yosys import Source, source_of, tool_version

__all__ = [
    "LIBRARIES",
    "SIZES",
    "SizeFile",
    "digest_of",
    "drop_other_points",
    "measure_point",
    "measure_points",
    "size_of",
]

LIBRARIES = ("asap7", "ecp5", "xilinx", "sg13g2")

SIZES = Path(__file__).resolve().parent.parent / "hardware" / "data" / "unit_sizes.json"
_DIGEST_DIGITS = 16


class SizeFile:
    """The file of measured points and fitted coefficients, written again after every result."""

    def __init__(self, path: Path = SIZES) -> None:
        self.path = path
        self.content: dict[str, Any] = {"libraries": {}}
        if path.exists():
            self.content = json.loads(path.read_text(encoding="utf-8"))

    def library(self, name: str) -> dict[str, Any]:
        """Return the part of a library or family."""
        part: dict[str, Any] = self.content["libraries"].setdefault(name, {"tool": tool_version(), "measured": {}})
        return part

    def write(self) -> None:
        """Write the file."""
        write_text(self.path, json.dumps(self.content, indent=0, separators=(",", ":")) + "\n")


def digest_of(source: Source, target: str, clock: float | None, *, dsp: bool = True) -> str:
    """Return what a figure is kept by: the text that is synthesised, the tool, the target."""
    how = ([] if dsp else ["no DSP blocks"]) if target in FAMILIES else list(ONCE.values())
    described = [tool_version(), target, clock, _QUEUE, _TO_QUEUE, source.text, *how]
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()[:_DIGEST_DIGITS]


def size_of(
    source: Source, target: str, library: Library | None, clock: float | None, *, dsp: bool = True
) -> dict[str, float]:
    """Synthesise a design for a cell library, or for the FPGA family of this name with DSP blocks allowed or not."""
    source = _BoxedQueues.of(source)
    with tempfile.TemporaryDirectory(prefix="mxhw-point-") as scratch:
        folder = Path(scratch)
        if library is not None:
            assert clock is not None, "cells are mapped for a clock"
            cell = map_once(source, library, folder, clock)
            return {"area": round(cell.area, 2), "ff": cell.flip_flops, "delay": round(cell.delay, 1)}
        found = count_resources(source, FAMILIES[target], folder, dsp=dsp)
        return {"lut": found.lut_sites, "ff": found.flip_flops, "dsp": found.dsp}


_QUEUE = """
(* blackbox *) module mxhw_queue #(parameter WIDTH = 8, ABITS = 1)
  (input clk, input [WIDTH-1:0] write, input [ABITS-1:0] write_address, input [WIDTH-1:0] write_data,
   input enable, input [ABITS-1:0] address, output [WIDTH-1:0] data); endmodule
"""
_TO_QUEUE = """
(* techmap_celltype = "$mem_v2" *)
module mxhw_to_queue (RD_CLK, RD_EN, RD_ARST, RD_SRST, RD_ADDR, RD_DATA, WR_CLK, WR_EN, WR_ADDR, WR_DATA);
  parameter MEMID = "", SIZE = 1, OFFSET = 0, ABITS = 1, WIDTH = 1, INIT = 0;
  parameter RD_PORTS = 1, RD_CLK_ENABLE = 1, RD_CLK_POLARITY = 1, RD_TRANSPARENCY_MASK = 0, RD_COLLISION_X_MASK = 0;
  parameter RD_WIDE_CONTINUATION = 0, RD_CE_OVER_SRST = 0, RD_ARST_VALUE = 0, RD_SRST_VALUE = 0, RD_INIT_VALUE = 0;
  parameter WR_PORTS = 1, WR_CLK_ENABLE = 1, WR_CLK_POLARITY = 1, WR_PRIORITY_MASK = 0, WR_WIDE_CONTINUATION = 0;
  input [RD_PORTS-1:0] RD_CLK, RD_EN, RD_ARST, RD_SRST;
  input [RD_PORTS*ABITS-1:0] RD_ADDR;
  output [RD_PORTS*WIDTH-1:0] RD_DATA;
  input [WR_PORTS-1:0] WR_CLK;
  input [WR_PORTS*WIDTH-1:0] WR_EN, WR_DATA;
  input [WR_PORTS*ABITS-1:0] WR_ADDR;
  mxhw_queue #(.WIDTH(WIDTH), .ABITS(ABITS)) _TECHMAP_REPLACE_ (.clk(WR_CLK), .write(WR_EN),
    .write_address(WR_ADDR), .write_data(WR_DATA), .enable(RD_EN), .address(RD_ADDR), .data(RD_DATA));
endmodule
"""


@dataclass(frozen=True)
class _BoxedQueues(Source):
    """A design whose queues are instances of a module without contents, so that what makes their addresses stays."""

    read: Callable[[Path], tuple[str, ...]] = lambda folder: ()

    @staticmethod
    def of(design: Source) -> "_BoxedQueues":
        return _BoxedQueues(design.text, design.name, design.boxed_bits, design.queued_bits, design.write)

    def write(self, folder: Path) -> tuple[str, ...]:
        if not self.queued_bits:
            return self.read(folder)
        (folder / "queue.v").write_text(_QUEUE, encoding="utf-8")
        (folder / "to_queue.v").write_text(_TO_QUEUE, encoding="utf-8")
        flat = (f"hierarchy -check -top {self.name}", "proc", "flatten", "opt -full", "memory -nomap")
        chosen = f"techmap -map to_queue.v t:$mem_v2 r:SIZE>={QUEUE_WORDS} %i"
        return ("read_verilog -lib queue.v", *self.read(folder), *flat, chosen, "opt_clean")

    def cut_queues(self) -> tuple[str, ...]:
        return ()


def measure_point(
    point: Point, target: str, library: Library | None, clock: float | None, kept: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return the entry of a point; None if ``kept`` has it.

    What was measured of the same text under another name counts: records get new fields.
    """
    source, dsp = source_of(point.make()), _allows_dsp(point)
    digest = digest_of(source, target, clock, dsp=dsp)
    if kept.get(point.label, {}).get("digest") == digest:
        return None
    for entry in kept.values():
        if entry["digest"] == digest:
            return dict(entry)
    return size_of(source, target, library, clock, dsp=dsp) | {"digest": digest}


def _allows_dsp(point: Point) -> bool:
    """Whether DSP blocks may be taken: yosys would put each 2-bit multiplier of a DialectFP4 array into one of ECP5."""
    return not (isinstance(point.unit, Product) and point.unit.family == "dialect")


def measure_points(
    table: SizeFile,
    targets: Sequence[tuple[str, Library | None, float | None]],
    wanted: Callable[[Point], bool],
    say: Callable[[str], None],
) -> int:
    """Measure what is missing of the points that are wanted; return how many failed."""
    failed, start = 0, perf_counter()
    for point in filter(wanted, all_points()):
        for target, library, clock in targets:
            kept = table.library(target)["measured"]
            before = perf_counter()
            try:
                entry = measure_point(point, target, library, clock, kept)
            except InputError as error:
                failed += 1
                say(f"{target} {point.label}: FAILED: {error}")
                continue
            if entry is None:
                continue
            kept[point.label] = entry
            table.library(target)["tool"] = tool_version()
            table.write()
            now = perf_counter()
            said = ", ".join(f"{value:g} {name}" for name, value in entry.items() if name != "digest")
            say(f"[{now - start:.0f} s, {now - before:.0f} s] {target} {point.label}: {said}")
    return failed


def drop_other_points(table: SizeFile, libraries: Sequence[str]) -> None:
    """Drop the entries of points that there are no longer."""
    known = {point.label for point in all_points()}
    for name in libraries:
        measured = table.library(name)["measured"]
        for label in [label for label in measured if label not in known]:
            del measured[label]
