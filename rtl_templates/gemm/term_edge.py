"""Edge of a bit-serial array: terms of this step for the PEs, and the group scales bit by bit."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Value
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic import SCALE_BITS
from mxhw.rtl_templates.decoder.bitmod_runtime import SELECTORS, RuntimeTermDecoder
from mxhw.rtl_templates.gemm.edge import Edge
from mxhw.rtl_templates.gemm.serial_scale import scale_bit
from mxhw.rtl_templates.place import place

__all__ = ["SELECTOR_BITS", "TermEdge"]

SELECTOR_BITS = (SELECTORS - 1).bit_length()
_FIELD_BITS = SCALE_BITS + SELECTOR_BITS


class TermEdge(Edge):
    """Decodes columns of ``lanes`` codes; see :class:`Edge`.

    Parameters
    ----------
    types : sequence of str
        The weight types to choose among.
    lanes, vectors : int
        Codes of a column, columns.
    shared : bool
        See :class:`Edge`.

    Members
    -------
    kind, step, specials : In
        As in :class:`RuntimeTermDecoder`.
    scales : In
        Per column 8 bits of multiplier, above them the selector.
    registered
        Stage 1: terms, and above them the significance.
    take : In(1)
        Stage 1 has the first step of a group, whose multipliers are at ``scales``.
    done : In(1)
        The group sums of the group before are complete.
    bits : Out(vectors)
        This cycle's bit of every scale.
    other_scales : In, use_other_scales : In(1)
        Present if ``shared``: in stage 1, take these multipliers instead.
    """

    def __init__(self, *, types: Sequence[str], lanes: int, vectors: int, shared: bool) -> None:
        self._types, self._lanes = tuple(types), lanes
        decoder = self._decoder()
        decoder._MustUse__silence = True  # Only its ports are read here.
        self.term_bits = len(Value.cast(decoder.terms))
        more: dict[str, Any] = {name: decoder.signature.members[name] for name in ("kind", "step", "specials")}
        more |= {"take": In(1), "done": In(1), "bits": Out(vectors)}
        if shared:
            more |= {"other_scales": In(vectors * _FIELD_BITS), "use_other_scales": In(1)}
        super().__init__(
            vectors=vectors,
            codes=len(Value.cast(decoder.codes)),
            scale=_FIELD_BITS,
            decoded=self.term_bits + len(decoder.significance),
            shared=shared,
            more=more,
        )

    def elaborate(self, platform: Any) -> Module:
        m = super().elaborate(platform)
        for vector in range(self.vectors):
            multiplier = self.scale(vector)[:SCALE_BITS]
            if self.shared:
                other = self.other_scales.word_select(vector, _FIELD_BITS)[:SCALE_BITS]
                multiplier = Mux(self.use_other_scales, other, multiplier)
            m.d.comb += self.bits[vector].eq(scale_bit(m, vector, self.advance, self.take, self.done, multiplier))
        return m

    def _decode(self, m: Module, vector: int, codes: Value, scale: Any, platform: Any) -> Value:
        decoder = self._decoder()
        place(m, "decoder", str(vector), decoder, platform)
        m.d.comb += [
            decoder.kind.eq(self.kind),
            decoder.step.eq(self.step),
            decoder.specials.eq(self.specials),
            decoder.codes.as_value().eq(codes),
            decoder.selector.eq(scale[SCALE_BITS:]),
        ]
        return Cat(decoder.terms, decoder.significance)

    def _decoder(self) -> RuntimeTermDecoder:
        return RuntimeTermDecoder(types=self._types, lanes=self._lanes)
