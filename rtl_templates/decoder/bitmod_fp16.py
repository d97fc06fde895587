"""FP16 at the edge of an array: a stored number becomes sign, exponent and significand, once for a whole row of PEs.

Definition: `mxhw.arithmetic.bitmod_pe.fp16_operands`. Subnormals are kept (exponent 1, no hidden bit); Inf and NaN
become the largest finite number of their sign, so that no exponent leaves the range that accumulators are sized for.
"""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic.bitmod_pe import FP16_EXPONENT_LARGEST, FP16_SIGNIFICAND_BITS
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "Fp16Decoder", "Fp16Operand"]

_FRACTION_BITS = FP16_SIGNIFICAND_BITS - 1
_FIELD_BITS = 5


class Fp16Operand(data.Struct):
    """An activation: ``(-1)**sign * significand * 2**(exponent - 25)``.

    Members
    -------
    significand : unsigned(11)
        With the hidden bit.
    exponent : unsigned(5)
        1 to 30.
    sign : unsigned(1)
        1 for negative.
    """

    significand: unsigned(FP16_SIGNIFICAND_BITS)
    exponent: unsigned(_FIELD_BITS)
    sign: unsigned(1)


class Fp16Decoder(wiring.Component):
    """Combinational decoder, one per row and lane at the edge of an array.

    Members
    -------
    code : In(16)
        IEEE binary16.
    operand : Out(Fp16Operand)
        Valid in the same cycle.
    """

    code: In(16)
    operand: Out(Fp16Operand)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        fraction, field = self.code[:_FRACTION_BITS], self.code[_FRACTION_BITS:-1]
        special, normal = field.all(), field.any()
        m.d.comb += [
            self.operand.sign.eq(self.code[-1]),
            self.operand.exponent.eq(Mux(special, FP16_EXPONENT_LARGEST, Cat(field[0] | ~normal, field[1:]))),
            self.operand.significand.eq(Cat(fraction | special.replicate(_FRACTION_BITS), normal)),
        ]
        return m


def _build() -> Fp16Decoder:
    return Fp16Decoder()


TEMPLATE = UnitTemplate(
    name="bitmod_fp16_decoder",
    kind="decoder",
    description="FP16 becomes sign, exponent and significand for a row of BitMoD PEs",
    build=_build,
)
