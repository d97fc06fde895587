"""Rotary position embedding on a stream of head vectors; the definition is `mxhw.arithmetic.functions.rope`.

The two elements of a pair arrive ``span`` beats apart (half a vector, or 1 where pairs are interleaved), so groups of
``2 * span`` elements fill one half of a buffer while the group before leaves the other: ``4 * span`` words in all.
"""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic.functions.rope import Pairing, RopeSpec
from mxhw.rtl_templates.checks import require_natural
from mxhw.rtl_templates.memory import Ram, Rom
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "Rope"]


class Rope(wiring.Component):
    """Turns head vectors by the angles of their position, one element a cycle, nothing rounded.

    Without stalls, n vectors take ``n * head_dim + 2 * span + 3`` cycles, first beat in to last beat out, both counted.

    Parameters
    ----------
    spec : RopeSpec
        Table, pairing and widths.
    heads : int
        Vectors in a row that share one position: all heads of a token.

    Members
    -------
    x : In(stream.Signature(signed(spec.input_bits)))
        Elements of vectors, ``head_dim`` beats each. Ready depends on registers only.
    position : In(stream.Signature(range(spec.positions)))
        One beat for every ``heads`` vectors, below ``spec.positions``; taken with the last element that needs it.
    y : Out(stream.Signature(signed(spec.output_bits)))
        Turned elements in the order of x. The payload is stable while valid and not ready; valid does not wait for
        ready.
    """

    def __init__(self, *, spec: RopeSpec, heads: int = 1) -> None:
        require_natural("heads", heads)
        self.spec, self._heads = spec, heads
        super().__init__(
            {
                "x": In(stream.Signature(signed(spec.input_bits))),
                "position": In(stream.Signature(range(max(2, spec.positions)))),
                "y": Out(stream.Signature(signed(spec.output_bits))),
            }
        )

    def table_words(self) -> list[int]:
        """Words of the table memory: cosine below sine, two's complement, pair by pair within a position."""
        bits = self.spec.table_bits
        mask = (1 << bits) - 1
        pairs = zip(self.spec.cosine.flatten().tolist(), self.spec.sine.flatten().tolist(), strict=True)
        return [(sine & mask) << bits | cosine & mask for cosine, sine in pairs]

    def elaborate(self, platform: Any) -> Module:
        spec, m = self.spec, Module()
        words = spec.positions * spec.pairs
        m.submodules.table = table = Rom(
            width=2 * spec.table_bits, depth=words, file="rope.hex", init=self.table_words()
        )
        offset_bits = max(1, (spec.span - 1).bit_length())
        m.submodules.firsts = firsts = Ram(width=spec.input_bits, depth=2 << offset_bits)
        m.submodules.seconds = seconds = Ram(width=spec.input_bits, depth=2 << offset_bits)

        full, filling, draining = Signal(2), Signal(), Signal()
        self._fill(m, firsts, seconds, full, filling)

        advance, issue = Signal(), Signal()
        m.d.comb += advance.eq(~self.y.valid | self.y.ready)
        m.d.comb += issue.eq(advance & full.bit_select(draining, 1) & self.position.valid)
        offset, second, pair = self._walk(m, issue, full, draining)
        m.d.comb += table.address.eq(self.position.payload * spec.pairs + pair)
        for words in (firsts, seconds):
            m.d.comb += words.address.eq(Cat(offset[:offset_bits], draining))
        for memory in (table, firsts, seconds):
            m.d.comb += memory.enable.eq(advance)

        a, b = firsts.data.as_signed(), seconds.data.as_signed()
        cosine, sine = (table.data.word_select(i, spec.table_bits).as_signed() for i in range(2))
        product = signed(spec.input_bits + spec.table_bits)
        own, other = Signal(product, reset_less=True), Signal(product, reset_less=True)
        read, read_second, multiplied, multiplied_second = Signal(), Signal(), Signal(), Signal()
        with m.If(advance):
            m.d.sync += [
                *(read.eq(issue), read_second.eq(second)),
                *(multiplied.eq(read), multiplied_second.eq(read_second)),
                own.eq(Mux(read_second, b, a) * cosine),
                other.eq(Mux(read_second, a, b) * sine),
                self.y.valid.eq(multiplied),
                self.y.payload.eq(Mux(multiplied_second, own + other, own - other)),
            ]
        return m

    def _fill(self, m: Module, firsts: Ram, seconds: Ram, full: Signal, filling: Signal) -> None:
        """Write elements into half ``filling``: ``span`` first ones of pairs, then ``span`` second ones."""
        span = self.spec.span
        offset, second = Signal(range(max(2, span))), Signal()
        m.d.comb += self.x.ready.eq(~full.bit_select(filling, 1))
        taken = self.x.valid & self.x.ready
        for words, chosen in ((firsts, ~second), (seconds, second)):
            m.d.comb += [
                words.write.eq(taken & chosen),
                words.write_address.eq(Cat(offset, filling)),
                words.write_data.eq(self.x.payload),
            ]
        with m.If(taken):
            m.d.sync += offset.eq(offset + 1)
            with m.If(offset == span - 1):
                m.d.sync += [offset.eq(0), second.eq(~second)]
                with m.If(second):
                    m.d.sync += [filling.eq(~filling), full.bit_select(filling, 1).eq(1)]

    def _walk(self, m: Module, issue: Signal, full: Signal, draining: Signal) -> tuple[Signal, Signal, Signal]:
        """Count the elements that leave; return offset in the group, whether second of its pair, and pair."""
        span, groups = self.spec.span, self.spec.pairs // self.spec.span
        offset, second = Signal(range(max(2, span))), Signal()
        base, pair = Signal(range(max(2, self.spec.pairs))), Signal(range(max(2, self.spec.pairs)))
        head = Signal(range(max(2, self._heads)))
        m.d.comb += pair.eq(base + offset)
        group_ends = second & (offset == span - 1)
        vector_ends = group_ends & (base == (groups - 1) * span)
        token_ends = vector_ends & (head == self._heads - 1)
        m.d.comb += self.position.ready.eq(issue & token_ends)
        with m.If(issue):
            m.d.sync += offset.eq(offset + 1)
            with m.If(offset == span - 1):
                m.d.sync += [offset.eq(0), second.eq(~second)]
            with m.If(group_ends):
                m.d.sync += [draining.eq(~draining), full.bit_select(draining, 1).eq(0), base.eq(base + span)]
            with m.If(vector_ends):
                m.d.sync += [base.eq(0), head.eq(Mux(token_ends, 0, head + 1))]
        return offset, second, pair


def _build(
    *,
    head_dim: int = 64,
    positions: int = 64,
    heads: int = 1,
    pairing: Pairing = "half",
    input_bits: int = 16,
    fraction_bits: int = 14,
) -> Rope:
    spec = RopeSpec(
        head_dim=head_dim, positions=positions, pairing=pairing, input_bits=input_bits, fraction_bits=fraction_bits
    )
    return Rope(spec=spec, heads=heads)


TEMPLATE = UnitTemplate(
    name="rope",
    kind="function",
    description="rotary position embedding of head vectors",
    build=_build,
    choices={"pairing": ("half", "interleaved")},
)
