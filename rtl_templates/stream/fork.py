"""An eager fork: one stream becomes several; each receiver takes a beat when it can, and none gets it twice."""

from typing import Any

from amaranth.hdl import Cat, Module, ShapeLike, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.rtl_templates.checks import require_natural
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "Fork"]


class Fork(wiring.Component):
    """Copies every beat to all outputs. One beat a cycle; latency 0 (put a buffer on an output to cut its paths).

    Parameters
    ----------
    shape : ShapeLike
        Payload of all streams.
    outputs : int
        Receivers.

    Members
    -------
    x : In(stream.Signature(shape))
        A beat leaves when the last output has taken it. Ready depends on the ready of all outputs.
    y0, y1, … : Out(stream.Signature(shape))
        Valid depends on x's valid and on whether this output already has the beat, not on any ready.

    Raises
    ------
    InputError
        If ``outputs`` is below 1.
    """

    def __init__(self, *, shape: ShapeLike, outputs: int = 2) -> None:
        require_natural("outputs", outputs)
        self._names = [f"y{i}" for i in range(outputs)]
        super().__init__(
            {"x": In(stream.Signature(shape))} | {name: Out(stream.Signature(shape)) for name in self._names}
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        outputs = [getattr(self, name) for name in self._names]
        has_it = [Signal(name=f"{name}_has_it") for name in self._names]
        done = [done | output.ready for done, output in zip(has_it, outputs, strict=True)]
        m.d.comb += self.x.ready.eq(Cat(done).all())
        for output, taken, gone in zip(outputs, has_it, done, strict=True):
            m.d.comb += [output.payload.eq(self.x.payload), output.valid.eq(self.x.valid & ~taken)]
            with m.If(self.x.valid):
                m.d.sync += taken.eq(gone & ~self.x.ready)
        return m


def _build(width: int = 16, outputs: int = 2) -> Fork:
    require_natural("width", width)
    return Fork(shape=width, outputs=outputs)


TEMPLATE = UnitTemplate(
    name="stream_fork", kind="stream", description="eager copy of a stream to `outputs` receivers", build=_build
)
