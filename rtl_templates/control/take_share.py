"""A unit's share of the words of each layer; the definition is :meth:`mxhw.arithmetic.dataflow.TakeShare.run`."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.rtl_templates.checks import require, require_natural
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "TakeShareUnit"]


class TakeShareUnit(wiring.Component):
    """A beat a cycle, given or dropped; latency 0 (FIFOs around cut its paths).

    Parameters
    ----------
    bits : int
        Of a beat.
    period : int
        Beats of a layer.
    start, count : int
        First beat and number of beats of the share.

    Members
    -------
    x : In(stream.Signature(bits))
        Ready depends on y's ready where the beat is of the share.
    y : Out(stream.Signature(bits))
        Valid depends on x's valid.

    Raises
    ------
    InputError
        If the share does not lie in the period.
    """

    def __init__(self, *, bits: int, period: int, start: int, count: int) -> None:
        for name, value in (("bits", bits), ("period", period), ("count", count)):
            require_natural(name, value)
        require_natural("start", start, 0)
        require(start + count <= period, "start + count", f"at most the {period} beats of a layer", start + count)
        self._period, self._start, self._count = period, start, count
        super().__init__({"x": In(stream.Signature(bits)), "y": Out(stream.Signature(bits))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        beat, inside = Signal(range(max(2, self._period))), Signal()
        # A register, so that no comparison stands between the streams.
        first, behind = self._start % self._period, (self._start + self._count) % self._period
        next_beat = Mux(beat == self._period - 1, 0, beat + 1)
        if self._count == self._period:
            m.d.comb += inside.eq(1)
        else:
            inside = Signal(init=first == 0)
        m.d.comb += [
            self.y.payload.eq(self.x.payload),
            self.y.valid.eq(self.x.valid & inside),
            self.x.ready.eq(self.y.ready | ~inside),
        ]
        with m.If(self.x.valid & self.x.ready):
            m.d.sync += beat.eq(next_beat)
            if self._count < self._period:
                with m.If(next_beat == first):
                    m.d.sync += inside.eq(1)
                with m.Elif(next_beat == behind):
                    m.d.sync += inside.eq(0)
        return m


def _build(bits: int = 64, period: int = 4096, start: int = 1024, count: int = 512) -> TakeShareUnit:
    return TakeShareUnit(bits=bits, period=period, start=start, count=count)


TEMPLATE = UnitTemplate(
    name="take_share",
    kind="control",
    description="a unit's share of the words that come for each layer; the other words are dropped",
    build=_build,
)
