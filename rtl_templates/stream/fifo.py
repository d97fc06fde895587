"""A FIFO between two streams.

From three beats on this is Amaranth's buffered queue, whose memory is read synchronously (block RAM). That queue needs
two cells of memory beside its output register for full throughput, so that shorter ones are registers here.
"""

from typing import Any

from amaranth.hdl import Module, Shape, ShapeLike, Value
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.rtl_templates.checks import require_natural
from mxhw.rtl_templates.stream.skid import SkidBuffer
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "Fifo"]


class Fifo(wiring.Component):
    """Holds up to ``depth`` beats. One beat a cycle at every depth.

    Parameters
    ----------
    shape : ShapeLike
        Payload of both streams.
    depth : int
        0 is a wire (latency 0). 1 is a register: a pipeline stage, in which x's ready depends on y's ready (latency 1).
        2 is a :class:`SkidBuffer` (latency 1). Above, latency is 2, and all of x's ready, y's valid and y's payload
        come from registers or the memory's output latch.

    Members
    -------
    x : In(stream.Signature(shape))
    y : Out(stream.Signature(shape))

    Raises
    ------
    InputError
        If ``depth`` is negative.
    """

    def __init__(self, *, shape: ShapeLike, depth: int) -> None:
        require_natural("depth", depth, 0)
        self._shape, self._depth = shape, depth
        super().__init__({"x": In(stream.Signature(shape)), "y": Out(stream.Signature(shape))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        source, target = Value.cast(self.x.payload), Value.cast(self.y.payload)
        if self._depth == 0:
            wiring.connect(m, wiring.flipped(self.x), wiring.flipped(self.y))
        elif self._depth == 1:
            m.d.comb += self.x.ready.eq(self.y.ready | ~self.y.valid)
            with m.If(self.x.ready):
                m.d.sync += [self.y.valid.eq(self.x.valid), target.eq(source)]
        elif self._depth == 2:
            m.submodules.skid = skid = SkidBuffer(shape=self._shape)
            wiring.connect(m, wiring.flipped(self.x), skid.x)
            wiring.connect(m, skid.y, wiring.flipped(self.y))
        else:
            width = Shape.cast(self._shape).width
            m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=width, depth=self._depth)
            m.d.comb += [
                queue.w_data.eq(source),
                queue.w_en.eq(self.x.valid),
                self.x.ready.eq(queue.w_rdy),
                target.eq(queue.r_data),
                self.y.valid.eq(queue.r_rdy),
                queue.r_en.eq(self.y.ready),
            ]
        return m


def _build(width: int = 16, depth: int = 16) -> Fifo:
    require_natural("width", width)
    return Fifo(shape=width, depth=depth)


TEMPLATE = UnitTemplate(
    name="fifo", kind="stream", description="first-in first-out queue of `depth` beats of `width` bits", build=_build
)
