"""A component with two streams in and two out, signed and wide, and a level that plants a fault of each kind."""

import random
from typing import Any

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

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
