"""On-line quantizer to DialectFP4: a stream of values becomes codes with each block's dialect and exponent.

Source: BlockDialect (arXiv 2501.01144v5), section 3 and its two-stage selector; every bit is defined by
:func:`mxhw.arithmetic.online_dialect.encode_dialect`. Three passes over a block, in as many places of a pipeline: its
largest magnitude is found while it arrives, its q are counted while it moves from one double buffer to the next, and
its indices are made while it leaves.
"""

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic import signed_bits
from mxhw.arithmetic.online_dialect import FP16_LARGEST, DialectInput, dialect_int16_offset, smallest_position
from mxhw.rtl_templates.checks import require, require_lanes
from mxhw.rtl_templates.encoder.blocks import largest, magnitude, over_block, tree
from mxhw.rtl_templates.encoder.dialect_select import BIN_BITS, BeneficialRanges, DialectIndex, dialect_pair
from mxhw.rtl_templates.integer import leading_one
from mxhw.rtl_templates.place import place
from mxhw.rtl_templates.stream import BlockBuffer, Fifo
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "DialectEncoder"]

BLOCKS = (16, 32, 64)
VALUE_BITS = 16
_FIELDS = {"dialect": 4, "exponent": 5}
# Of FP16: mantissa bits; a stored exponent is the peak's exponent field less 2 (emax of E2M1).
_MANTISSA = 10
_EMAX = 2


class DialectEncoder(wiring.Component):
    """Encodes blocks along the stream. One beat a cycle.

    The first beat of a block leaves ``2 * block / lanes + 4`` cycles after its first beat came (both transfers, without
    stalls). A vector whose length is no multiple of the block is padded with zeros by the sender.

    Parameters
    ----------
    block : 16, 32 or 64
    lanes : int
        Elements of a beat; divides the block.
    source : "int16" or "fp16"
        Two's-complement mantissas, or FP16 patterns, of which Inf and NaN count as ±65504.
    exponent : int
        A mantissa counts units of ``2**exponent``, -28 to 3; 0 for FP16. What lies outside belongs to the scale that is
        applied after the GEMM.

    Members
    -------
    x : In(stream.Signature(data.ArrayLayout(16, lanes)))
        Ready depends on registers only.
    y : Out(stream.Signature(data.StructLayout({"codes": data.ArrayLayout(4, lanes), "dialect": 4, "exponent": 5})))
        Registers. The fields of a block are on each of its beats: a beat is the x beat of a DialectGemm of one row.

    Raises
    ------
    InputError
        For another block or source, lanes that do not divide the block, or an exponent out of its range.
    """

    def __init__(self, *, block: int = 32, lanes: int = 1, source: DialectInput = "int16", exponent: int = 0) -> None:
        require(block in BLOCKS, "block", "16, 32 or 64", block)
        require_lanes(lanes, block, "block")
        require(source in ("int16", "fp16"), "source", "'int16' or 'fp16'", source)
        require(source == "int16" or exponent == 0, "exponent", "0 for fp16", exponent)
        mantissas = _Int16(dialect_int16_offset(exponent), smallest_position(exponent))
        self._source = mantissas if source == "int16" else _Fp16()
        self._block, self._lanes = block, lanes
        value = signed(VALUE_BITS) if source == "int16" else unsigned(VALUE_BITS)
        self._coded = data.StructLayout({"codes": data.ArrayLayout(4, lanes), **_FIELDS})
        super().__init__(
            {
                "x": In(stream.Signature(data.ArrayLayout(value, lanes))),
                "y": Out(stream.Signature(self._coded)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        self._leave(m, self._count(m, self._bin(m, self._arrive(m)), platform), platform)
        return m

    def _arrive(self, m: Module) -> BlockBuffer:
        """First pass: the values wait for the largest magnitude of their block."""
        m.submodules.values = values = BlockBuffer(
            shape=VALUE_BITS * self._lanes, length=self._block // self._lanes, summary=VALUE_BITS
        )
        sizes = [self._source.magnitude(self.x.payload[i]) for i in range(self._lanes)]
        peak = over_block(m, values, tree(sizes, largest), largest, unsigned(VALUE_BITS))
        m.d.comb += [
            values.x.payload.eq(self.x.payload),
            values.x.valid.eq(self.x.valid),
            self.x.ready.eq(values.x.ready),
            values.summary.eq(peak),
        ]
        return values

    def _bin(self, m: Module, values: BlockBuffer) -> Fifo:
        """Scale by the shared exponent: a register of sign and q of each lane, and the block's exponent and pair."""
        bins = data.ArrayLayout(BIN_BITS + 1, self._lanes)
        m.submodules.binned = binned = Fifo(
            shape=data.StructLayout({"bins": bins, "exponent": _FIELDS["exponent"], "pair": 3}), depth=1
        )
        beat, peak = values.y.payload.beat, values.y.payload.summary
        exponent, scale = self._source.scale(m, peak)
        largest_bin = Signal(BIN_BITS)
        m.d.comb += [
            largest_bin.eq(self._source.bin(peak, scale)),
            binned.x.payload.exponent.eq(exponent),
            binned.x.payload.pair.eq(dialect_pair(largest_bin)),
            binned.x.valid.eq(values.y.valid),
            values.y.ready.eq(binned.x.ready),
        ]
        for i in range(self._lanes):
            value = beat.word_select(i, VALUE_BITS)
            q = self._source.bin(self._source.magnitude(value), scale)
            m.d.comb += binned.x.payload.bins[i].eq(Cat(q[:BIN_BITS], value[-1]))
        return binned

    def _count(self, m: Module, binned: Fifo, platform: Any) -> BlockBuffer:
        """Second pass: q wait in the second buffer while those in the two beneficial ranges are counted."""
        m.submodules.bins = waiting = BlockBuffer(
            shape=(BIN_BITS + 1) * self._lanes,
            length=self._block // self._lanes,
            summary=data.StructLayout(_FIELDS),
        )
        payload, votes = binned.y.payload, []
        for i in range(self._lanes):
            ranges = BeneficialRanges()
            place(m, "dialect_ranges", str(i), ranges, platform)
            m.d.comb += [ranges.q.eq(payload.bins[i][:BIN_BITS]), ranges.pair.eq(payload.pair)]
            votes.append(ranges.even.as_unsigned() - ranges.odd.as_unsigned())
        balance = over_block(m, waiting, tree(votes, _add), _add, signed(signed_bits(self._block)))
        m.d.comb += [
            waiting.x.payload.eq(payload.bins),
            waiting.x.valid.eq(binned.y.valid),
            binned.y.ready.eq(waiting.x.ready),
            waiting.summary.dialect.eq(Cat(balance < 0, payload.pair)),
            waiting.summary.exponent.eq(payload.exponent),
        ]
        return waiting

    def _leave(self, m: Module, waiting: BlockBuffer, platform: Any) -> None:
        """Third pass: codes, and the register that y is."""
        m.submodules.coded = coded = Fifo(shape=self._coded, depth=1)
        payload, target = waiting.y.payload, coded.x.payload
        for i in range(self._lanes):
            index = DialectIndex()
            place(m, "dialect_index", str(i), index, platform)
            value = payload.beat.word_select(i, BIN_BITS + 1)
            m.d.comb += [
                index.q.eq(value[:BIN_BITS]),
                index.dialect.eq(payload.summary.dialect),
                target.codes[i].eq(Cat(index.index, value[-1])),
            ]
        m.d.comb += [
            target.dialect.eq(payload.summary.dialect),
            target.exponent.eq(payload.summary.exponent),
            coded.x.valid.eq(waiting.y.valid),
            waiting.y.ready.eq(coded.x.ready),
        ]
        wiring.connect(m, coded.y, wiring.flipped(self.y))


def _add(a: Value, b: Value) -> Value:
    return a + b


@dataclass(frozen=True)
class _Int16:
    """Mantissas: q is the magnitude's five bits from the shared leading one on."""

    offset: int
    smallest: int

    def magnitude(self, value: Value) -> Value:
        return magnitude(value)

    def scale(self, m: Module, peak: Value) -> tuple[Value, Value]:
        """Return the stored exponent and the shared position."""
        position, exponent = Signal(4), Signal(_FIELDS["exponent"])
        m.d.comb += [
            position.eq(leading_one(peak | 1 << self.smallest)),
            exponent.eq(Mux(peak.any(), position + self.offset, 0)),
        ]
        return exponent, position

    def bin(self, size: Value, position: Value) -> Value:
        return ((size << BIN_BITS - 1) >> position)[:BIN_BITS]


@dataclass(frozen=True)
class _Fp16:
    """FP16 patterns, whose magnitudes are ordered as integers."""

    def magnitude(self, value: Value) -> Value:
        size = value[: VALUE_BITS - 1]
        return Mux(size > FP16_LARGEST, FP16_LARGEST, size)

    def scale(self, m: Module, peak: Value) -> tuple[Value, Value]:
        """Return the stored exponent twice: it is the scale."""
        exponent = Signal(_FIELDS["exponent"])
        field = peak[_MANTISSA : VALUE_BITS - 1]
        m.d.comb += exponent.eq(Mux(field > _EMAX, field - _EMAX, 0))
        return exponent, exponent

    def bin(self, size: Value, exponent: Value) -> Value:
        field = size[_MANTISSA : VALUE_BITS - 1]
        significand = Cat(size[:_MANTISSA], field.any())
        # No field exceeds the peak's, so that the amount is not negative.
        amount = (exponent + _EMAX - Mux(field.any(), field, 1))[: _FIELDS["exponent"] + 1]
        return significand[_MANTISSA + 1 - BIN_BITS :] >> amount


def _build(block: int = 32, lanes: int = 1, source: str = "int16", exponent: int = 0) -> DialectEncoder:
    return DialectEncoder(block=block, lanes=lanes, source=source, exponent=exponent)


TEMPLATE = UnitTemplate(
    name="dialect_encoder",
    kind="encoder",
    description="on-line quantizer of int16 or FP16 values to DialectFP4 blocks",
    build=_build,
    choices={"block": BLOCKS, "source": ("int16", "fp16")},
)
