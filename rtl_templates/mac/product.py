"""Products of decoded operands, ready to be added: a two's-complement addend and the carry that completes it.

A negative product is the complement of its magnitude, and the missing one enters the adder that follows as its carry
in: no negation is ever computed. Decoded integers are two's complement already; their carry is constant zero.
"""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal, Value, ValueLike, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic import BlockElement, block_element
from mxhw.rtl_templates.checks import require
from mxhw.rtl_templates.decoder.dialect import DialectDecoder, SignMagnitude
from mxhw.rtl_templates.decoder.minifloat import MinifloatDecoder, minifloat_operand

__all__ = ["IntegerDecoder", "add_products", "edge_decoder", "only_if", "operand_shape", "product"]


class IntegerDecoder(wiring.Component):
    """The decoder of integers: wires.

    Parameters
    ----------
    element : str
        mxint2..mxint8 or int2..int8.

    Members
    -------
    code : In(width)
        Two's complement.
    operand : Out(signed(width))
        The same bits.
    """

    def __init__(self, *, element: str = "mxint8") -> None:
        kind = block_element(element)
        require(kind.kind == "integer", "element", "mxint2..mxint8 or int2..int8", element)
        super().__init__({"code": In(kind.code_bits), "operand": Out(signed(kind.code_bits))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.d.comb += self.operand.eq(self.code)
        return m


def edge_decoder(element: str) -> DialectDecoder | MinifloatDecoder | IntegerDecoder:
    """Return a new decoder for one lane of an array.

    Its members are ``code``, ``operand`` of :func:`operand_shape`, and ``dialect`` if the element has selector bits.
    """
    kind = block_element(element).kind
    if kind == "dialect":
        return DialectDecoder()
    return MinifloatDecoder(element=element) if kind == "float" else IntegerDecoder(element=element)


def operand_shape(element: str) -> Any:
    """Return the shape of a decoded operand."""
    kind = block_element(element)
    if kind.kind == "dialect":
        return SignMagnitude
    return minifloat_operand(kind) if kind.kind == "float" else signed(kind.code_bits)


def product(m: Module, element: BlockElement, x: Any, w: Any, name: str) -> tuple[Value, Value]:
    """Return addend and carry, whose sum is the exact product of two operands, in units of the smallest product."""
    if element.kind == "integer":
        value = Signal(signed(2 * element.code_bits), name=f"product_{name}")
        m.d.comb += value.eq(x * w)
        return value, Const(0, 1)
    magnitude = _magnitude(m, element, x, w, name)
    negative = Signal(name=f"negative_{name}")
    value = Signal(signed(len(magnitude) + 1), name=f"product_{name}")
    m.d.comb += [negative.eq(x.sign ^ w.sign), value.eq(magnitude ^ negative.replicate(len(value)))]
    return value, negative


def only_if(enable: Value, addend: tuple[Value, Value]) -> tuple[Value, Value]:
    """Return a product of :func:`product`, or zero while ``enable`` is low.

    Adding zero holds a sum with an AND a bit of the product, which is less than a multiplexer a bit of the sum.
    """
    value, carry = addend
    return value & enable.replicate(len(value)).as_signed(), carry & enable


def add_products(m: Module, start: ValueLike, products: list[tuple[Value, Value]], width: int) -> Value:
    """Return ``start`` plus all products, modulo ``2**width``; the first product's carry is the adder's carry in."""
    (first, carry), *others = products
    total: Value = first.as_signed()
    for addend, other_carry in others:
        total = total + (addend + other_carry)
    start, total = Value.cast(start), total[:width]
    # Bits above the addend's sign only count up, or down if it is negative: up in the complement. That is an increment
    # where a sign extension would be an addition. The bit at the low end adds the carry in within the same addition.
    below = len(total) - 1
    negative = total[-1]
    low = Signal(below + 2, name="low_sum")
    high = Signal(width - below, name="high_sum")
    inverted = negative.replicate(width - below)
    m.d.comb += [
        low.eq(Cat(carry, start[:below]) + Cat(carry, total[:below])),
        high.eq((start[below:] ^ inverted) + (low[-1] ^ negative)),
    ]
    return Cat(low[1:-1], high ^ inverted).as_signed()


def _magnitude(m: Module, element: BlockElement, x: Any, w: Any, name: str) -> Value:
    if element.kind == "dialect":
        bits = 2 * element.significand_bits
        magnitude = Signal(bits, name=f"magnitude_{name}")
        m.d.comb += magnitude.eq(_from_halves(x.magnitude, w.magnitude))
        return magnitude
    # Codes of Inf and NaN shift one further than any that occurs.
    furthest = (1 << element.code_bits - element.significand_bits) - 2
    significand = Signal(2 * element.significand_bits, name=f"significand_{name}")
    magnitude = Signal(unsigned(2 * (element.significand_bits + furthest)), name=f"magnitude_{name}")
    m.d.comb += [significand.eq(x.significand * w.significand), magnitude.eq(significand << (x.shift + w.shift))]
    return magnitude


def _from_halves(x: Value, w: Value) -> Value:
    """Return the product of unsigned numbers from those of their halves: fewer cells than what yosys makes of ``*``."""
    at = len(x) // 2
    middle = x[at:] * w[:at] + x[:at] * w[at:]
    return Cat(x[:at] * w[:at], x[at:] * w[at:]) + (middle << at)
