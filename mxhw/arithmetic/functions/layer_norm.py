"""LayerNorm: a vector minus its mean, over its standard deviation, times a gain plus a bias, requantized to a stream.

Source: LayerNorm (arXiv 1607.06450), equation 4, in the manner of arithmetic.md, section 3: once the mean is taken
off, the unit is an RMSNorm. The mean is the exact sum times a constant reciprocal of D, rounded once to a grid two bits
finer than the input's. That costs one multiplication a vector and a subtraction an element; scaling the elements by D
instead would be exact but asks for a multiplier by D, and for wider words in everything after it. Not here: outputs
with an exponent per token.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mxhw.arithmetic.functions.checks import check_bits, check_fits_int64, check_integer, check_integers, check_operand
from mxhw.arithmetic.functions.rms_norm import (
    NORMALIZED_FRACTION,
    NORMALIZED_LARGEST,
    SQUARED_BITS,
    NormWidths,
    norm_widths,
    normalize,
    quantize_gains,
    relative_error,
)
from mxhw.arithmetic.rounding import round_shift, saturate
from mxhw.arithmetic.widths import signed_bits
from mxhw.errors import InputError

__all__ = ["BIAS_FRACTION", "MEAN_FRACTION", "LayerNormSpec", "Reciprocal", "layer_norm", "length_reciprocal"]

# Bits of the mean below a unit of the input; with 24-bit inputs a centred element then has 27 bits, as a DSP takes.
MEAN_FRACTION = 2
# Bits of a bias below a unit of the output.
BIAS_FRACTION = 2


@dataclass(frozen=True)
class Reciprocal:
    """``1 / D ≈ multiplier * 2**-places``."""

    multiplier: int
    places: int


def length_reciprocal(length: int, input_bits: int) -> Reciprocal:
    """Return the shortest reciprocal of ``length`` that shifts the mean of any vector by less than half a unit.

    A unit is that of the mean, ``2**-MEAN_FRACTION``; so the mean of a constant vector is exact. For a power of two the
    multiplier is a power of two, too.
    """
    largest_sum = length * ((1 << input_bits - 1) - 1)
    places = MEAN_FRACTION
    while True:
        multiplier = ((1 << places + 1) + length) // (2 * length)
        deviation = abs(multiplier * length - (1 << places))
        if largest_sum * deviation << MEAN_FRACTION + 1 < length << places:
            return Reciprocal(multiplier, places)
        places += 1


@dataclass(frozen=True, kw_only=True)
class LayerNormSpec:
    """A LayerNorm to the bit.

    Input: signed ``input_bits`` with any exponent er. Output: signed ``output_bits`` in units of
    ``2**(gain exponent - 24 + shift)``, saturated symmetrically.

    Worst error before saturation, against the real LayerNorm with these gains, biases and epsilon: :meth:`worst_error`.
    For a spread of many input units it is that of the RMSNorm; a spread near one input unit also feels the mean's
    rounding (at most 1/8 input unit for D a power of two, below 1/4 for others).

    Attributes
    ----------
    gains : ``gain * sqrt(D)`` as signed integers of ``gain_bits``, one per element.
    biases : signed integers of ``output_bits + 2``, in quarters of an output unit, one per element.
    epsilon : ``D * eps * 2**(4 - 2 er)``, rounded: centred elements are in quarters of an input unit.
    shift : right shift of quotient times gain, with rounding; at least 2.
    """

    gains: tuple[int, ...]
    biases: tuple[int, ...]
    epsilon: int
    shift: int
    input_bits: int = 24
    gain_bits: int = 16
    output_bits: int = 16

    def __post_init__(self) -> None:
        check_bits(input_bits=self.input_bits, gain_bits=self.gain_bits, output_bits=self.output_bits)
        check_integers("gains", self.gains, 1 - (1 << self.gain_bits - 1), (1 << self.gain_bits - 1) - 1)
        check_integers("biases", self.biases, 1 - (1 << self.bias_bits - 1), (1 << self.bias_bits - 1) - 1)
        if len(self.biases) != self.length:
            raise InputError(f"biases must be one per gain ({self.length}), not {len(self.biases)!r}")
        check_integer("epsilon", self.epsilon, 0, (1 << 62) - 1)
        check_integer("shift", self.shift, BIAS_FRACTION, 62)
        check_fits_int64("the sum of squares", self.length << 2 * (SQUARED_BITS - 1) | self.epsilon)
        check_fits_int64("the sum times the reciprocal", self._largest_sum * self.reciprocal.multiplier)
        check_fits_int64("the product of quotient and gain", self._largest_gained)

    @staticmethod
    def of(
        weight: Tensor,
        bias: Tensor | None,
        eps: float,
        input_exponent: int,
        output_exponent: int,
        *,
        input_bits: int = 24,
        gain_bits: int = 16,
        output_bits: int = 16,
        largest_gain: float | None = None,
    ) -> "LayerNormSpec":
        """Return the unit for float gains and biases [D].

        ``largest_gain`` is the largest magnitude of all units that are to have one shift, by default that of
        ``weight``.

        Raises
        ------
        InputError
            If a bias does not fit the output; the message says which output exponent would do.
        """
        gains, exponent = quantize_gains(weight, gain_bits, largest_gain)
        plain = torch.zeros(len(gains)) if bias is None else bias.detach()
        biases = (plain.double().flatten() * 2.0 ** (BIAS_FRACTION - output_exponent)).round()
        limit = 2.0 ** (output_bits + BIAS_FRACTION - 1) - 1
        if not float(biases.abs().max()) <= limit:
            raise InputError(
                f"biases must fit the output, at most {limit * 2.0 ** (output_exponent - BIAS_FRACTION):g}, "
                f"not {float(plain.abs().max()):g}; take a larger output_exponent"
            )
        return LayerNormSpec(
            gains=gains,
            biases=tuple(biases.long().tolist()),
            epsilon=round(len(gains) * eps * 2.0 ** (2 * (MEAN_FRACTION - input_exponent))),
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
    def bias_bits(self) -> int:
        """Bits of a signed bias."""
        return self.output_bits + BIAS_FRACTION

    @cached_property
    def reciprocal(self) -> Reciprocal:
        """The constant that turns a sum into a mean."""
        return length_reciprocal(self.length, self.input_bits)

    @property
    def sum_bits(self) -> int:
        """Bits of the signed sum of a vector."""
        return signed_bits(self._largest_sum)

    @property
    def mean_bits(self) -> int:
        """Bits of the signed mean, whose magnitude is at most that of an element."""
        return self.input_bits + MEAN_FRACTION

    @property
    def centred_bits(self) -> int:
        """Bits of a signed element less the mean."""
        return self.mean_bits + 1

    @property
    def widths(self) -> NormWidths:
        """Widths of the intermediates after the mean is taken off."""
        return norm_widths(self.centred_bits, self.length, self.epsilon, self._largest_gained)

    @property
    def mean_error(self) -> float:
        """Largest distance of the mean from the real one, in units of ``2**-MEAN_FRACTION`` of the input's."""
        scaled = self.reciprocal.multiplier * self.length - (1 << self.reciprocal.places)
        rounding = 0.0 if self.length == 1 else 0.5
        return rounding + self._largest_sum / self.length * abs(scaled) * 2.0 ** (
            MEAN_FRACTION - self.reciprocal.places
        )

    def worst_error(self, exact: Tensor, energy: Tensor) -> Tensor:
        """Return the largest distance from the real result, in output units before saturation.

        ``exact`` is that result in output units without the bias; ``energy`` [..., 1] the real
        ``sum((x - mean)**2) + epsilon`` with x in quarters of an input unit.
        """
        gain = max(map(abs, self.gains)) * 2.0**-self.shift
        shifted = self.length * self.mean_error**2 / energy.clamp(min=1)
        quotient = 0.5 + self.mean_error * 2.0**NORMALIZED_FRACTION * energy.clamp(min=1).rsqrt()
        return exact.abs() * (relative_error(self.length) + shifted / 2) + gain * quotient + 0.5

    @property
    def _largest_sum(self) -> int:
        return self.length * ((1 << self.input_bits - 1) - 1)

    @property
    def _largest_gained(self) -> int:
        biased = max(map(abs, self.biases)) << self.shift - BIAS_FRACTION
        return NORMALIZED_LARGEST * max(1, *map(abs, self.gains)) + biased


def layer_norm(x: Tensor, spec: LayerNormSpec) -> Tensor:
    """Return the normalized stream, int64 like ``x`` [..., D]."""
    check_operand("the input", x, spec.input_bits, spec.length)
    total = x.sum(-1, keepdim=True)
    mean = round_shift(total * spec.reciprocal.multiplier, spec.reciprocal.places - MEAN_FRACTION)
    centred = (x << MEAN_FRACTION) - mean
    normalized = normalize(centred, centred.abs().amax(-1, keepdim=True), spec.epsilon)
    gains, biases = (torch.tensor(row, dtype=torch.int64, device=x.device) for row in (spec.gains, spec.biases))
    gained = normalized * gains + (biases << spec.shift - BIAS_FRACTION)
    return saturate(round_shift(gained, spec.shift), spec.output_bits)
