"""Ping-pong buffer: one row tile of activations is replayed for every column tile while the next one arrives."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.rtl_templates.checks import require_natural
from mxhw.rtl_templates.memory.rom import Ram
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "ActivationBuffer"]


class ActivationBuffer(wiring.Component):
    """Two halves of ``chunks`` words: one fills from the stream, the other is read at random.

    Parameters
    ----------
    width : int
        Bits of a stream beat.
    chunks : int
        Beats of a row tile.

    Members
    -------
    x : In(stream.Signature(width))
        Beats of row tiles, one tile after the other. Ready depends on registers only.
    full : Out(2)
        Which halves hold a whole tile. Tiles fill the halves in turn, half 0 first.
    half, chunk : In
        Word to read.
    enable : In(1)
        Read at this clock edge; ``data`` holds its value otherwise.
    data : Out(width)
        The word, in the cycle after its address.
    release : In(1)
        The last read of ``half`` happens at this clock edge; the half may be filled again.
    """

    def __init__(self, *, width: int, chunks: int) -> None:
        require_natural("width", width)
        require_natural("chunks", chunks)
        self._width, self._chunks = width, chunks
        super().__init__(
            {
                "x": In(stream.Signature(width)),
                "full": Out(2),
                "half": In(1),
                "chunk": In(range(max(2, chunks))),
                "enable": In(1),
                "data": Out(width),
                "release": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bits = len(self.chunk)
        m.submodules.words = words = Ram(width=self._width, depth=2 << bits)
        filling = Signal()
        beat = Signal.like(self.chunk)
        m.d.comb += [
            self.x.ready.eq(~self.full.bit_select(filling, 1)),
            words.write.eq(self.x.valid & self.x.ready),
            words.write_address.eq(Cat(beat, filling)),
            words.write_data.eq(self.x.payload),
            words.address.eq(Cat(self.chunk, self.half)),
            words.enable.eq(self.enable),
            self.data.eq(words.data),
        ]
        with m.If(self.release):
            m.d.sync += self.full.bit_select(self.half, 1).eq(0)
        with m.If(words.write):
            m.d.sync += beat.eq(beat + 1)
            with m.If(beat == self._chunks - 1):
                m.d.sync += [beat.eq(0), filling.eq(~filling), self.full.bit_select(filling, 1).eq(1)]
        return m


def _build(width: int = 64, chunks: int = 64) -> ActivationBuffer:
    return ActivationBuffer(width=width, chunks=chunks)


TEMPLATE = UnitTemplate(
    name="activation_buffer",
    kind="gemm",
    description="ping-pong buffer: a row tile is replayed for every column tile while the next one arrives",
    build=_build,
)
