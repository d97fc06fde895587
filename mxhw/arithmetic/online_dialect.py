"""The on-line DialectFP4 quantizer as integer arithmetic: int16 mantissas or FP16 patterns become codes.

Source: BlockDialect (arXiv 2501.01144v5), section 3; arithmetic.md section 4. Equal bit for bit to
``dialect4-online[-bN]`` of :mod:`mxhw.formats`, whose tables these are:

- int16: to the encoding of ``m * 2**e``, for every e from :data:`DIALECT_INT16_EXPONENTS`; below -13 the stored
  exponent is clamped at zero as it is there.
- FP16: to the encoding of finite values. Inf and NaN, for which the format has no code, count as ±65504.

Steps, per block: the peak fixes the shared exponent; ``q = floor(4 |x| / 2**SE)`` of 5 bits; the largest q, rounded to
half units, names a pair of dialects; more q in the beneficial range of the odd one choose it; the index is the number
of its thresholds that q reaches.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from mxhw.arithmetic.rounding import leading_one
from mxhw.errors import InputError
from mxhw.formats import DIALECT_EXPONENT_BIAS, DIALECT_RANGES, DIALECT_THRESHOLDS

__all__ = [
    "DIALECT_INT16_EXPONENTS",
    "FP16_LARGEST",
    "DialectCodes",
    "DialectInput",
    "dialect_int16_offset",
    "encode_dialect",
    "smallest_position",
]

DialectInput = Literal["int16", "fp16"]

_EMAX = 2
_LARGEST_BIN = 31
# Of the pattern's magnitude: the largest finite value.
FP16_LARGEST = 0x7BFF
_FP16_MANTISSA = 10
# With a leading one at position 0..15, stored exponents end at 31; below the range all magnitudes would be zero.
DIALECT_INT16_EXPONENTS = range(-28, 4)


class DialectCodes(NamedTuple):
    """Int64: codes [..., blocks, block] (sign << 3 | index), dialect and stored exponent [..., blocks]."""

    codes: Tensor
    dialect: Tensor
    exponent: Tensor


def dialect_int16_offset(exponent: int) -> int:
    """Return stored exponent less position of the leading one, for mantissas of unit ``2**exponent``."""
    if exponent not in DIALECT_INT16_EXPONENTS:
        low, high = DIALECT_INT16_EXPONENTS[0], DIALECT_INT16_EXPONENTS[-1]
        raise InputError(f"exponent must be {low} to {high} for int16 input, not {exponent!r}")
    return exponent + DIALECT_EXPONENT_BIAS - _EMAX


def smallest_position(exponent: int) -> int:
    """Return the position that a leading one counts as at least, so that no stored exponent is negative."""
    return max(0, -dialect_int16_offset(exponent))


def encode_dialect(values: Tensor, source: DialectInput = "int16", exponent: int = 0) -> DialectCodes:
    """Encode blocks of the last dimension.

    Parameters
    ----------
    values : integers [..., blocks, block]
        Mantissas from -2**15 to 2**15 - 1, or FP16 patterns from 0 to 2**16 - 1.
    source : "int16" or "fp16"
    exponent : int
        A mantissa counts units of ``2**exponent``; unused for FP16.

    Raises
    ------
    InputError
        If the exponent is out of :data:`DIALECT_INT16_EXPONENTS`.
    """
    values = values.to(torch.int64)
    if source == "int16":
        sign, stored, bins = _int16_bins(values, exponent)
    else:
        sign, stored, bins = _fp16_bins(values)
    dialect = _choose(bins)
    thresholds = torch.tensor(DIALECT_THRESHOLDS)[dialect]
    index = (bins.unsqueeze(-1) >= thresholds.unsqueeze(-2)).sum(-1)
    return DialectCodes(sign << 3 | index, dialect, stored)


def _int16_bins(mantissas: Tensor, exponent: int) -> tuple[Tensor, Tensor, Tensor]:
    """Sign, stored exponent and q of mantissas."""
    offset, smallest = dialect_int16_offset(exponent), smallest_position(exponent)
    magnitude = mantissas.abs()
    peak = magnitude.amax(-1)
    position = leading_one(peak).clamp(min=smallest)
    bins = (magnitude << 4) >> position.unsqueeze(-1)
    return (mantissas < 0).long(), torch.where(peak > 0, position + offset, 0), bins


def _fp16_bins(patterns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sign, stored exponent and q of FP16 patterns."""
    magnitude = (patterns & 0x7FFF).clamp(max=FP16_LARGEST)
    field = magnitude >> _FP16_MANTISSA
    significand = (magnitude & 0x3FF) | ((field > 0).long() << _FP16_MANTISSA)
    # Magnitudes are ordered as their patterns, so that the largest pattern has the largest exponent.
    stored = (field.amax(-1) - _EMAX).clamp(min=0)
    bins = significand >> (8 + stored.unsqueeze(-1) - field.clamp(min=1))
    return patterns >> 15 & 1, stored, bins


def _choose(bins: Tensor) -> Tensor:
    """The dialect of each block by the two-stage rule."""
    half_units = (bins.amax(-1) + 1) >> 1
    pair = 15 - half_units.clamp(8, 15)
    low, high = torch.tensor(DIALECT_RANGES).unbind(-1)

    def in_range(dialect: Tensor) -> Tensor:
        within = (bins >= low[dialect].unsqueeze(-1)) & (bins < high[dialect].unsqueeze(-1))
        return within.sum(-1)

    return 2 * pair + (in_range(2 * pair) < in_range(2 * pair + 1)).long()
