"""BitMoD's processing element on FP16 activations, every bit defined; and a variant that rounds nothing.

Source: BitMoD (arXiv 2411.11745), PE microarchitecture, and the RTL published with it. The published RTL is not usable
as it stands; where it is broken or silent, the rule here is ours and marked (*).

A step multiplies the activation of each lane by one term ``(-1)^sign * mantissa * 2^exponent`` of its weight and all of
them by ``2^significance``. Activations: sign, exponent 1..30, significand 0..2047, ``value = significand *
2^(exponent - 25)``; (*) a subnormal has exponent 1 and no hidden bit, Inf and NaN count as the largest finite number.

1 Exponents: ``e = exponent_a + exponent_w``; ``top`` is the largest e of all lanes. An absent term and a zero
  activation take part like any other lane, as in the published RTL: the decoder gives an absent term exponent 0.
2 Products: ``significand * mantissa * 8`` (three guard bits), shifted right by ``top - e``: bits that leave are
  dropped, a shift of 14 or more leaves nothing; then the sign is applied, so that this truncation is towards zero. The
  exact sum of the lanes is ``dot``.
3 Group sum ``m * 2^(x - 28)``, m in 15 bits with sign. With ``E = max(x, top)``: m is shifted right by ``E - x``,
  arithmetically, and is 0 if that is 14 or more; (*) dot * 2^significance is shifted right by ``E - top``,
  arithmetically with any amount (the published RTL never shifts it, and diverges). (*) Their sum is as wide as its
  bound says: 24 bits for significances up to 6, not 23. A sum that does not fit 15 bits is shifted right until it does,
  arithmetically, and E grows by as much. It is never shifted left. (*) A group starts with m = 0 and E = top.
4 Scale: m times an unsigned 8-bit scale, one bit a cycle with the most significant first; x stays. (*) 23 bits hold it,
  not 21, and each group starts at 0.

So the sum of a group depends on the order of its steps: chunks of consecutive k in ascending order, each with its steps
in the order of the weight type. No schedule may change that for this accumulator; for the exact one it does not matter.

The exact accumulator is one fixed-point number in units of ``2^-24`` grid units of the weight; its width follows from
FP16's range, the weight type and the length of the group.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mxhw.arithmetic.rounding import leading_one
from mxhw.arithmetic.terms import EXPONENT_LARGEST, WeightType
from mxhw.arithmetic.widths import signed_bits
from mxhw.errors import InputError

__all__ = [
    "ACCUMULATOR_BIAS",
    "Fp16Steps",
    "Fp16Widths",
    "PaperSum",
    "exact_sum",
    "fp16_operands",
    "fp16_widths",
    "paper_sum",
]

FP16_EXPONENT_LARGEST = 30
FP16_SIGNIFICAND_BITS = 11
GUARD_BITS = 3
ALIGNED_BITS = FP16_SIGNIFICAND_BITS + GUARD_BITS
MANTISSA_BITS = 15
EXPONENT_BITS = 6
SCALE_LARGEST = 255
# A group sum of mantissa m and exponent x is m * 2**(x - ACCUMULATOR_BIAS) grid units.
ACCUMULATOR_BIAS = 28
_SIGNIFICAND_LARGEST = (1 << FP16_SIGNIFICAND_BITS) - 1
_FP16_LARGEST = _SIGNIFICAND_LARGEST << FP16_EXPONENT_LARGEST - 1  # in units of 2**-24

Accumulator = Literal["paper", "exact"]


@dataclass(frozen=True)
class Fp16Widths:
    """Widths of a PE, in bits with sign where it has one.

    Attributes
    ----------
    product : one lane's signed contribution.
    dot : exact sum of the lanes.
    sum : dot, shifted to the left by the largest significance, plus the group sum.
    group_sum : mantissa of the group sum, or all of it if exact.
    exponent : of the group sum; 0 if exact.
    scaled : group sum times its 8-bit scale.
    """

    product: int
    dot: int
    sum: int
    group_sum: int
    exponent: int
    scaled: int


@dataclass(frozen=True)
class Fp16Steps:
    """What the lanes of a PE see, step by step: int64, all [..., steps, lanes] but ``significance`` [..., steps].

    Attributes
    ----------
    a_sign, a_exponent, significand : the activations, see :func:`fp16_operands`.
    w_sign, w_exponent, w_mantissa : the terms.
    significance : log2 of the weight of each step.
    """

    a_sign: Tensor
    a_exponent: Tensor
    significand: Tensor
    w_sign: Tensor
    w_exponent: Tensor
    w_mantissa: Tensor
    significance: Tensor

    @staticmethod
    def of(x: Tensor, codes: Tensor, kind: WeightType, selector: Tensor, lanes: int = 4) -> "Fp16Steps":
        """Return the steps of groups: x float16 [..., K], codes [..., K] as stored, selector [...].

        K must be a multiple of ``lanes``; chunks are consecutive, each with all steps of the type in their order.
        """
        if codes.shape[-1] % lanes:
            raise InputError(f"a group must have a multiple of {lanes} weights, not {codes.shape[-1]}")
        table, significances = _tables(kind)
        selector = selector.long() if kind.special_values else torch.zeros_like(selector, dtype=torch.int64)
        chunks = codes.long().reshape(*codes.shape[:-1], -1, lanes)
        # [..., chunks, lanes, steps, 3] with the steps before the lanes, and then beside the chunks
        spelled = table[selector[..., None, None], chunks].movedim(-2, -3).flatten(-4, -3)
        significance = significances[selector].unsqueeze(-2).expand(*chunks.shape[:-1], kind.steps).flatten(-2)
        a_sign, a_exponent, significand = (
            part.reshape(chunks.shape).repeat_interleave(kind.steps, -2) for part in fp16_operands(x)
        )
        w_sign, w_exponent, w_mantissa = spelled.unbind(-1)
        return Fp16Steps(a_sign, a_exponent, significand, w_sign, w_exponent, w_mantissa, significance)


def _tables(kind: WeightType) -> tuple[Tensor, Tensor]:
    """Return [selector, code, step, (sign, exponent, mantissa)] and the significances [selector, step]."""
    selectors, codes = range(max(1, len(kind.special_values))), range(1 << kind.code_bits)
    terms = [[[kind.term(code, step, s) for step in range(kind.steps)] for code in codes] for s in selectors]
    fields = [[[(t.sign, t.exponent, t.mantissa) for t in row] for row in rows] for rows in terms]
    significances = [[kind.significance(step, s) for step in range(kind.steps)] for s in selectors]
    return torch.tensor(fields), torch.tensor(significances)


@dataclass(frozen=True)
class PaperSum:
    """Group sums ``mantissa * 2**(exponent - ACCUMULATOR_BIAS)`` in grid units of the weight, int64."""

    mantissa: Tensor
    exponent: Tensor

    def scaled(self, scale: Tensor) -> "PaperSum":
        """Return the sums times unsigned 8-bit scales: the mantissa grows, the exponent stays."""
        return PaperSum(self.mantissa * scale.long(), self.exponent)

    def float64(self) -> Tensor:
        """Return the values, exactly."""
        return torch.ldexp(self.mantissa.double(), self.exponent - ACCUMULATOR_BIAS)


def fp16_operands(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return sign, exponent 1..30 and significand 0..2047 of float16 numbers, int64.

    A subnormal has exponent 1; Inf and NaN become the largest finite number with their sign.
    """
    if x.dtype != torch.float16:
        raise InputError(f"activations must be float16, not {x.dtype}")
    bits = x.contiguous().view(torch.int16).long() & 0xFFFF
    field, fraction = bits >> 10 & 31, bits & 1023
    special = field > FP16_EXPONENT_LARGEST
    significand = torch.where(special, _SIGNIFICAND_LARGEST, fraction + (field > 0).long() * 1024)
    return bits >> 15, field.clamp(1, FP16_EXPONENT_LARGEST), significand


def fp16_widths(
    kinds: WeightType | tuple[WeightType, ...], accumulator: Accumulator, group: int = 128, lanes: int = 4
) -> Fp16Widths:
    """Return the widths of a PE for groups of up to ``group`` weights of these types; InputError if none can be."""
    kinds = (kinds,) if isinstance(kinds, WeightType) else kinds
    if group < lanes or lanes < 1:
        raise InputError(f"group must be at least the {lanes} lanes, and those at least 1, not {group!r}")
    significance = max(kind.largest_significance for kind in kinds)
    largest = max(kind.largest_programmable if len(kinds) > 1 else kind.largest for kind in kinds)
    exponent = EXPONENT_LARGEST if any(k.magnitudes for k in kinds) else max(k.largest_exponent for k in kinds)
    if accumulator == "exact":
        product, total = _FP16_LARGEST << exponent, _FP16_LARGEST * largest * group
        bits = signed_bits(total)
        return Fp16Widths(
            signed_bits(product), signed_bits(lanes * product), bits, bits, 0, signed_bits(total * SCALE_LARGEST)
        )
    # A normalised sum of exponent x is at least 2**(MANTISSA_BITS - 2 + x - bias); floors add less than 1 a step.
    reach = (_FP16_LARGEST >> 24) * largest * group
    if (8 * reach).bit_length() >= MANTISSA_BITS - 1 - ACCUMULATOR_BIAS + (1 << EXPONENT_BITS):
        raise InputError(f"group must be short enough for a {EXPONENT_BITS}-bit exponent, not {group!r}")
    product = _SIGNIFICAND_LARGEST << GUARD_BITS
    mantissa = 1 << MANTISSA_BITS - 1
    return Fp16Widths(
        signed_bits(product),
        signed_bits(lanes * product),
        signed_bits((lanes * product << significance) + mantissa),
        MANTISSA_BITS,
        EXPONENT_BITS,
        signed_bits(mantissa * SCALE_LARGEST),
    )


def paper_sum(steps: Fp16Steps) -> PaperSum:
    """Return the group sums [...] of the paper's accumulator, step by step as section 3 of the module says."""
    exponents = steps.a_exponent + steps.w_exponent
    tops = exponents.amax(-1)
    shift = tops.unsqueeze(-1) - exponents
    magnitude = (steps.significand * steps.w_mantissa << GUARD_BITS) >> shift.clamp(max=ALIGNED_BITS)
    dots = _signed_by(magnitude, steps.a_sign ^ steps.w_sign).sum(-1)
    mantissa, exponent = torch.zeros_like(tops[..., 0]), torch.zeros_like(tops[..., 0])
    for step in range(tops.shape[-1]):
        top, dot = tops[..., step], dots[..., step] << steps.significance[..., step]
        common = torch.maximum(exponent, top)
        behind = common - exponent
        kept = torch.where(behind < MANTISSA_BITS - 1, mantissa >> behind, 0)
        total = kept + (dot >> (common - top))
        excess = (leading_one(torch.where(total < 0, ~total, total)) - (MANTISSA_BITS - 2)).clamp(min=0)
        mantissa, exponent = total >> excess, common + excess
    return PaperSum(mantissa, exponent)


def exact_sum(steps: Fp16Steps) -> Tensor:
    """Return the exact group sums [...] in units of 2**-24 grid units; InputError if they could leave int64."""
    products = (steps.significand * steps.w_mantissa) << (steps.a_exponent - 1 + steps.w_exponent)
    weights = (1 << steps.significance).unsqueeze(-1)
    if products.numel() and float((products.double() * weights).sum((-1, -2)).max()) >= 2.0**62:
        raise InputError("an exact group sum could exceed 62 bits; take a shorter group")
    return (_signed_by(products, steps.a_sign ^ steps.w_sign) * weights).sum((-1, -2))


def _signed_by(magnitude: Tensor, sign: Tensor) -> Tensor:
    return torch.where(sign != 0, -magnitude, magnitude)
