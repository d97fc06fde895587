"""Bit-serial term decoder: a stored weight code becomes one signed power of two per step.

Source: BitMoD (arXiv 2411.11745), bit-serial term generator. Integers: radix-4 Booth. FP4 and FP3: leading one of the
fixed-point magnitude above the fraction bit, then leading one of what remains. Which significance a step has is shared
by all lanes and lies in the weight type, not here.
"""

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic import WeightType
from mxhw.rtl_templates.integer import only_leading_one

__all__ = ["BitModTermDecoder", "SerialTerm"]


class SerialTerm(data.Struct):
    """A term: ``(-1)**sign * mantissa * 2**exponent``.

    Members
    -------
    mantissa : unsigned(1)
        0 for an absent term: the step is idle.
    exponent : unsigned(2)
        0 or 1 for Booth digits, 0 to 3 for leading ones.
    sign : unsigned(1)
        1 for negative.
    """

    mantissa: unsigned(1)
    exponent: unsigned(2)
    sign: unsigned(1)


class BitModTermDecoder(wiring.Component):
    """Combinational decoder, one per column and lane at the edge of an array.

    Parameters
    ----------
    weight_type : WeightType
        What codes mean; its tables are the format's own.

    Members
    -------
    code : In(weight_type.code_bits)
        Two's complement, or sign above index; minus zero means the special value.
    selector : In(2)
        The group's choice among the special values; ignored by integer types.
    step : In(n)
        Which term, 0 first; constant width that counts the steps.
    term : Out(SerialTerm)
        Valid in the same cycle.
    """

    def __init__(self, *, weight_type: WeightType) -> None:
        self.weight_type = weight_type
        steps = len(weight_type.significances)
        super().__init__(
            {
                "code": In(weight_type.code_bits),
                "selector": In(2),
                "step": In(range(max(2, steps))),
                "term": Out(SerialTerm),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        return self._leading_one() if self.weight_type.magnitudes else self._booth()

    def _booth(self) -> Module:
        """Recode bits 2s+1, 2s, 2s-1 of the sign-extended code into a digit of -2..2."""
        m = Module()
        steps = len(self.weight_type.significances)
        extended = Signal(signed(2 * steps))
        m.d.comb += extended.eq(self.code.as_signed())
        padded = Cat(Const(0, 1), extended)
        digits = Array(padded[2 * s : 2 * s + 3] for s in range(steps))
        digit = Signal(3)
        m.d.comb += [
            digit.eq(digits[self.step]),
            self.term.sign.eq(digit[2]),
            self.term.exponent.eq((digit == 0b011) | (digit == 0b100)),
            self.term.mantissa.eq((digit != 0b000) & (digit != 0b111)),
        ]
        return m

    def _leading_one(self) -> Module:
        """Look the magnitude up, mask the first leading one in step 1, encode the leading one of the window."""
        m = Module()
        kind = self.weight_type
        bits = kind.largest.bit_length()
        fraction = kind.significances[0]
        special = Array(Const(v, signed(bits + 1)) for v in kind.special_values)
        table = Array(Const(v, bits) for v in kind.magnitudes)
        minus_zero = self.code == kind.special_code
        special_value = Signal(signed(bits + 1))
        magnitude = Signal(bits)
        m.d.comb += [
            special_value.eq(special[self.selector]),
            self.term.sign.eq(Mux(minus_zero, special_value < 0, self.code[-1])),
            magnitude.eq(Mux(minus_zero, abs(special_value), table[self.code[:-1]])),
        ]
        upper = magnitude[fraction:]
        found = Signal(len(upper))
        window = Signal(max(len(upper), bits - 1))
        m.d.comb += [
            found.eq(only_leading_one(upper)),
            window.eq(Mux(self.step, magnitude & ~(found << fraction), upper)),
            self.term.mantissa.eq(window.any()),
        ]
        for position in range(len(window)):
            with m.If(window[position]):
                m.d.comb += self.term.exponent.eq(position)
        return m
