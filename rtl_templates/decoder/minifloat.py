"""Decoder of small floats: a code becomes a sign, a significand and a shift, subnormals included.

Source: element types of OCP Microscaling v1.0 (FP4 E2M1, FP6 E2M3 and E3M2, FP8 E4M3 and E5M2).

    code = sign, exponent, mantissa
    integer = (-1)**sign * significand << shift         in units of the smallest subnormal

The hidden one is set unless the exponent is 0, and the shift is the exponent less that one. MX elements saturate, so
codes of Inf and NaN do not occur; they are read like any other pattern (:func:`mxhw.arithmetic.decode_element`).
"""

from typing import Any

from amaranth.hdl import Cat, Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic import BlockElement, block_element, block_elements
from mxhw.rtl_templates.checks import require
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "MinifloatDecoder", "float_elements", "minifloat_operand"]


def float_elements() -> tuple[str, ...]:
    """Return the names of the elements that are small floats."""
    return tuple(name for name, element in block_elements().items() if element.kind == "float")


def minifloat_operand(element: BlockElement) -> data.StructLayout:
    """Return the layout of a decoded float: ``significand``, ``shift`` and ``sign``, from the lowest bit up."""
    return data.StructLayout({"significand": element.significand_bits, "shift": element.shift_bits, "sign": 1})


class MinifloatDecoder(wiring.Component):
    """Combinational decoder, one per operand lane at the edge of an array.

    Parameters
    ----------
    element : str
        Name of the element: mxfp4, mxfp6-e2m3, mxfp6-e3m2, mxfp8-e4m3 or mxfp8-e5m2.

    Members
    -------
    code : In(element.code_bits)
        Sign above exponent above mantissa.
    operand : Out(minifloat_operand(element))
        Valid in the same cycle.

    Raises
    ------
    InputError
        If the element is unknown or no small float.
    """

    def __init__(self, *, element: str = "mxfp4") -> None:
        require(element in float_elements(), "element", f"one of {', '.join(float_elements())}", element)
        self.element = block_element(element)
        super().__init__({"code": In(self.element.code_bits), "operand": Out(minifloat_operand(self.element))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        mantissa = self.code[: self.element.mantissa_bits]
        exponent = self.code[self.element.mantissa_bits : -1]
        normal = exponent.any()
        m.d.comb += [
            self.operand.significand.eq(Cat(mantissa, normal)),
            self.operand.shift.eq(exponent - normal),
            self.operand.sign.eq(self.code[-1]),
        ]
        return m


def _build(element: str = "mxfp4") -> MinifloatDecoder:
    return MinifloatDecoder(element=element)


TEMPLATE = UnitTemplate(
    name="minifloat_decoder",
    kind="decoder",
    description="MX float code to sign, significand and shift; one at the edge of an array",
    build=_build,
    choices={"element": float_elements()},
)
