"""Memories of codes that are read a word at a time, each word with the scale of its head's vector."""

from typing import Any

from amaranth.hdl import Cat, Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mxhw.rtl_templates.checks import require_natural
from mxhw.rtl_templates.dataflow.payloads import SCALE_BITS
from mxhw.rtl_templates.memory import Ram

__all__ = ["HeadMemory", "joined"]


def joined(high: Value, low: Value, count: int) -> Value:
    """Return ``high * count + low``, which is wiring where ``count``, the number of values of ``low``, allows it."""
    if count & count - 1:
        return high * count + low
    return Cat(low[: count.bit_length() - 1], high)


class HeadMemory(wiring.Component):
    """``blocks`` vectors of ``words`` words of codes, and a scale each; one word is written and one read a cycle.

    Parameters
    ----------
    blocks, words : int
        Vectors, words of a vector.
    width : int
        Bits of a word.

    Members
    -------
    write, write_block, write_word, write_codes, write_scale : In
        The word, and the scale of its vector, are stored at this clock edge while ``write`` is high.
    block, word : In
        What to read.
    enable : In(1)
        Read at this clock edge; outputs hold their values otherwise.
    codes, scale : Out
        The word and its vector's scale, in the cycle after; one that is written at the same edge is read as it was.
    """

    def __init__(self, *, blocks: int, words: int, width: int) -> None:
        require_natural("blocks", blocks)
        require_natural("words", words)
        require_natural("width", width)
        self._blocks, self._words, self._width = blocks, words, width
        block, word = In(range(max(2, blocks))), In(range(max(2, words)))
        super().__init__(
            {
                "write": In(1),
                "write_block": block,
                "write_word": word,
                "write_codes": In(width),
                "write_scale": In(SCALE_BITS),
                "block": block,
                "word": word,
                "enable": In(1),
                "codes": Out(width),
                "scale": Out(SCALE_BITS),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.code_words = codes = Ram(width=self._width, depth=self._blocks * self._words)
        m.submodules.scales = scales = Ram(width=SCALE_BITS, depth=self._blocks)
        for memory in (codes, scales):
            m.d.comb += [memory.write.eq(self.write), memory.enable.eq(self.enable)]
        m.d.comb += [
            codes.write_address.eq(joined(self.write_block, self.write_word, self._words)),
            codes.write_data.eq(self.write_codes),
            codes.address.eq(joined(self.block, self.word, self._words)),
            self.codes.eq(codes.data),
            scales.write_address.eq(self.write_block),
            scales.write_data.eq(self.write_scale),
            scales.address.eq(self.block),
            self.scale.eq(scales.data),
        ]
        return m
