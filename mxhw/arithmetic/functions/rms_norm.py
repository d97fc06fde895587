"""RMSNorm: a vector divided by its root mean square, times a gain per element, requantized to a stream.

Source: RMSNorm (arXiv 1910.07467), equation 4; arithmetic.md, section 3 (STD). The squarer takes 16 bits of each
element below the vector's leading one, the division all of them. Not here: the cheap variant with 18-bit quotients, and
outputs with an exponent per token.
"""

from dataclasses import dataclass
from math import ceil, inf, log2, sqrt

import torch
from torch import Tensor

from mxhw.arithmetic.functions import inverse_root
from mxhw.arithmetic.functions.checks import check_bits, check_fits_int64, check_integer, check_integers, check_operand
from mxhw.arithmetic.rounding import leading_one, round_shift, saturate
from mxhw.arithmetic.widths import signed_bits
from mxhw.errors import InputError

__all__ = [
    "NORMALIZED_FRACTION",
    "SQUARED_BITS",
    "NormWidths",
    "RMSNormSpec",
    "norm_widths",
    "normalize",
    "quantize_gains",
    "relative_error",
    "rms_norm",
]

# Bits that the squarer takes, and fraction bits of x / sqrt(sum of squares).
SQUARED_BITS = 16
NORMALIZED_FRACTION = 24
_SQUARED_LARGEST = (1 << SQUARED_BITS - 1) - 1
# A quotient is 1 at most, but for the errors of the root and of the squarer's largest operand: together below 2^-11, so
# that the saturation to 26 bits in arithmetic.md never acts.
NORMALIZED_LARGEST = (1 << NORMALIZED_FRACTION) + (1 << NORMALIZED_FRACTION - 11)


@dataclass(frozen=True)
class NormWidths:
    """Bits of a norm's intermediates, from their largest values.

    Attributes
    ----------
    magnitude_shift : unsigned, of the shift that brings the largest element into the squarer.
    energy : unsigned, the sum of squares with epsilon.
    root_shift : unsigned, of the shift by the root's exponent and the magnitude shift together.
    product : signed, an element times the inverse root.
    normalized : signed, the quotient with 24 fraction bits.
    gained : signed, the quotient times a gain, with what is added to it.
    """

    magnitude_shift: int
    energy: int
    root_shift: int
    product: int
    normalized: int
    gained: int


def norm_widths(element_bits: int, length: int, epsilon: int, largest_gained: int) -> NormWidths:
    """Return the widths for ``length`` elements of signed ``element_bits`` around their mean."""
    magnitude_shift = max(0, element_bits - SQUARED_BITS)
    energy = (length * _SQUARED_LARGEST**2 + epsilon).bit_length()
    return NormWidths(
        magnitude_shift=max(1, magnitude_shift.bit_length()),
        energy=energy,
        root_shift=max(1, (magnitude_shift + (energy - 1 >> 1)).bit_length()),
        product=signed_bits(((1 << element_bits - 1) - 1) * inverse_root.RSQRT.points[0]),
        normalized=signed_bits(NORMALIZED_LARGEST),
        gained=signed_bits(largest_gained),
    )


def normalize(x: Tensor, largest: Tensor, epsilon: int) -> Tensor:
    """Return ``x / sqrt(sum(x * x) + epsilon)`` along the last axis, with 24 fraction bits.

    ``largest`` [..., 1] is max|x|, or any number with the same leading one.
    """
    shift = (leading_one(largest) - (SQUARED_BITS - 2)).clamp(min=0)
    reduced = saturate(round_shift(x, shift), SQUARED_BITS)
    floor = torch.full_like(shift, epsilon) >> 2 * shift
    energy = ((reduced * reduced).sum(-1, keepdim=True) + floor).clamp(min=1)
    root, exponent = inverse_root.inverse_root(energy)
    places = inverse_root.FRACTION_BITS + exponent + shift - NORMALIZED_FRACTION
    return round_shift(x * root, places)


def relative_error(length: int) -> float:
    """Return how far all quotients of a vector can be off together.

    The first part is the root's; the second the rounding of the squarer's operands, half a unit of each where the
    largest is ``2**14``. It needs elements that are all rounded to one side, so that drawn vectors stay near the first.
    """
    return inverse_root.WORST_RELATIVE_ERROR + (1 + sqrt(length)) * 2.0**-SQUARED_BITS


def quantize_gains(gains: Tensor, bits: int, largest_gain: float | None = None) -> tuple[tuple[int, ...], int]:
    """Return ``gains * sqrt(D)`` as signed integers of ``bits`` and their exponent, the smallest that fits.

    ``largest_gain`` is the largest magnitude that must fit, by default that of ``gains``.
    """
    root = sqrt(max(1, gains.numel()))
    scaled = gains.detach().double().flatten() * root
    if not scaled.numel() or not bool(scaled.isfinite().all()):
        raise InputError("gains must be finite numbers, at least one")
    largest, top = float(scaled.abs().max()), (1 << bits - 1) - 1
    if largest_gain is not None:
        if not largest <= largest_gain * root < inf:
            raise InputError(f"gains must be at most {largest_gain:g} in magnitude, not {largest / root:g}")
        largest = largest_gain * root
    exponent = ceil(log2(largest)) - (bits - 1) if largest > 0 else 0
    if round(largest * 2.0**-exponent) > top:
        exponent += 1
    return tuple((scaled * 2.0**-exponent).round().long().tolist()), exponent


@dataclass(frozen=True, kw_only=True)
class RMSNormSpec:
    """An RMSNorm to the bit.

    Input: signed ``input_bits`` with any exponent er. Output: signed ``output_bits`` in units of
    ``2**(gain exponent - 24 + shift)``, saturated symmetrically.

    Worst error before saturation, against the real RMSNorm with these gains and this epsilon: :meth:`worst_error`, that
    is 0.04 % of the element (plus ``(1 + sqrt(D)) * 2**-16`` of it for adversarial vectors of full size: 0.14 % in all
    at D = 4096), half an output unit, and half a unit of the quotient times the gain.

    Attributes
    ----------
    gains : ``gain * sqrt(D)`` as signed integers of ``gain_bits``, one per element.
    epsilon : ``D * eps * 2**(-2 er)``, rounded.
    shift : right shift of quotient times gain, with rounding.
    """

    gains: tuple[int, ...]
    epsilon: int
    shift: int
    input_bits: int = 24
    gain_bits: int = 16
    output_bits: int = 16

    def __post_init__(self) -> None:
        check_bits(input_bits=self.input_bits, gain_bits=self.gain_bits, output_bits=self.output_bits)
        check_integers("gains", self.gains, 1 - (1 << self.gain_bits - 1), (1 << self.gain_bits - 1) - 1)
        check_integer("epsilon", self.epsilon, 0, (1 << 62) - 1)
        check_integer("shift", self.shift, 0, 62)
        check_fits_int64("the sum of squares", self.length * _SQUARED_LARGEST**2 + self.epsilon)
        check_fits_int64("the product of element and root", (1 << self.input_bits + 15) << NORMALIZED_FRACTION - 16)
        check_fits_int64("the product of quotient and gain", self._largest_gained)

    @staticmethod
    def of(
        weight: Tensor,
        eps: float,
        input_exponent: int,
        output_exponent: int,
        *,
        input_bits: int = 24,
        gain_bits: int = 16,
        output_bits: int = 16,
        largest_gain: float | None = None,
    ) -> "RMSNormSpec":
        """Return the unit for float gains [D].

        ``largest_gain`` is the largest magnitude of all units that are to have one shift, by default that of
        ``weight``.
        """
        gains, exponent = quantize_gains(weight, gain_bits, largest_gain)
        return RMSNormSpec(
            gains=gains,
            epsilon=round(len(gains) * eps * 2.0 ** (-2 * input_exponent)),
            shift=output_exponent - exponent + NORMALIZED_FRACTION,
            input_bits=input_bits,
            gain_bits=gain_bits,
            output_bits=output_bits,
        )

    @property
    def length(self) -> int:
        """D, the elements of a vector."""
        return len(self.gains)

    @property
    def widths(self) -> NormWidths:
        """Widths of the intermediates."""
        return norm_widths(self.input_bits, self.length, self.epsilon, self._largest_gained)

    def worst_error(self, exact: Tensor) -> Tensor:
        """Return the largest distance from ``exact``, the real result in output units, before saturation."""
        quotient = 0.5 * max(map(abs, self.gains)) * 2.0**-self.shift
        return exact.abs() * relative_error(self.length) + quotient + 0.5

    @property
    def _largest_gained(self) -> int:
        return NORMALIZED_LARGEST * max(1, *map(abs, self.gains))


def rms_norm(x: Tensor, spec: RMSNormSpec) -> Tensor:
    """Return the normalized stream, int64 like ``x`` [..., D]."""
    check_operand("the input", x, spec.input_bits, spec.length)
    normalized = normalize(x, x.abs().amax(-1, keepdim=True), spec.epsilon)
    gains = torch.tensor(spec.gains, dtype=torch.int64, device=x.device)
    return saturate(round_shift(normalized * gains, spec.shift), spec.output_bits)
