"""Vectors that come one after the other, side by side: what an array of R rows takes of R tokens."""

from typing import Any

from amaranth.hdl import Cat, Module, ShapeLike, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.rtl_templates.checks import require_natural
from mxhw.rtl_templates.gemm.counter import wrapping_counter
from mxhw.rtl_templates.stream import Fifo

__all__ = ["RowJoin"]


class RowJoin(wiring.Component):
    """Joins every ``rows`` vectors beat by beat: all but the last one wait in queues, the last one passes.

    Takes a beat a cycle; latency 0 from the beats of a last vector.

    Parameters
    ----------
    shape : ShapeLike
        A beat.
    rows : int
        Vectors that are joined.
    length : int
        Beats of a vector.

    Members
    -------
    x : In(stream.Signature(shape))
        Ready depends on y's while the last vector comes.
    y : Out(stream.Signature(data.ArrayLayout(shape, rows)))
        ``length`` beats for ``rows`` vectors.
    """

    def __init__(self, *, shape: ShapeLike, rows: int, length: int) -> None:
        require_natural("rows", rows)
        require_natural("length", length)
        self._shape, self._rows, self._length = shape, rows, length
        super().__init__({"x": In(stream.Signature(shape)), "y": Out(stream.Signature(data.ArrayLayout(shape, rows)))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        beat, row = Signal(range(max(2, self._length))), Signal(range(max(2, self._rows)))
        ends = wrapping_counter(m, "beat", self._length - 1, self.x.valid & self.x.ready, beat)
        wrapping_counter(m, "row", self._rows - 1, ends, row)
        source, queues = Value.cast(self.x.payload), []
        passes, waiting = Signal(), Signal()
        room = passes & waiting & self.y.ready
        for index in range(self._rows - 1):
            queue = Fifo(shape=len(source), depth=self._length)
            m.submodules[f"row_{index}"] = queue
            mine = row == index
            m.d.comb += [
                queue.x.payload.eq(source),
                queue.x.valid.eq(self.x.valid & mine),
                queue.y.ready.eq(self.y.valid & self.y.ready),
            ]
            room |= mine & queue.x.ready
            queues.append(queue)
        m.d.comb += [
            waiting.eq(Cat(queue.y.valid for queue in queues).all()),
            passes.eq(row == self._rows - 1),
            self.y.valid.eq(self.x.valid & passes & waiting),
            Value.cast(self.y.payload).eq(Cat(*(queue.y.payload for queue in queues), source)),
            self.x.ready.eq(room),
        ]
        return m
