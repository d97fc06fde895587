"""A skid buffer: cuts every combinational path of a stream, forward and backward, at full throughput.

Two registers. The spare one takes the beat that is already under way in the cycle in which the receiver stops.
"""

from typing import Any

from amaranth.hdl import Module, Shape, ShapeLike, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.rtl_templates.checks import require_natural
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "SkidBuffer"]


class SkidBuffer(wiring.Component):
    """Holds up to two beats. One beat a cycle; latency one cycle.

    Parameters
    ----------
    shape : ShapeLike
        Payload of both streams.

    Members
    -------
    x : In(stream.Signature(shape))
        Ready is a register.
    y : Out(stream.Signature(shape))
        Valid and payload are registers.
    """

    def __init__(self, *, shape: ShapeLike) -> None:
        self._bits = Shape.cast(shape).width
        super().__init__({"x": In(stream.Signature(shape)), "y": Out(stream.Signature(shape))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        spare, waiting = Signal(self._bits), Signal()
        source, target = Value.cast(self.x.payload), Value.cast(self.y.payload)
        m.d.comb += self.x.ready.eq(~waiting)
        with m.If(self.y.ready | ~self.y.valid):
            m.d.sync += [self.y.valid.eq(waiting | self.x.valid), waiting.eq(0)]
            with m.If(waiting):
                m.d.sync += target.eq(spare)
            with m.Else():
                m.d.sync += target.eq(source)
        with m.Elif(self.x.valid & self.x.ready):
            m.d.sync += [spare.eq(source), waiting.eq(1)]
        return m


def _build(width: int = 16) -> SkidBuffer:
    require_natural("width", width)
    return SkidBuffer(shape=width)


TEMPLATE = UnitTemplate(
    name="skid_buffer",
    kind="stream",
    description="two registers that cut all paths of a stream at full throughput",
    build=_build,
)
