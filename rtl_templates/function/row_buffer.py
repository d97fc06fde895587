"""Rows of run-time length that are read after their last element has come, while the next one takes their places.

`vector_store` is for vectors of one length whose result comes later than their last element.
"""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mxhw.rtl_templates.checks import require_natural
from mxhw.rtl_templates.memory import Ram

__all__ = ["RowBuffer"]


class RowBuffer(wiring.Component):
    """A ring of ``length + 1`` words, and two slots for summaries of rows, known at a row's end.

    Rows go in and out one word a cycle, without a gap between rows of equal length: a word takes the place that a word
    of the row before left. No row may be longer than ``length``.

    Parameters
    ----------
    width : int
        Bits of a word.
    length : int
        Words of the longest row.
    summary : int
        Bits that belong to a whole row.

    Members
    -------
    writable : Out(1)
        A word may be written. Depends on registers only.
    write, word, last, row_in : In
        At this clock edge ``word`` is stored; with ``last`` it ends its row, whose summary is ``row_in``.
    enable : In(1)
        The reader moves at this clock edge; its outputs hold their values otherwise.
    valid, data, index, end, row : Out
        A word is there: its value, place in the row, whether it is the last, and the row's summary. The first word of a
        row follows two clock edges after its last one was written.
    """

    def __init__(self, *, width: int, length: int, summary: int) -> None:
        require_natural("width", width)
        require_natural("length", length)
        require_natural("summary", summary)
        self._width, self._length, self._summary = width, length, summary
        super().__init__(
            {
                "writable": Out(1),
                "write": In(1),
                "word": In(width),
                "last": In(1),
                "row_in": In(summary),
                "enable": In(1),
                "valid": Out(1),
                "data": Out(width),
                "index": Out(range(max(2, length))),
                "end": Out(1),
                "row": Out(summary),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        depth = self._length + 1
        m.submodules.storage = storage = Ram(width=self._width, depth=depth)
        written, read, used = Signal(range(depth)), Signal(range(depth)), Signal(range(depth + 1))
        whole, filling, draining = Signal(2), Signal(), Signal()
        ends = [Signal(range(depth), name=f"end_{slot}", reset_less=True) for slot in range(2)]
        rows = [Signal(self._summary, name=f"row_{slot}", reset_less=True) for slot in range(2)]
        m.d.comb += [
            self.writable.eq((used != depth) & ~whole.bit_select(filling, 1)),
            storage.write.eq(self.write),
            storage.write_address.eq(written),
            storage.write_data.eq(self.word),
        ]
        with m.If(self.write):
            m.d.sync += written.eq(Mux(written == depth - 1, 0, written + 1))
            with m.If(self.last):
                m.d.sync += [filling.eq(~filling), whole.bit_select(filling, 1).eq(1)]
                for slot in range(2):
                    with m.If(filling == slot):
                        m.d.sync += [ends[slot].eq(written), rows[slot].eq(self.row_in)]

        issue, end, index = Signal(), Signal(), Signal.like(self.index)
        m.d.comb += [
            issue.eq(self.enable & whole.bit_select(draining, 1)),
            end.eq(read == Mux(draining, ends[1], ends[0])),
            storage.address.eq(read),
            storage.enable.eq(self.enable),
            self.data.eq(storage.data),
        ]
        with m.If(self.enable):
            m.d.sync += [
                *(self.valid.eq(issue), self.index.eq(index), self.end.eq(end)),
                self.row.eq(Mux(draining, rows[1], rows[0])),
            ]
        with m.If(issue):
            m.d.sync += [read.eq(Mux(read == depth - 1, 0, read + 1)), index.eq(index + 1)]
            with m.If(end):
                m.d.sync += [index.eq(0), draining.eq(~draining), whole.bit_select(draining, 1).eq(0)]
        m.d.sync += used.eq(used + self.write - issue)
        return m
