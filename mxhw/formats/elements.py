"""The elements of microscaling formats: small floats and fixed-point integers, rounded to nearest even, saturating."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mxhw.formats.powers import round_half_even, round_to_float

__all__ = ["ELEMENT_TYPES", "ElementType", "IntegerElement"]

_MANTISSA = 23


@dataclass(frozen=True)
class ElementType:
    """A small float: ``exponent_bits`` and ``mantissa_bits`` below a sign; ``largest`` is its largest finite value."""

    exponent_bits: int
    mantissa_bits: int
    largest: float

    @property
    def bits(self) -> int:
        """Width of a code."""
        return 1 + self.exponent_bits + self.mantissa_bits

    @property
    def bias(self) -> int:
        """Exponent bias: 2^(exponent_bits - 1) - 1."""
        return (1 << (self.exponent_bits - 1)) - 1

    @property
    def emax(self) -> int:
        """Exponent of the largest value."""
        return int(self.largest).bit_length() - 1

    @property
    def step_exponent(self) -> int:
        """Exponent of the smallest subnormal, of which every value is a multiple."""
        return 1 - self.bias - self.mantissa_bits

    def round(self, x: Tensor) -> Tensor:
        """Round float32 to the values of this type: nearest even, saturating, the sign of zero kept."""
        rounded = round_to_float(x, self.mantissa_bits, 1 - self.bias)
        return rounded.clamp_(-self.largest, self.largest).copysign_(x)

    def codes(self, values: Tensor) -> Tensor:
        """Codes (sign, exponent, mantissa; uint8) of float32 that are values of this type."""
        # Scaled by 2^(bias-127), a value's float32 exponent field is its small one, and subnormals stay subnormal.
        small = (values * 2.0 ** (self.bias - 127)).view(torch.int32)
        magnitude = (small & 0x7FFFFFFF) >> (_MANTISSA - self.mantissa_bits)
        return (magnitude | ((small < 0).int() << (self.bits - 1))).to(torch.uint8)

    def values(self, codes: Tensor) -> Tensor:
        """Float32 values of codes."""
        codes = codes.to(torch.int32)
        sign = 1 << (self.bits - 1)
        magnitude = ((codes & (sign - 1)) << (_MANTISSA - self.mantissa_bits)).view(torch.float32)
        magnitude = magnitude * 2.0 ** (127 - self.bias)
        return torch.where((codes & sign) != 0, -magnitude, magnitude)


ELEMENT_TYPES = {
    "mxfp4": ElementType(2, 1, 6.0),
    "mxfp6-e2m3": ElementType(2, 3, 7.5),
    "mxfp6-e3m2": ElementType(3, 2, 28.0),
    "mxfp8-e4m3": ElementType(4, 3, 448.0),
    "mxfp8-e5m2": ElementType(5, 2, 57344.0),
}


@dataclass(frozen=True)
class IntegerElement:
    """Integers k of ``bits`` bits as k * 2^-(bits - 2), k in +-(2^(bits-1) - 1)."""

    bits: int

    @property
    def mantissa_bits(self) -> int:
        """Bits below the leading one of the largest value."""
        return self.bits - 2

    @property
    def emax(self) -> int:
        """Exponent of the largest value."""
        return 0

    @property
    def step_exponent(self) -> int:
        """Exponent of the smallest value, of which every value is a multiple."""
        return 2 - self.bits

    @property
    def largest_level(self) -> int:
        """Largest k."""
        return (1 << (self.bits - 1)) - 1

    @property
    def largest(self) -> float:
        """Largest value."""
        return self.largest_level * 2.0**self.step_exponent

    def round(self, x: Tensor) -> Tensor:
        """Round float32 to the values of this type: nearest even, saturating; zero becomes +0."""
        levels = (x * 2.0**-self.step_exponent).clamp_(-self.largest_level, self.largest_level)
        return round_half_even(levels).mul_(2.0**self.step_exponent)

    def codes(self, values: Tensor) -> Tensor:
        """Codes k (int8) of float32 that are values of this type."""
        return (values * 2.0**-self.step_exponent).to(torch.int8)

    def values(self, codes: Tensor) -> Tensor:
        """Float32 values of codes."""
        return codes.float().mul_(2.0**self.step_exponent)
