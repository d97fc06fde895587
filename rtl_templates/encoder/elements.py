"""An element of a block with a power-of-two scale, from its normalised magnitude: small float, or integer.

Magnitudes of a block come shifted by one amount, so that the largest has its leading one at the highest of 16 bits.
Every bit is defined by :mod:`mxhw.arithmetic.online_scaled`; rounding is at a fixed place.
"""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic.online_scaled import FloatElementSteps, IntegerRounding
from mxhw.rtl_templates.checks import require
from mxhw.rtl_templates.integer import leading_one, round_shift, saturate

__all__ = ["NORMAL_BITS", "FloatElement", "IntegerElement", "require_integer_element"]

NORMAL_BITS = 16
INTEGER_BITS = range(2, NORMAL_BITS + 1)


class FloatElement(wiring.Component):
    """Rounds to a small float, nearest even, with gradual underflow, saturating. Combinational, one per lane.

    Parameters
    ----------
    bits : int
        Width of a code.
    steps : FloatElementSteps
        Where the element type cuts.

    Attributes
    ----------
    kind : str
        Equal for equal parameters: what :func:`mxhw.rtl_templates.place.place` shares by.

    Members
    -------
    normal : In(16)
    sign : In(1)
    code : Out(bits)
        Sign, exponent, mantissa; the sign of zero is kept.
    """

    def __init__(self, *, bits: int, steps: FloatElementSteps) -> None:
        self._steps = steps
        self.kind = f"float{bits}_{steps.mantissa}"
        super().__init__({"normal": In(NORMAL_BITS), "sign": In(1), "code": Out(bits)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        steps, top = self._steps, NORMAL_BITS - 1
        place = leading_one(self.normal[steps.lowest :])
        # The last kept bit goes to the top of a word, whatever the element's own exponent is.
        aligned = Signal(NORMAL_BITS + steps.mantissa)
        m.d.comb += aligned.eq((self.normal << steps.mantissa) << (top - steps.lowest - place)[:4])
        rounded = _round_even(aligned, top)
        # A carry out of the mantissa is the next exponent.
        code = Signal(len(self.code) + 1)
        m.d.comb += [
            code.eq(((place + steps.field) << steps.mantissa) + rounded),
            self.code.eq(Cat(self._finite(code), self.sign)),
        ]
        return m

    def _finite(self, code: Value) -> Value:
        """Saturate; zero has no leading one that its exponent could come from."""
        largest = self._steps.largest
        return Mux(self.normal.any(), Mux(code > largest, largest, code), 0)[: len(self.code) - 1]


class IntegerElement(wiring.Component):
    """Rounds to a symmetric integer, saturating. Combinational, one per lane.

    Parameters
    ----------
    bits : int
        Width of a code, 2 to 16.
    rounding : "half_even" or "half_up"

    Attributes
    ----------
    kind : str
        As in :class:`FloatElement`.

    Members
    -------
    normal : In(16)
    sign : In(1)
    code : Out(signed(bits))

    Raises
    ------
    InputError
        For another width or rounding.
    """

    def __init__(self, *, bits: int, rounding: IntegerRounding = "half_even") -> None:
        require_integer_element(bits, rounding)
        self._bits, self._rounding = bits, rounding
        self.kind = f"integer{bits}_{rounding}"
        super().__init__({"normal": In(NORMAL_BITS), "sign": In(1), "code": Out(signed(bits))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        shift = NORMAL_BITS - 1 - (self._bits - 2)
        if self._rounding == "half_up":
            value = Signal(signed(NORMAL_BITS + 1))
            m.d.comb += value.eq(Mux(self.sign, -self.normal, self.normal))
            levels = round_shift(value, shift)
            clamped = Signal(signed(len(levels)))
            m.d.comb += [clamped.eq(levels), self.code.eq(saturate(clamped, self._bits))]
            return m
        largest, levels = (1 << self._bits - 1) - 1, Signal(self._bits)
        m.d.comb += levels.eq(_round_even(self.normal, shift))
        size = Mux(levels > largest, largest, levels)[: self._bits - 1]
        m.d.comb += self.code.eq(Mux(self.sign, -size, size))
        return m


def require_integer_element(bits: object, rounding: object) -> None:
    """Raise InputError unless there is such an integer element."""
    require(bits in INTEGER_BITS, "bits", f"{INTEGER_BITS[0]} to {INTEGER_BITS[-1]}", bits)
    require(rounding in ("half_even", "half_up"), "rounding", "'half_even' or 'half_up'", rounding)


def _round_even(value: Value, shift: int) -> Value:
    """Return an unsigned value divided by ``2**shift``, at least 2, rounded to nearest even."""
    return (value + ((1 << shift - 1) - 1) + value[shift]) >> shift
