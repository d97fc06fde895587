"""Requantization: wide sums of a matrix product, times one multiplier per row of the weights, become a stream.

Source: arithmetic.md, section 5. The scale of output channel n is ``multipliers[n] * 2**e``; e goes into the last
shift. Not here: scales that differ from token to token (the quantizers in front of a product have powers of two).
"""

from dataclasses import dataclass
from math import floor, inf, log2

import torch
from torch import Tensor

from mxhw.arithmetic.functions.checks import check_bits, check_fits_int64, check_integer, check_integers, check_operand
from mxhw.arithmetic.rounding import round_shift, saturate
from mxhw.arithmetic.widths import signed_bits
from mxhw.errors import InputError

__all__ = ["RequantizeSpec", "RequantizeWidths", "requantize", "scale_multipliers"]


@dataclass(frozen=True)
class RequantizeWidths:
    """Bits of the intermediates, all signed.

    Attributes
    ----------
    reduced : the sum after the first shift.
    product : the reduced sum times a multiplier.
    rounded : the product after the last shift, before saturation.
    """

    reduced: int
    product: int
    rounded: int


@dataclass(frozen=True, kw_only=True)
class RequantizeSpec:
    """A requantizer to the bit.

    Input: signed sums, at most ``largest`` in magnitude. Output: signed ``output_bits``, saturated symmetrically; in
    units of the output ``y = x * multipliers[n] * 2**-(pre_shift + shift)``.

    Worst error before saturation, against that product: :attr:`worst_error`, half an output unit where ``pre_shift`` is
    0. Against the scales that multipliers were made from, half a unit of the multiplier comes on top: at most one
    output unit in all for a multiplier that uses its 16 bits and an output of 16.

    Attributes
    ----------
    multipliers : unsigned ``multiplier_bits``, one per output channel, or a single one for all.
    largest : bound on the magnitude of an input.
    shift : right shift of the product with rounding; a negative one shifts left.
    reduced_bits : to which a sum is shortened before it is multiplied.
    """

    multipliers: tuple[int, ...]
    largest: int
    shift: int
    output_bits: int = 16
    multiplier_bits: int = 16
    reduced_bits: int = 32

    def __post_init__(self) -> None:
        check_bits(output_bits=self.output_bits, multiplier_bits=self.multiplier_bits, reduced_bits=self.reduced_bits)
        check_integer("largest", self.largest, 1, (1 << 62) - 1)
        check_integer("shift", self.shift, -62, 62)
        check_integers("multipliers", self.multipliers, 0, (1 << self.multiplier_bits) - 1)
        check_fits_int64("the shifted product", self._largest_product << max(0, -self.shift))

    @staticmethod
    def of(
        scales: Tensor,
        *,
        largest: int,
        input_exponent: int,
        output_exponent: int,
        output_bits: int = 16,
        multiplier_bits: int = 16,
        largest_scale: float | None = None,
    ) -> "RequantizeSpec":
        """Return the unit for float scales [N]: output ``x * 2**input_exponent * scales[n]`` at ``output_exponent``.

        ``largest_scale`` is the largest of all units that are to have one shift, by default that of ``scales``.
        """
        multipliers, exponent = scale_multipliers(scales, multiplier_bits, largest_scale)
        plain = RequantizeSpec(
            multipliers=multipliers,
            largest=largest,
            shift=0,
            output_bits=output_bits,
            multiplier_bits=multiplier_bits,
        )
        shift = output_exponent - input_exponent - exponent - plain.pre_shift
        return RequantizeSpec(
            multipliers=multipliers,
            largest=largest,
            shift=shift,
            output_bits=output_bits,
            multiplier_bits=multiplier_bits,
        )

    @property
    def length(self) -> int:
        """Output channels; 1 for a multiplier that all share."""
        return len(self.multipliers)

    @property
    def input_bits(self) -> int:
        """Bits of a signed sum."""
        return signed_bits(self.largest)

    @property
    def pre_shift(self) -> int:
        """The smallest right shift after which every sum fits ``reduced_bits``, its rounding included."""
        top = (1 << self.reduced_bits - 1) - 1
        shift = max(0, self.input_bits - self.reduced_bits)
        return shift + (self._reduced(shift) > top)

    @property
    def widths(self) -> RequantizeWidths:
        """Widths of the intermediates, from their largest values."""
        product = self._largest_product
        rounded = product << -self.shift if self.shift <= 0 else ((product >> self.shift - 1) + 1) >> 1
        return RequantizeWidths(
            signed_bits(self._reduced(self.pre_shift)), signed_bits(product), signed_bits(max(1, rounded))
        )

    @property
    def worst_error(self) -> float:
        """Largest distance, in output units before saturation, from the exact product with the multiplier."""
        first = 0.5 * max(self.multipliers) * 2.0**-self.shift if self.pre_shift else 0.0
        return first + (0.5 if self.shift > 0 else 0.0)

    @property
    def _largest_product(self) -> int:
        return self._reduced(self.pre_shift) * max(1, *self.multipliers)

    def _reduced(self, shift: int) -> int:
        return self.largest if shift == 0 else ((self.largest >> shift - 1) + 1) >> 1


def requantize(x: Tensor, spec: RequantizeSpec) -> Tensor:
    """Return the stream, int64 like ``x`` [..., N] (any shape for a single multiplier)."""
    check_operand("sums", x, spec.input_bits, spec.length if spec.length > 1 else None)
    multipliers = torch.tensor(spec.multipliers, dtype=torch.int64, device=x.device)
    product = round_shift(x, spec.pre_shift) * multipliers
    return saturate(round_shift(product, spec.shift), spec.output_bits)


def scale_multipliers(scales: Tensor, bits: int, largest: float | None = None) -> tuple[tuple[int, ...], int]:
    """Return unsigned multipliers of ``bits`` and an exponent e, ``scales ≈ multipliers * 2**e``.

    The largest, or ``largest`` in its place, uses all bits; each is rounded half to even, so that it is off by at most
    ``2**(e - 1)``.

    Raises
    ------
    InputError
        If a scale is negative, not finite or above ``largest``, or all are 0.
    """
    scales = scales.detach().double().flatten()
    if not scales.numel() or not bool(scales.isfinite().all()) or float(scales.min()) < 0:
        raise InputError("scales must be finite, none negative and not all 0")
    top = float(scales.max()) if largest is None else largest
    if not 0 < top < inf:
        raise InputError("scales must be finite, none negative and not all 0")
    if float(scales.max()) > top:
        raise InputError(f"scales must be at most {top:g}, not {float(scales.max()):g}")
    exponent = floor(log2(top)) - (bits - 1)
    if round(top * 2.0**-exponent) >= 2**bits:
        exponent += 1
    return tuple((scales * 2.0**-exponent).round().long().tolist()), exponent
