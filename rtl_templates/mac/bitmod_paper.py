"""The paper's way through a BitMoD PE on FP16: lanes aligned to the largest exponent, a 15-bit group sum.

Definition, bit for bit: `mxhw.arithmetic.bitmod_pe`, steps 1 to 3. Logic of :class:`BitModPE`, not components.

What saves logic and changes no bit: the shift of the dot product by its significance and the one that aligns it with
the group sum are one right shift; one comparison of exponents yields both shift amounts, for ``a - b`` is the
complement of ``b - a - 1``; the start of a group only forces that comparison and the zero that a far shift leaves.
"""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed

from mxhw.arithmetic.bitmod_pe import ALIGNED_BITS, EXPONENT_BITS, GUARD_BITS, MANTISSA_BITS, Fp16Widths
from mxhw.rtl_templates.integer import leading_one

__all__ = ["aligned_dot", "aligned_sum"]


def aligned_dot(m: Module, x: Any, terms: Any, widths: Fp16Widths) -> tuple[Signal, Signal]:
    """Return the sum of the lanes and the exponent that they are aligned to."""
    exponents = []
    for lane in range(len(x)):
        exponent = Signal(EXPONENT_BITS, name=f"exponent_{lane}")
        m.d.comb += exponent.eq(x[lane].exponent + terms[lane].exponent)
        exponents.append(exponent)
    top = _largest(m, exponents)
    total: Value | None = None
    for lane, exponent in enumerate(exponents):
        shift = Signal(EXPONENT_BITS, name=f"shift_{lane}")
        aligned = Signal(ALIGNED_BITS, name=f"aligned_{lane}")
        product = Signal(signed(widths.product), name=f"product_{lane}")
        near = ALIGNED_BITS.bit_length()
        negative = x[lane].sign ^ terms[lane].sign
        present = terms[lane].mantissa & ~shift[near:].any()
        m.d.comb += [
            shift.eq(top - exponent),
            aligned.eq(Mux(present, Cat(Const(0, GUARD_BITS), x[lane].significand) >> shift[:near], 0)),
            product.eq(Cat(aligned ^ negative.replicate(ALIGNED_BITS), negative).as_signed()),
        ]
        part = product + negative
        total = part if total is None else total + part
    dot = Signal(signed(widths.dot), name="dot")
    m.d.comb += dot.eq(total)
    return dot, top


def _largest(m: Module, values: list[Signal]) -> Signal:
    """Return the largest value: a tree of comparisons."""
    while len(values) > 1:
        pairs = []
        for a, b in zip(values[::2], values[1::2], strict=False):
            larger = Signal.like(a, name=f"top_{len(values)}_{len(pairs)}")
            m.d.comb += larger.eq(Mux(a >= b, a, b))
            pairs.append(larger)
        values = [*pairs, *values[len(values) & ~1 :]]
    return values[0]


def aligned_sum(
    m: Module, dot: Value, top: Value, significance: Value | None, first: Value, update: Value, widths: Fp16Widths
) -> tuple[Signal, Signal]:
    """Add a step to the group sum while ``update``; return the registers of its mantissa and exponent."""
    mantissa = Signal(signed(MANTISSA_BITS), reset_less=True)
    exponent = Signal(EXPONENT_BITS, reset_less=True)
    ahead = Signal(EXPONENT_BITS + 1)
    rises, common = Signal(), Signal(EXPONENT_BITS)
    m.d.comb += [
        # top - exponent - 1 and, above it, a borrow; its complement is exponent - top.
        ahead.eq(top + ~exponent),
        rises.eq(first | ahead[-1]),
        common.eq(Mux(rises, top, exponent)),
    ]
    total = Signal(signed(widths.sum))
    m.d.comb += total.eq(
        _kept(m, mantissa, ahead, first, rises) + _incoming(m, dot, significance, ahead, rises, widths)
    )
    # Bits at and above the mantissa's own sign that differ from the sign of the sum: the highest one tells the excess.
    wide = Signal(widths.sum - MANTISSA_BITS + 1)
    excess = Signal(range(widths.sum - MANTISSA_BITS + 1))
    m.d.comb += [
        wide.eq(Cat(Const(1, 1), total[MANTISSA_BITS - 1 : -1] ^ total[-1].replicate(widths.sum - MANTISSA_BITS))),
        excess.eq(leading_one(wide)),
    ]
    with m.If(update):
        m.d.sync += [mantissa.eq(total >> excess), exponent.eq(common + excess)]
    return mantissa, exponent


def _kept(m: Module, mantissa: Value, ahead: Value, first: Value, rises: Value) -> Value:
    """The group sum, shifted right by ``top - exponent`` if that is positive; 0 where a group starts."""
    near = (MANTISSA_BITS - 2).bit_length()
    shift = Signal(near)
    lost = Signal()
    m.d.comb += [
        shift.eq(Mux(rises, ahead[:near] + 1, 0)),
        lost.eq(first | rises & (ahead[:-1] >= MANTISSA_BITS - 2)),
    ]
    return Mux(lost, 0, mantissa >> shift).as_signed()


def _incoming(
    m: Module, dot: Value, significance: Value | None, ahead: Value, rises: Value, widths: Fp16Widths
) -> Value:
    """The dot product times 2**significance, shifted right by ``exponent - top`` if that is positive."""
    behind = ~ahead[:EXPONENT_BITS] & (~rises).replicate(EXPONENT_BITS)
    frame = 0 if significance is None else (1 << len(significance)) - 1
    # In a frame that has room below for the largest significance, the shift is larger by frame - significance.
    amount = Signal(EXPONENT_BITS)
    m.d.comb += amount.eq(behind if significance is None else behind + ~significance)
    framed = Cat(Const(0, frame), dot).as_signed()
    near = (len(framed) - 1).bit_length()
    # Further than the frame is long, only the sign is left: the largest near amount leaves it as well.
    far = amount[near:].any()
    return (framed >> (amount[:near] | far.replicate(near)))[: widths.sum].as_signed()
