"""A vector waits here until a result about the whole of it is known; then both leave together.

One queue of elements and one of results, instead of two halves: a place is free again as soon as its element has left,
so that a length and the result's delay are all the memory that full throughput needs, and short vectors keep it, too.
(`stream.BlockBuffer` is for results that are known at once, and for leaving in another order.)
"""

from typing import Any

from amaranth.hdl import Module, Mux, ShapeLike, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.rtl_templates.checks import require_natural
from mxhw.rtl_templates.stream.fifo import Fifo

__all__ = ["VectorStore"]

# A queue gives a beat two cycles after it took it, and holds one in its output register.
_QUEUE_LATENCY = 2


class VectorStore(wiring.Component):
    """One beat a cycle; a vector begins to leave ``delay + 2`` cycles after its last beat came.

    Parameters
    ----------
    shape : ShapeLike
        A beat.
    length : int
        Beats of a vector.
    summary : ShapeLike
        The result about a vector.
    delay : int
        Cycles after that in which a vector's last beat is taken until ``done`` is high for it; at least 1.

    Members
    -------
    x : In(stream.Signature(shape))
        Ready depends on registers only.
    first, last : Out(1)
        Whether x's next beat is the first, the last one of its vector.
    done : In(1)
        ``summary`` is that of the oldest vector for which it has not come yet. It need not ask whether there is room.
    summary : In(summary)
    y : Out(stream.Signature(data.StructLayout({"beat", "summary"})))
        The summary is that of the beat's vector.
    """

    def __init__(self, *, shape: ShapeLike, length: int, summary: ShapeLike, delay: int) -> None:
        require_natural("length", length)
        require_natural("delay", delay)
        self._shape, self._summary, self._length = shape, summary, length
        self._depth = length + delay + 2 * _QUEUE_LATENCY
        leaving = data.StructLayout({"beat": shape, "summary": summary})
        super().__init__(
            {
                "x": In(stream.Signature(shape)),
                "first": Out(1),
                "last": Out(1),
                "done": In(1),
                "summary": In(summary),
                "y": Out(stream.Signature(leaving)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        # Last beats of different vectors are `length` apart among the beats stored: no more summaries can be waiting.
        vectors = (self._depth - 1) // self._length + 1
        m.submodules.beats = beats = Fifo(shape=self._shape, depth=self._depth)
        m.submodules.summaries = summaries = Fifo(shape=self._summary, depth=max(3, vectors + 1))
        wiring.connect(m, wiring.flipped(self.x), beats.x)
        arriving, leaving = self._count(m, "arriving", self.x), self._count(m, "leaving", self.y)
        m.d.comb += [
            self.first.eq(arriving == 0),
            self.last.eq(arriving == self._length - 1),
            summaries.x.valid.eq(self.done),
            Value.cast(summaries.x.payload).eq(Value.cast(self.summary)),
            Value.cast(self.y.payload.beat).eq(Value.cast(beats.y.payload)),
            Value.cast(self.y.payload.summary).eq(Value.cast(summaries.y.payload)),
            self.y.valid.eq(beats.y.valid & summaries.y.valid),
            beats.y.ready.eq(self.y.ready & summaries.y.valid),
            summaries.y.ready.eq(self.y.ready & beats.y.valid & (leaving == self._length - 1)),
        ]
        return m

    def _count(self, m: Module, name: str, port: Any) -> Signal:
        """Return the number of a stream's next beat in its vector."""
        beat = Signal(range(max(2, self._length)), name=name)
        with m.If(port.valid & port.ready):
            m.d.sync += beat.eq(Mux(beat == self._length - 1, 0, beat + 1))
        return beat
