"""Codes of the heads of tokens, a few a beat, as the words of a memory: what attention does with its inputs first."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic.dataflow import BlockCodes
from mxhw.rtl_templates.checks import require, require_lanes, require_natural
from mxhw.rtl_templates.dataflow.payloads import SCALE_BITS, code_layout

__all__ = ["HeadWords", "head_codes"]


def head_codes(name: str, heads: int, head_dim: int, bits: int) -> BlockCodes:
    """Return the stream of integer codes of heads with one scale each; its exponent is not that of a graph.

    Raises InputError for impossible numbers; ``name`` is what they are called.
    """
    require_natural(f"{name}heads", heads)
    require_natural("head_dim", head_dim)
    require_natural("bits", bits, 2)
    return BlockCodes(kind="integer", length=heads * head_dim, block=head_dim, bits=bits, exponent=0)


class HeadWords(wiring.Component):
    """Gives ``lanes`` codes of one head at a time, and says which of the token's they are.

    Parameters
    ----------
    codes : BlockCodes
        Integer codes; each head is a block.
    name : str
        What messages call ``beat_lanes``.
    beat_lanes, lanes : int
        Codes of a beat and of a word. Both divide a head, and one divides the other.

    Members
    -------
    x : In(stream.Signature(code_layout(codes, beat_lanes)))
        Heads of a token, first one first. Ready depends on registers and ``enable``.
    enable : In(1)
        Beats may be taken.
    write : Out(1)
        A word is there in this clock cycle.
    head, word : Out
        Whose word it is, and which of the head's.
    codes : Out(lanes * bits)
        Its codes, the first one lowest.
    scale : Out(SCALE_BITS)
        That of the head.
    last : Out(1)
        It is the last word of the token.
    """

    def __init__(self, *, codes: BlockCodes, beat_lanes: int, lanes: int, name: str) -> None:
        head_dim, heads = codes.block, codes.blocks
        require_lanes(lanes, head_dim, "head_dim")
        require_natural(name, beat_lanes)
        fits = head_dim % beat_lanes == 0 and (beat_lanes % lanes == 0 or lanes % beat_lanes == 0)
        allowed = f"a divisor of the head_dim of {head_dim}, and a divisor or a multiple of the {lanes} lanes"
        require(fits, name, allowed, beat_lanes)
        self._heads, self._words, self._beat_lanes, self._lanes = heads, head_dim // lanes, beat_lanes, lanes
        super().__init__(
            {
                "x": In(stream.Signature(code_layout(codes, beat_lanes))),
                "enable": In(1),
                "write": Out(1),
                "head": Out(range(max(2, heads))),
                "word": Out(range(max(2, self._words))),
                "codes": Out(lanes * codes.bits),
                "scale": Out(SCALE_BITS),
                "last": Out(1),
            }
        )

    @property
    def cycles(self) -> int:
        """Cycles that a token takes."""
        return self._heads * self._words * self._lanes // min(self._lanes, self._beat_lanes)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        codes = Value.cast(self.x.payload.codes)
        if self._beat_lanes < self._lanes:
            self._gather(m, codes)
        else:
            self._split(m, codes)
        word_ends, head_ends = self.word == self._words - 1, self.head == self._heads - 1
        m.d.comb += [self.last.eq(word_ends & head_ends), self.scale.eq(self.x.payload.exponent)]
        with m.If(self.write):
            m.d.sync += self.word.eq(Mux(word_ends, 0, self.word + 1))
            with m.If(word_ends):
                m.d.sync += self.head.eq(Mux(head_ends, 0, self.head + 1))
        return m

    def _gather(self, m: Module, codes: Value) -> None:
        """Several beats are a word: all but the last wait in a register."""
        parts = self._lanes // self._beat_lanes
        part, before = Signal(range(parts)), Signal((parts - 1) * len(codes), reset_less=True)
        ends = part == parts - 1
        taken = self.x.valid & self.enable
        m.d.comb += [self.x.ready.eq(self.enable), self.write.eq(taken & ends), self.codes.eq(Cat(before, codes))]
        with m.If(taken):
            m.d.sync += [part.eq(Mux(ends, 0, part + 1)), before.eq(Cat(before, codes)[len(codes) :])]

    def _split(self, m: Module, codes: Value) -> None:
        """A beat is a word or several: it leaves with the last one."""
        parts = self._beat_lanes // self._lanes
        part = Signal(range(max(2, parts)))
        ends = part == parts - 1
        m.d.comb += [
            self.write.eq(self.x.valid & self.enable),
            self.x.ready.eq(self.enable & ends),
            self.codes.eq(codes.word_select(part, len(self.codes)) if parts > 1 else codes),
        ]
        with m.If(self.write):
            m.d.sync += part.eq(Mux(ends, 0, part + 1))
