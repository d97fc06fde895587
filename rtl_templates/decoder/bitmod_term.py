"""Bit-serial term decoder: a stored weight code becomes one signed power of two per step.

Source: BitMoD (arXiv 2411.11745), bit-serial term generator. Integers: radix-4 Booth. FP4 and FP3: the
leading one of the magnitude above the fraction bit, then the leading one of what remains; basic values and special ones
are few, so that both are looked up. Which significance a step has is shared by all lanes and lies in the weight type.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic import Term, WeightType, weight_type_named, weight_types
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "BitModTermDecoder", "SerialTerm", "drive_float_term"]


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
        Which term, 0 first. Steps that the type lacks have no term.
    term : Out(SerialTerm)
        Valid in the same cycle; an absent term is all zero.
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
        return self._float() if self.weight_type.magnitudes else self._booth()

    def _booth(self) -> Module:
        """Recode bits 2s+1, 2s, 2s-1 of the sign-extended code into a digit of -2..2."""
        m = Module()
        steps = len(self.weight_type.significances)
        extended = Signal(signed(2 * steps))
        m.d.comb += extended.eq(self.code.as_signed())
        padded = Cat(Const(0, 1), extended)
        absent = [Const(0, 3)] * ((1 << len(self.step)) - steps)
        digits = Array([*(padded[2 * s : 2 * s + 3] for s in range(steps)), *absent])
        digit = Signal(3)
        m.d.comb += [
            digit.eq(digits[self.step]),
            self.term.sign.eq(digit[2] & ~(digit[1] & digit[0])),
            self.term.exponent.eq((digit == 0b011) | (digit == 0b100)),
            self.term.mantissa.eq((digit != 0b000) & (digit != 0b111)),
        ]
        return m

    def _float(self) -> Module:
        """Look the term of this step up."""
        m = Module()
        kind = self.weight_type
        with m.Switch(self.step):
            for step in range(kind.steps):
                with m.Case(step):
                    drive_float_term(m, self.term, kind, self.code, self.selector, partial(_term_in, kind, step))
            with m.Default():
                m.d.comb += self.term.as_value().eq(0)
        return m


def _term_in(kind: WeightType, step: int, code: int, selector: int) -> Term:
    return kind.term(code, step, selector)


def drive_float_term(
    m: Module,
    term: Any,
    kind: WeightType,
    code: Value,
    selector: Value,
    choose: Callable[[int, int], Term | None],
) -> None:
    """Drive ``term`` with ``choose(code, selector)``; zero where that is None or absent.

    Basic values are looked up by their index alone and take the sign of the code; minus zero by the selector.
    """

    def drive(found: Term | None, sign: Value | int) -> None:
        if found is None or not found.mantissa:
            m.d.comb += term.as_value().eq(0)
        else:
            m.d.comb += [term.mantissa.eq(1), term.exponent.eq(found.exponent), term.sign.eq(sign)]

    with m.If(code == kind.special_code), m.Switch(selector):
        for selected in range(len(kind.special_values)):
            with m.Case(selected):
                found = choose(1 << kind.code_bits - 1, selected)
                drive(found, found.sign if found is not None else 0)
    with m.Else(), m.Switch(code[:-1]):
        for index in range(len(kind.magnitudes)):
            with m.Case(index):
                if not kind.selector_significances:
                    drive(choose(index, 0), code[-1])
                    continue
                with m.Switch(selector):
                    for selectors in _alike(kind.selector_significances):
                        with m.Case(*selectors):
                            drive(choose(index, selectors[0]), code[-1])


def _alike(significances: Sequence[int]) -> list[list[int]]:
    """The selectors, those with the same significance together."""
    return [[s for s, value in enumerate(significances) if value == each] for each in dict.fromkeys(significances)]


def _build(*, weight_type: str = "fp4") -> BitModTermDecoder:
    return BitModTermDecoder(weight_type=weight_type_named(weight_type))


TEMPLATE = UnitTemplate(
    name="bitmod_term_decoder",
    kind="decoder",
    description="BitMoD: a weight code of one type becomes a signed power of two per step",
    build=_build,
    choices={"weight_type": tuple(weight_types())},
)
