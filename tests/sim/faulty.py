"""Planted faults: a component with a level that plants one of each kind, and edits of an emitted dataflow design.

The edits work on any folder with a dataflow design: they find a step's instance and its stream by the tap
(``assign tap_STREAM_fire = VALID & READY;``) and the instance's named connections.
"""

import random
import re
from pathlib import Path
from typing import Any

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.sim.dataflow import DataflowDesign

WITHDRAWS, CHANGES, LOSES, REPEATS, WAITS, STOPS, ERRS = range(1, 8)
PLACE = 5  # beat at which a fault happens


class Faulty(wiring.Component):
    """total = a + step, wide = (b, a): one beat of each per beat of a and b.

    Members
    -------
    a, b : In(stream.Signature(signed(8))), In(stream.Signature(70))
        Taken together.
    step, fault : In
        Levels; a fault other than 0 breaks the promises of `total`, or stops `a`.
    total, wide : Out(stream.Signature(signed(10))), Out(stream.Signature(78))
    """

    a: In(stream.Signature(signed(8)))
    b: In(stream.Signature(70))
    step: In(signed(8))
    fault: In(3)
    total: Out(stream.Signature(signed(10)))
    wide: Out(stream.Signature(78))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        totals, wides, count, waited = Signal(2), Signal(), Signal(8), Signal()
        total, take, at_place = Signal(signed(10)), Signal(), Signal()
        done_total = self.total.valid & self.total.ready
        m.d.comb += [
            at_place.eq(count == PLACE),
            take.eq(self.a.valid & self.b.valid & (totals == 0) & ~wides & ~((self.fault == STOPS) & (count == PLACE))),
            self.a.ready.eq(take),
            self.b.ready.eq(take),
            self.total.valid.eq(totals != 0),
            self.total.payload.eq(total),
            self.wide.valid.eq(wides),
        ]
        m.d.sync += waited.eq(self.total.valid & ~self.total.ready)
        with m.If(done_total):
            m.d.sync += totals.eq(totals - 1)
        with m.If(self.wide.valid & self.wide.ready):
            m.d.sync += wides.eq(0)
        with m.If(take):
            m.d.sync += [
                wides.eq(1),
                count.eq(count + 1),
                total.eq(self.a.payload + self.step + ((self.fault == ERRS) & at_place)),
                self.wide.payload.eq(self.b.payload << 8 | self.a.payload.as_unsigned()),
                totals.eq(1 + ((self.fault == REPEATS) & at_place) - ((self.fault == LOSES) & at_place)),
            ]
        with m.Switch(self.fault):
            with m.Case(WITHDRAWS):
                m.d.comb += self.total.valid.eq((totals != 0) & ~waited)
            with m.Case(CHANGES):
                m.d.comb += self.total.payload.eq(total ^ waited)
            with m.Case(WAITS):
                m.d.comb += self.total.valid.eq((totals != 0) & self.total.ready)
        return m


def traffic(beats: int, step: int) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Return inputs and the outputs to expect, corner values first."""
    choose = random.Random(beats)
    a = [-128, 127, 0, -1, *(choose.randrange(-128, 128) for _ in range(beats - 4))]
    b = [(1 << 70) - 1, 0, *(choose.getrandbits(70) for _ in range(beats - 2))]
    total = [value + step for value in a]
    return {"a": a, "b": b}, {"total": total, "wide": [high << 8 | low & 0xFF for low, high in zip(a, b, strict=True)]}


def flip_image_bit(folder: Path, image: str, word: int, bit: int) -> None:
    """Flip one bit of one word of a memory image."""
    lines = (folder / image).read_text().split()
    lines[word] = f"{int(lines[word], 16) ^ 1 << bit:0{len(lines[word])}x}"
    (folder / image).write_text("\n".join(lines) + "\n")


def edit_source(folder: Path, source: str, pattern: str, replacement: str) -> None:
    """Replace the only match of a regular expression in a Verilog file; a wrong rounding, for instance."""
    text, count = re.subn(pattern, replacement, (folder / source).read_text())
    assert count == 1, f"{source} has {count} matches of {pattern}"
    (folder / source).write_text(text)


def drop_beat(folder: Path, stream: str, beat: int) -> None:
    """Let a step lose one beat of its output stream, counted from 0."""
    _between_step_and_stream(folder, stream, f"fault_count == {beat}", "1'b1")


def stick_stream(folder: Path, stream: str, beats: int) -> None:
    """Let a step's output stream stand still after a number of beats: never valid, and the step never served."""
    _between_step_and_stream(folder, stream, f"fault_count >= {beats}", "1'b0")


def _between_step_and_stream(folder: Path, stream: str, condition: str, ready: str) -> None:
    """Cut valid and ready of a step's output; where the condition holds, valid is low and the step sees `ready`."""
    design = DataflowDesign.load(folder)
    declared = re.compile(rf"^module {design.top}\b.*?^endmodule", re.MULTILINE | re.DOTALL)
    path = next(path for path in map(folder.joinpath, design.sources) if declared.search(path.read_text()))
    whole = path.read_text()
    found = declared.search(whole)
    assert found is not None
    top = found[0]
    tap = re.search(rf"assign tap_{stream}_fire = (\w+) & (\w+);", top)
    assert tap is not None, f"the tap of {stream} is not where it should be"
    instance = re.search(rf"^\s*\w+\s+(?:#\([^;]*?\)\s+)?{stream}\s*\([^;]*\);", top, re.MULTILINE)
    assert instance is not None, f"there is no instance {stream}"
    cut = instance[0]
    for net, fault in ((tap[1], "fault_valid"), (tap[2], "fault_ready")):
        cut, count = re.subn(rf"\(\s*{net}\s*\)", f"({fault})", cut)
        assert count == 1, f"instance {stream} has {count} connections to {net}"
    logic = f"""
  wire fault_valid, fault_ready;
  reg [31:0] fault_count;
  wire fault = {condition};
  assign {tap[1]} = fault_valid & !fault;
  assign fault_ready = fault ? {ready} : {tap[2]};
  always @(posedge clk) if (rst) fault_count <= 0; else if (fault_valid & fault_ready) fault_count <= fault_count + 1;
"""
    changed = top.replace(instance[0], logic + cut)
    path.write_text(whole.replace(top, changed))
