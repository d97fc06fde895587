"""Exponents and powers of two straight from the bits of float32: exact, and free of log2."""

import torch
from torch import Tensor

from mxhw.errors import InputError

__all__ = ["E8M0_BIAS", "e8m0_bytes", "exponent_of", "power_of_two", "round_half_even", "round_to_float"]

# E8M0 (OCP MX v1.0, 5.4.1): a byte b is the scale 2^(b-127); 255 is NaN, which is never stored here.
E8M0_BIAS = 127
_E8M0_NAN = 255
# Adding and subtracting 1.5 * 2^23 rounds a float32 below 2^22 to the nearest integer, ties to even, and drops -0.
_ROUNDER = 1.5 * 2.0**23
_MANTISSA = 23
_EXPONENT_MASK = 0x7F800000
_SMALLEST_POWER = 0x00400000


def exponent_of(magnitude: Tensor) -> Tensor:
    """floor(log2(m)) of finite non-negative float32 as int32; below 2^-126, and for zero, it is -127."""
    return (magnitude.view(torch.int32) >> _MANTISSA).sub_(127)


def power_of_two(exponent: Tensor) -> Tensor:
    """2^e as float32 for int32 e from -127 to 127 (2^-127 is a subnormal)."""
    return (exponent + 127).bitwise_left_shift_(_MANTISSA).clamp_(min=_SMALLEST_POWER).view(torch.float32)


def e8m0_bytes(stored: Tensor) -> Tensor:
    """Stored E8M0 bytes as int32.

    Raises
    ------
    InputError
        If one is 255: a NaN block, which is never stored here.
    """
    if bool((stored == _E8M0_NAN).any()):
        raise InputError(
            "a scale of 255 in E8M0 means a block of NaN, which mxhw never stores: the data are not its own"
        )
    return stored.to(torch.int32)


def round_half_even(x: Tensor) -> Tensor:
    """Round float32 below 2^22 in magnitude in place to integers, ties to even; zero becomes +0."""
    return x.add_(_ROUNDER).sub_(_ROUNDER)


def round_to_float(x: Tensor, mantissa_bits: int, smallest_exponent: int) -> Tensor:
    """Round float32 to ``mantissa_bits`` below the leading one, ties to even; gradual underflow below
    2^smallest_exponent, no upper limit. Zero becomes +0."""
    exponent = (x.view(torch.int32) & _EXPONENT_MASK).clamp_(min=(smallest_exponent + 127) << _MANTISSA)
    # 1.5 * 2^(e + 23 - m): adding it leaves m mantissa bits below exponent e.
    rounder = exponent.add_((_MANTISSA - mantissa_bits) << _MANTISSA).bitwise_or_(1 << (_MANTISSA - 1))
    rounder = rounder.view(torch.float32)
    return (x + rounder).sub_(rounder)
