"""Sums, products and ReLU of streams, element by element.

Source: arithmetic.md, sections 2, 5 and 7: the residual sum is rounded once, to the grid of the residual stream, and
saturated; the gate's product is requantized to the hidden stream. Not here: broadcasting, and streams whose exponent
differs from token to token.
"""

from dataclasses import dataclass

from torch import Tensor

from mxhw.arithmetic.functions.checks import check_bits, check_fits_int64, check_integer, check_operand
from mxhw.arithmetic.rounding import round_shift, saturate
from mxhw.arithmetic.widths import signed_bits

__all__ = ["AddSpec", "MultiplySpec", "add", "multiply", "relu"]


def _rounded(largest: int, shift: int) -> int:
    """Return the largest magnitude after a rounded shift to the right (left if negative)."""
    return largest << -shift if shift <= 0 else ((largest >> shift - 1) + 1) >> 1


@dataclass(frozen=True, kw_only=True)
class AddSpec:
    """A saturating sum on the grid of its left operand: ``sat(x + rsr(y, shift))``.

    Inputs: x signed ``left_bits`` with the output's exponent e, y signed ``right_bits`` with exponent ``e - shift``.
    Output: signed ``output_bits``, exponent e. Worst error before saturation: half an output unit, 0 where ``shift`` is
    0 or less.
    """

    left_bits: int = 24
    right_bits: int = 16
    shift: int = 0
    output_bits: int = 24

    def __post_init__(self) -> None:
        check_bits(left_bits=self.left_bits, right_bits=self.right_bits, output_bits=self.output_bits)
        check_integer("shift", self.shift, -62, 62)
        check_fits_int64("the sum", self._largest_left + self._largest_right)

    @staticmethod
    def of(
        left_exponent: int, right_exponent: int, *, left_bits: int = 24, right_bits: int = 16, output_bits: int = 24
    ) -> "AddSpec":
        """Return the unit for streams with these exponents; the sum has the left one's."""
        return AddSpec(
            left_bits=left_bits, right_bits=right_bits, shift=left_exponent - right_exponent, output_bits=output_bits
        )

    @property
    def worst_error(self) -> float:
        """Largest distance from the exact sum, in output units before saturation."""
        return 0.5 if self.shift > 0 else 0.0

    @property
    def aligned_bits(self) -> int:
        """Bits of the right operand on the left one's grid."""
        return signed_bits(max(1, self._largest_right))

    @property
    def sum_bits(self) -> int:
        """Bits of the sum before saturation."""
        return signed_bits(self._largest_left + self._largest_right)

    @property
    def _largest_left(self) -> int:
        return (1 << self.left_bits - 1) - 1

    @property
    def _largest_right(self) -> int:
        return _rounded((1 << self.right_bits - 1) - 1, self.shift)


def add(x: Tensor, y: Tensor, spec: AddSpec) -> Tensor:
    """Return the saturated sum of int64 tensors of one shape."""
    check_operand("the left operand", x, spec.left_bits)
    check_operand("the right operand", y, spec.right_bits)
    return saturate(x + round_shift(y, spec.shift), spec.output_bits)


@dataclass(frozen=True, kw_only=True)
class MultiplySpec:
    """A product that is requantized to a stream: ``sat(rsr(x * y, shift))``.

    Inputs: signed ``left_bits`` and ``right_bits`` with exponents ex and ey. Output: signed ``output_bits``, exponent
    ``ex + ey + shift``. Worst error before saturation: half an output unit, 0 where ``shift`` is 0 or less.
    """

    left_bits: int = 18
    right_bits: int = 16
    shift: int = 17
    output_bits: int = 16

    def __post_init__(self) -> None:
        check_bits(left_bits=self.left_bits, right_bits=self.right_bits, output_bits=self.output_bits)
        check_integer("shift", self.shift, -62, 62)
        check_fits_int64("the shifted product", self._largest << max(0, -self.shift))

    @staticmethod
    def of(
        left_exponent: int,
        right_exponent: int,
        output_exponent: int,
        *,
        left_bits: int = 18,
        right_bits: int = 16,
        output_bits: int = 16,
    ) -> "MultiplySpec":
        """Return the unit for streams with these exponents."""
        shift = output_exponent - left_exponent - right_exponent
        return MultiplySpec(left_bits=left_bits, right_bits=right_bits, shift=shift, output_bits=output_bits)

    @property
    def worst_error(self) -> float:
        """Largest distance from the exact product, in output units before saturation."""
        return 0.5 if self.shift > 0 else 0.0

    @property
    def product_bits(self) -> int:
        """Bits of the exact product."""
        return signed_bits(self._largest)

    @property
    def rounded_bits(self) -> int:
        """Bits of the shifted product before saturation."""
        return signed_bits(max(1, _rounded(self._largest, self.shift)))

    @property
    def _largest(self) -> int:
        return ((1 << self.left_bits - 1) - 1) * ((1 << self.right_bits - 1) - 1)


def multiply(x: Tensor, y: Tensor, spec: MultiplySpec) -> Tensor:
    """Return the requantized product of int64 tensors of one shape."""
    check_operand("the left operand", x, spec.left_bits)
    check_operand("the right operand", y, spec.right_bits)
    return saturate(round_shift(x * y, spec.shift), spec.output_bits)


def relu(x: Tensor) -> Tensor:
    """Return ``max(x, 0)``: bits and exponent stay, the error is 0."""
    return x.clamp(min=0)
