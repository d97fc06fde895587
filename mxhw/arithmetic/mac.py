"""Block multiply-accumulate: what a decoder gives, what a product is, and the exact integer sum of a block.

An element of a block format is an integer times its block's scale: ``value = integer * 2**(stored - bias)``, where
``stored`` is the block's stored exponent. A decoder splits the integer into what a multiplier takes:

    integer = (-1)**sign * significand << shift
    product = (-1)**(sign_x ^ sign_w) * (significand_x * significand_w) << (shift_x + shift_w)

Products of a block are added as integers, and the sum is shifted once, by both blocks' exponents counted from the
lowest of their windows, into a wide accumulator. Everything is exact, so no order and no tiling changes a bit.

Values come from the formats: the table of DialectFP4 (BlockDialect, arXiv 2501.01144v5, Fig. 4) and the element types
of OCP Microscaling v1.0. MX elements saturate, so codes of Inf and NaN do not occur; decoders read them as the formats
do, as the numbers that the pattern would mean without specials (E4M3 0x7F is 480), and widths do not allow for them.
Nor do they for the most negative two's-complement code, which the symmetric formats leave unused. Not here: a scale
that is NaN, and exponents outside their window, which the encoder has to clamp.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from mxhw.arithmetic.exact import Limbs
from mxhw.errors import InputError, nearest
from mxhw.formats import (
    DIALECT_EXPONENT_BIAS,
    DIALECT_TABLE,
    DialectFormat,
    IntegerFormat,
    MXFloatFormat,
    MXIntFormat,
    parse_format,
)
from mxhw.formats.powers import E8M0_BIAS

__all__ = [
    "BlockElement",
    "Decoded",
    "accumulate",
    "block_element",
    "block_elements",
    "block_sums",
    "decode_element",
]

_LIMBS_LARGEST = 1 << 95


@dataclass(frozen=True)
class BlockElement:
    """How the elements of one format enter a multiplier.

    Attributes
    ----------
    name : of the format with its default block.
    kind : "dialect" (magnitudes of a block's table), "float" (sign, exponent, mantissa), "integer" (two's complement).
    code_bits, selector_bits : of a stored element, and of what a block stores to choose among tables.
    significand_bits : of the unsigned significand.
    largest_shift : of the significand, over all codes that encoders make.
    largest : magnitude of the integers that encoders make.
    bias : ``value = integer * 2**(stored - bias)``.
    largest_exponent : of the stored exponents that encoders make; they start at 0.
    """

    name: str
    kind: Literal["dialect", "float", "integer"]
    code_bits: int
    selector_bits: int
    significand_bits: int
    largest_shift: int
    largest: int
    bias: int
    largest_exponent: int

    @property
    def mantissa_bits(self) -> int:
        """Stored bits of a float's significand: all but the leading one, which its exponent implies."""
        return self.significand_bits - 1

    @property
    def shift_bits(self) -> int:
        """Bits of a shift; 0 where significands are not shifted."""
        return self.largest_shift.bit_length()


@dataclass(frozen=True)
class Decoded:
    """Decoded elements, int64 of one shape: ``(-1)**sign * significand << shift``."""

    sign: Tensor
    significand: Tensor
    shift: Tensor

    def integers(self) -> Tensor:
        """Return the integers, int64."""
        magnitude = self.significand << self.shift
        return torch.where(self.sign != 0, -magnitude, magnitude)


@cache
def block_elements() -> dict[str, BlockElement]:
    """Return the elements of every block format that has exact sums, by name."""
    floats = ("mxfp4", "mxfp6-e2m3", "mxfp6-e3m2", "mxfp8-e4m3", "mxfp8-e5m2")
    integers = tuple(f"{family}{width}" for family in ("mxint", "int") for width in range(2, 9))
    return {name: _element(name) for name in ("dialect4", *floats, *integers)}


def block_element(name: str) -> BlockElement:
    """Return the element of the format called ``name``; InputError with the nearest known name otherwise."""
    known = block_elements()
    if name not in known:
        raise InputError(f"element must be one of {', '.join(known)}, not {name!r}{nearest(str(name), known)}")
    return known[name]


def decode_element(element: str, codes: Tensor, dialect: Tensor | None = None) -> Decoded:
    """Return what a decoder gives for stored codes; ``dialect`` (broadcast) chooses the table of DialectFP4.

    Codes of integers are two's complement in any integer type; those of the others are unsigned bit patterns.
    """
    kind, codes = block_element(element), codes.to(torch.int64)
    zero = torch.zeros_like(codes)
    if kind.kind == "integer":
        pattern = codes & ((1 << kind.code_bits) - 1)
        negative = pattern >> (kind.code_bits - 1)
        return Decoded(negative, torch.where(negative != 0, (1 << kind.code_bits) - pattern, pattern), zero)
    sign, magnitude = codes >> (kind.code_bits - 1), codes & ((1 << (kind.code_bits - 1)) - 1)
    if kind.kind == "dialect":
        if dialect is None:
            raise InputError("codes of dialect4 mean nothing without the dialect of their block")
        table = torch.tensor(DIALECT_TABLE, device=codes.device)
        return Decoded(sign, table[dialect.to(torch.int64), magnitude], zero)
    exponent = magnitude >> kind.mantissa_bits
    normal = (exponent != 0).to(torch.int64)
    significand = (magnitude & ((1 << kind.mantissa_bits) - 1)) | (normal << kind.mantissa_bits)
    return Decoded(sign, significand, exponent - normal)


def block_sums(x: Decoded, w: Decoded) -> Limbs:
    """Return the exact sum of products over the last axis, which is one block."""
    product = x.significand * w.significand
    signed = torch.where((x.sign ^ w.sign) != 0, -product, product)
    return _total(Limbs.of(signed).shift(x.shift + w.shift))


def accumulate(
    sums: Limbs,
    x_exponent: Tensor,
    w_exponent: Tensor,
    x_exponents: tuple[int, int],
    w_exponents: tuple[int, int],
) -> Limbs:
    """Return the sum over the last axis of block sums, each shifted by its blocks' stored exponents.

    ``x_exponents`` and ``w_exponents`` are the windows, lowest and highest stored exponent; the unit of the result is
    ``2**(x_exponents[0] + w_exponents[0] - bias_x - bias_w)``. Raises InputError for an exponent outside its window, or
    if the result could exceed 95 bits.
    """
    shift = _above("x_exponent", x_exponent, x_exponents) + _above("w_exponent", w_exponent, w_exponents)
    largest = int(sums.high.abs().amax()) + 1 << 32 if sums.high.numel() else 0
    if sums.high.shape[-1:].numel() * largest << (int(shift.amax()) if shift.numel() else 0) >= _LIMBS_LARGEST:
        raise InputError("block sums times their scales exceed 95 bits; narrow the windows of the exponents")
    return _total(sums.shift(shift))


def _above(name: str, exponent: Tensor, window: tuple[int, int]) -> Tensor:
    """Return stored exponents counted from the window's lowest."""
    low, high = window
    exponent = exponent.to(torch.int64)
    outside = (exponent < low) | (exponent > high)
    if bool(outside.any()):
        raise InputError(f"{name} must be in the window {low}..{high}, not {int(exponent[outside][0])}")
    return exponent - low


def _total(terms: Limbs) -> Limbs:
    """Sum over the last axis, which must be shorter than 2**31."""
    return Limbs(terms.high.sum(-1), torch.zeros_like(terms.low.sum(-1))).add(terms.low.sum(-1), 0)


def _element(name: str) -> BlockElement:
    fmt = parse_format(name)
    if isinstance(fmt, DialectFormat):
        largest = max(map(max, DIALECT_TABLE))
        # A magnitude counts half units.
        bias, exponents = DIALECT_EXPONENT_BIAS + 1, 31
        return BlockElement(name, "dialect", 4, 4, largest.bit_length(), 0, largest, bias, exponents)
    if isinstance(fmt, MXFloatFormat):
        kind = fmt.type
        largest = int(kind.largest / 2.0**kind.step_exponent)
        bits = kind.mantissa_bits + 1
        bias, shift = E8M0_BIAS - kind.step_exponent, largest.bit_length() - bits
        return BlockElement(name, "float", kind.bits, 0, bits, shift, largest, bias, 2 * E8M0_BIAS)
    assert isinstance(fmt, MXIntFormat | IntegerFormat)
    largest = (1 << (fmt.width - 1)) - 1
    bias = E8M0_BIAS - (fmt.type.step_exponent if isinstance(fmt, MXIntFormat) else 0)
    return BlockElement(name, "integer", fmt.width, 0, fmt.width - 1, 0, largest, bias, 2 * E8M0_BIAS)
