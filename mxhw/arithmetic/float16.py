"""A multiply-accumulate in IEEE 754 half precision, the baseline that block formats are compared with.

    accumulator = round16(accumulator + x * w)           one rounding

"nearest": the exact sum to nearest, ties to even, subnormals included in operands and result. "truncate": the cheap
version. Subnormal operands count as zero; product and accumulator are cut to 13 bits, aligned with one guard bit below
the larger one's exponent, added, cut to 11 bits; results below 2**-14 become zero.

Both saturate at ±65504. There is no Inf or NaN: a code with exponent 31 is read as the number that its pattern would
mean (0x7C00 is 65536), and none ever results. A zero from "nearest" has the sign of the product, unless the accumulator
was the larger in magnitude; one from "truncate" is positive.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from mxhw.arithmetic.rounding import leading_one
from mxhw.errors import InputError

__all__ = ["FLOAT16_LARGEST", "FRAME", "GUARD", "Rounding", "float16_mac"]

Rounding = Literal["nearest", "truncate"]

FLOAT16_LARGEST = 0x7BFF
_MANTISSA = 10
_SIGNIFICAND = _MANTISSA + 1
_BIAS = 15

# Bit positions of the exact sum: the product lies above 13 bits that only a product of subnormals needs and one sticky
# bit, and the accumulator starts 2 bits above the product, from where it shifts down.
BELOW = _SIGNIFICAND + 3
ABOVE = BELOW + 2 * _SIGNIFICAND + 2
FRAME = ABOVE + _SIGNIFICAND + 1
# Bits that the cheap version keeps below the significand.
GUARD = 1


class _Number(NamedTuple):
    """``(-1)**sign * significand * 2**(exponent - 25)``."""

    sign: Tensor
    significand: Tensor
    exponent: Tensor


def float16_mac(accumulator: Tensor, x: Tensor, w: Tensor, rounding: Rounding = "nearest") -> Tensor:
    """Return the next accumulator; all are 16-bit patterns in int64 tensors of one shape."""
    if rounding == "nearest":
        return _nearest(_number(accumulator), _number(x), _number(w))
    if rounding == "truncate":
        return _truncate(_number(accumulator, True), _number(x, True), _number(w, True))
    raise InputError(f"rounding must be nearest or truncate, not {rounding!r}")


def _number(code: Tensor, flush: bool = False) -> _Number:
    exponent = (code >> _MANTISSA) & 31
    normal = (exponent != 0).to(torch.int64)
    significand = (code & ((1 << _MANTISSA) - 1)) | (normal << _MANTISSA)
    return _Number(code >> 15 & 1, significand * normal if flush else significand, exponent + 1 - normal)


def _nearest(c: _Number, x: _Number, w: _Number) -> Tensor:
    negative = x.sign ^ w.sign
    product = (x.significand * w.significand) << BELOW
    distance = x.exponent + w.exponent - 1 - c.exponent
    shift = distance.clamp(min=0)
    placed = c.significand << ABOVE
    aligned = placed >> shift
    aligned = aligned | (aligned << shift != placed).to(torch.int64)
    total = product + torch.where(negative != c.sign, -aligned, aligned)
    magnitude = total.abs()
    # The exponent that the topmost bit of the frame would have as a leading one, and how far the sum shifts up to it.
    top = c.exponent + shift + 1
    left = torch.minimum(FRAME - 1 - leading_one(magnitude), top - 1)
    normalized = magnitude << left
    kept = normalized >> (FRAME - _SIGNIFICAND)
    dropped = normalized & ((1 << (FRAME - _SIGNIFICAND)) - 1)
    half = 1 << (FRAME - _SIGNIFICAND - 1)
    up = (dropped > half) | ((dropped == half) & (kept & 1 != 0))
    # The leading one adds 1 to the exponent; a subnormal has none.
    code = ((top - left - 1) << _MANTISSA) + kept + up.to(torch.int64)
    return _signed(code, negative ^ (total < 0).to(torch.int64))


def _truncate(c: _Number, x: _Number, w: _Number) -> Tensor:
    negative = x.sign ^ w.sign
    product = (x.significand * w.significand) >> (_MANTISSA - GUARD)
    addend = c.significand << GUARD
    distance = x.exponent + w.exponent - _BIAS - c.exponent
    # A product of zero has no exponent that the accumulator would have to be shifted for.
    distance = torch.where(product == 0, -1, distance)
    product = product >> (-distance).clamp(0, 62)
    addend = addend >> distance.clamp(0, 62)
    total = product + torch.where(negative != c.sign, -addend, addend)
    magnitude = total.abs()
    width = _SIGNIFICAND + GUARD + 2
    left = width - 1 - leading_one(magnitude)
    exponent = c.exponent + distance.clamp(min=0) + 2 - left
    code = ((exponent - 1) << _MANTISSA) + ((magnitude << left) >> (width - _SIGNIFICAND))
    signed = _signed(code, negative ^ (total < 0).to(torch.int64))
    return torch.where((magnitude == 0) | (exponent < 1), 0, signed)


def _signed(code: Tensor, sign: Tensor) -> Tensor:
    return code.clamp(max=FLOAT16_LARGEST) | (sign << 15)
