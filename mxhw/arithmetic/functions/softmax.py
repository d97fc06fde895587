"""Softmax of base-2 scores in two passes, whole or split around the product with the values as attention uses it.

Source: arithmetic.md, section 6. Scores have a static exponent; ``log2(e)`` and ``1/sqrt(d)`` are already in them. The
first pass finds the maximum, the second gives each key a weight ``2**(t - max)`` and sums the weights; every sum is
exact, so the order of the keys does not matter. Whole softmax multiplies each weight by the reciprocal of the sum;
attention multiplies weights and values first and normalises the sum of the products.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mxhw.arithmetic.functions.checks import check_integer
from mxhw.arithmetic.functions.signed import check_signed
from mxhw.arithmetic.rounding import leading_one, round_shift, saturate
from mxhw.arithmetic.tables import Table
from mxhw.arithmetic.widths import signed_bits

__all__ = [
    "Reciprocal",
    "SoftmaxSpec",
    "SoftmaxWeights",
    "base2_scores",
    "normalise",
    "reciprocal",
    "softmax",
    "softmax_weights",
    "value_weights",
]

MANTISSA_BITS = 16
"""Bits of the sum after its leading one that the reciprocal sees, and of the reciprocal itself."""

OUTPUT_FRACTION = 8
"""Bits that a normalised sum has below one unit of the values."""


@dataclass(frozen=True, kw_only=True)
class SoftmaxSpec:
    """A softmax to the bit.

    Input: scores of ``score_bits``, base 2, with ``score_fraction`` bits below the point; a number of keys that are
    visible (causal attention), the others give 0 whatever their score is. Output: probabilities, unsigned
    ``probability_bits`` with ``probability_fraction`` bits below the point, so that 1.0 is representable; a row of one
    key gives exactly 1.0, a row without visible keys zeros.

    Worst error of a probability against float softmax of the same integers: :meth:`worst_error`, 2.9e-4 at
    2 keys, 1.2e-3 at 64, 4.2e-3 at 256, 3.1e-2 at 2048. Ordinary rows are far better (arithmetic.md: 0.07 % of the
    result of attention at 2048 keys).

    Attributes
    ----------
    score_bits, score_fraction : of a score; EXP2 has ``2**score_fraction`` entries.
    weight_bits : of a weight, unsigned; 1.0 is ``2**(weight_bits - 1)``.
    reciprocal_entries_log2 : RECIP has ``2**reciprocal_entries_log2`` entries and is interpolated.
    probability_fraction : of a probability.
    """

    score_bits: int = 24
    score_fraction: int = 8
    weight_bits: int = 16
    reciprocal_entries_log2: int = 5
    probability_fraction: int = 15

    def __post_init__(self) -> None:
        check_integer("score_fraction", self.score_fraction, 1, 12)
        check_integer("score_bits", self.score_bits, self.score_fraction + 2, 32)
        check_integer("weight_bits", self.weight_bits, 2, 16)
        check_integer("reciprocal_entries_log2", self.reciprocal_entries_log2, 1, MANTISSA_BITS - 1)
        check_integer("probability_fraction", self.probability_fraction, 1, min(24, self.weight_bits + 14))

    @property
    def one(self) -> int:
        """The weight of the largest score."""
        return 1 << self.weight_bits - 1

    @property
    def shift_largest(self) -> int:
        """Every weight that is shifted by as much or more is 0; larger shifts are taken as this one."""
        return self.weight_bits + 1

    @property
    def probability_bits(self) -> int:
        """Bits of an unsigned probability."""
        return self.probability_fraction + 1

    @property
    def reciprocal_error(self) -> float:
        """Worst relative error of the reciprocal of any sum: between two entries, and half a unit of its 16 bits."""
        return 4.0**-self.reciprocal_entries_log2 / 4 + 2.0**-MANTISSA_BITS

    def worst_error(self, keys: int) -> float:
        """Worst error of a probability in a row of ``keys``.

        It is reached where a row has one large score and all others so low that their weights just round to 0.
        """
        if keys == 1:
            return 0.0
        lost = (keys - 1) / 2 / self.one
        return self.reciprocal_error + lost / (1 + lost) + 2.0 ** -(self.probability_fraction + 1)

    def sum_bits(self, keys: int) -> int:
        """Bits of the unsigned sum of ``keys`` weights."""
        return (self.one * keys).bit_length()

    def value_sum_bits(self, keys: int, value_bits: int = 8) -> int:
        """Bits of the signed sum of ``keys`` products of a weight and a symmetric value."""
        return signed_bits(self.one * keys * ((1 << value_bits - 1) - 1))

    @cached_property
    def exp2(self) -> Table:
        """EXP2: ``2**-f`` for the fraction f of a score, exact index."""
        return Table.of(
            "exp2",
            lambda f: torch.exp2(-f),
            0,
            1,
            address_bits=self.score_fraction,
            fraction_bits=0,
            output_bits=self.weight_bits,
            scale=float(self.one),
        )

    @cached_property
    def recip(self) -> Table:
        """RECIP: ``1 / m`` for the 16 bits after the leading one of m in [1, 2)."""
        return Table.of(
            "recip",
            torch.reciprocal,
            1,
            2,
            address_bits=self.reciprocal_entries_log2,
            fraction_bits=MANTISSA_BITS - self.reciprocal_entries_log2,
            output_bits=MANTISSA_BITS,
            scale=float(1 << MANTISSA_BITS),
        )


@dataclass(frozen=True)
class SoftmaxWeights:
    """What the second pass gives, [..., T] but for the sum.

    Attributes
    ----------
    seen : which keys are visible; the others have mantissa, shift and weight 0.
    mantissa, shift : the weight before it is shifted; attention shifts it further by the exponent of the value.
    weight : unsigned, 1.0 is ``spec.one``.
    total : [...], sum of the weights.
    """

    seen: Tensor
    mantissa: Tensor
    shift: Tensor
    weight: Tensor
    total: Tensor


@dataclass(frozen=True)
class Reciprocal:
    """``1 / total = factor * 2**-(16 + position)``; ``position`` is that of the total's leading one."""

    factor: Tensor
    position: Tensor


def base2_scores(products: Tensor, exponent: Tensor | int, spec: SoftmaxSpec) -> Tensor:
    """Return the scores of sums of products ``q8 * k8`` whose unit is ``2**exponent``, rounded once and saturated."""
    return saturate(round_shift(products, -torch.as_tensor(exponent) - spec.score_fraction), spec.score_bits)


def softmax_weights(
    scores: Tensor, spec: SoftmaxSpec, visible: Tensor | None = None, *, seen: Tensor | None = None
) -> SoftmaxWeights:
    """Return the weights of ``scores`` [..., T]; ``visible`` [...]: how many keys a row sees, all of them if None.

    ``seen``, bool and broadcast to the scores, says which keys instead: those of a window, say.

    Raises
    ------
    InputError
        If a score does not fit ``spec.score_bits``.
    """
    check_signed("scores", scores, spec.score_bits)
    if seen is None:
        seen = torch.ones_like(scores, dtype=torch.bool)
    if visible is not None:
        seen = torch.arange(scores.shape[-1], device=scores.device) < visible.unsqueeze(-1)
    largest = torch.where(seen, scores, -(1 << spec.score_bits - 1)).amax(-1, keepdim=True)
    below = torch.where(seen, largest - scores, 0)
    mantissa = torch.where(seen, spec.exp2.lookup(below & (1 << spec.score_fraction) - 1), 0)
    shift = (below >> spec.score_fraction).clamp(max=spec.shift_largest)
    weight = round_shift(mantissa, shift)
    return SoftmaxWeights(seen, mantissa, shift, weight, weight.sum(-1))


def value_weights(weights: SoftmaxWeights, exponent: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weights [..., T] with the values' exponents [..., T] folded in, and the exponent [...] of their sum.

    That exponent is the largest of the visible keys' values, the smallest of all where no key is visible; the weights
    are ``round_shift(mantissa, shift + largest - exponent)``. They multiply the values' codes.
    """
    exponent = exponent.expand(weights.weight.shape)
    lowest = exponent.amin(-1, keepdim=True)
    largest = torch.where(weights.seen, exponent, lowest).amax(-1, keepdim=True)
    return round_shift(weights.mantissa, weights.shift + largest - exponent), largest.squeeze(-1)


def reciprocal(total: Tensor, spec: SoftmaxSpec) -> Reciprocal:
    """Return the reciprocal of sums of weights; for 0 (no key is visible) that of 1."""
    position = leading_one(total.clamp(min=1))
    right = (position - MANTISSA_BITS).clamp(min=0)
    left = (MANTISSA_BITS - position).clamp(min=0)
    mantissa = (total >> right << left) & (1 << MANTISSA_BITS) - 1
    return Reciprocal(spec.recip.lookup(mantissa), position)


def normalise(value_sum: Tensor, total: Tensor, spec: SoftmaxSpec) -> Tensor:
    """Return ``value_sum / total``, int16 with 8 bits below one unit of the values: the output of attention.

    ``value_sum`` [...]: sum of int8 values times their shifted weights; ``total`` broadcasts to it. Worst error for a
    sum over ``keys``: that of the reciprocal times the result, 0.032 units of the values, and half a unit of the
    result; what the weights have lost before is stated at :class:`SoftmaxSpec`.
    """
    inverse = reciprocal(total, spec)
    aligned = round_shift(value_sum, inverse.position - (MANTISSA_BITS - 1))
    below = 2 * MANTISSA_BITS - 1 - OUTPUT_FRACTION
    return saturate(round_shift(aligned * inverse.factor, below), 16)


def softmax(scores: Tensor, spec: SoftmaxSpec, visible: Tensor | None = None) -> Tensor:
    """Return the probabilities of ``scores`` [..., T]; ``visible`` [...]: how many keys a row sees."""
    weights = softmax_weights(scores, spec, visible)
    inverse = reciprocal(weights.total.unsqueeze(-1), spec)
    shift = MANTISSA_BITS + inverse.position - spec.probability_fraction
    return round_shift(weights.weight * inverse.factor, shift)
