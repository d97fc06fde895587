"""Zeros behind each vector, so that it fills whole blocks."""

from typing import Any

from amaranth.hdl import Module, ShapeLike, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.rtl_templates.checks import require_natural
from mxhw.rtl_templates.gemm.counter import wrapping_counter

__all__ = ["Padding"]


class Padding(wiring.Component):
    """Sends ``zeros`` beats of zero after every ``length`` beats. One beat a cycle; latency 0.

    Parameters
    ----------
    shape : ShapeLike
        A beat.
    length, zeros : int
        Beats of a vector, and those that are put behind it; without any this is wires.

    Members
    -------
    x : In(stream.Signature(shape))
        Ready follows y's between zeros.
    y : Out(stream.Signature(shape))
        Between zeros this is x.
    """

    def __init__(self, *, shape: ShapeLike, length: int, zeros: int) -> None:
        require_natural("length", length)
        require_natural("zeros", zeros, 0)
        self._length, self._zeros = length, zeros
        super().__init__({"x": In(stream.Signature(shape)), "y": Out(stream.Signature(shape))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.d.comb += [
            self.y.valid.eq(self.x.valid),
            self.x.ready.eq(self.y.ready),
            Value.cast(self.y.payload).eq(Value.cast(self.x.payload)),
        ]
        if self._zeros:
            total = self._length + self._zeros
            beat = Signal(range(total))
            wrapping_counter(m, "beat", total - 1, self.y.valid & self.y.ready, beat)
            with m.If(beat >= self._length):
                m.d.comb += [self.y.valid.eq(1), self.x.ready.eq(0), Value.cast(self.y.payload).eq(0)]
        return m
