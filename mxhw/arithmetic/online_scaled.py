"""On-line quantizers with a power-of-two scale, as integer arithmetic: int16 mantissas become MX or integer codes.

Both normalise by the position p of the leading one of the block's largest magnitude and round each element to nearest
even at a fixed place, as the formats do whose encoding of ``m * 2**e`` they equal bit for bit:

- MX elements: ``mxfp4``, ``mxfp6-…``, ``mxfp8-…``, ``mxintB`` with the rule of the standard (OCP MX v1.0: scale
  2^(floor(log2 amax) - emax), saturating); :func:`mx_exponents` is where that is promised.
- integers of 2 to 16 bits with the rule of ``intB-e8m0`` (2 to 8 bits there). arithmetic.md section 4 rounds half up
  instead, which ``rounding="half_up"`` does; it stops at a shift of zero, this shifts small vectors to the left, which
  changes code and exponent and not the value.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from mxhw.arithmetic.rounding import leading_one, round_shift, saturate
from mxhw.errors import InputError
from mxhw.formats import MXFloatFormat, MXIntFormat
from mxhw.formats.elements import ELEMENT_TYPES
from mxhw.formats.powers import E8M0_BIAS

__all__ = [
    "MX_ELEMENTS",
    "FloatElementSteps",
    "IntegerRounding",
    "ScaledCodes",
    "element_format",
    "encode_integer",
    "encode_mx",
    "float_steps",
    "integer_exponents",
    "integer_offset",
    "mx_exponents",
    "mx_offset",
    "round_shift_even",
]

IntegerRounding = Literal["half_even", "half_up"]

MX_INTEGERS = {f"mxint{bits}": bits for bits in range(2, 9)}
MX_ELEMENTS = (*ELEMENT_TYPES, *MX_INTEGERS)

_MANTISSA_BITS = 16
# The leading one of a normalised magnitude; -2**15 reaches it.
_TOP = _MANTISSA_BITS - 1
# Of float32, in which the formats compute: exponents of its smallest normal and its largest value.
_FLOAT_EXPONENTS = -126, 127


class ScaledCodes(NamedTuple):
    """Int64: codes [..., blocks, block] and E8M0 byte [..., blocks].

    Float codes are unsigned (sign, exponent, mantissa), integer codes are signed.
    """

    codes: Tensor
    exponent: Tensor


@dataclass(frozen=True)
class FloatElementSteps:
    """How a float element is cut from a normalised magnitude.

    Attributes
    ----------
    mantissa : bits below the leading one.
    lowest : position of the normalised magnitude below which a leading one is subnormal (0: none is).
    field : exponent field less one of a leading one at ``lowest``.
    largest : code of the largest value, to which larger ones saturate.
    """

    mantissa: int
    lowest: int
    field: int
    largest: int


def element_format(element: str, block: int = 32) -> MXFloatFormat | MXIntFormat:
    """Return the MX format of an element type; InputError if there is none of this name."""
    if element in ELEMENT_TYPES:
        return MXFloatFormat(element, size=block)
    if element in MX_INTEGERS:
        return MXIntFormat(MX_INTEGERS[element], size=block)
    raise InputError(f"element must be one of {', '.join(MX_ELEMENTS)}, not {element!r}")


@cache
def float_steps(fmt: MXFloatFormat) -> FloatElementSteps:
    """Return the steps of a float element."""
    kind = fmt.type
    bottom = _TOP + 1 - kind.emax - kind.bias
    largest = int(kind.codes(torch.tensor([kind.largest]))[0])
    return FloatElementSteps(kind.mantissa_bits, max(bottom, 0), max(-bottom, 0), largest)


def mx_offset(fmt: MXFloatFormat | MXIntFormat, exponent: int) -> int:
    """Return E8M0 byte less position of the leading one; InputError where the exponent is out of its range."""
    allowed = mx_exponents(fmt)
    if exponent not in allowed:
        raise InputError(f"exponent must be {allowed[0]} to {allowed[-1]} for {fmt}, not {exponent!r}")
    return exponent - fmt.type.emax + E8M0_BIAS


def mx_exponents(fmt: MXFloatFormat | MXIntFormat) -> range:
    """Return the exponents of mantissas for which no scale is clamped and float32 holds every ``m * 2**e``."""
    low, high = _FLOAT_EXPONENTS
    return range(low + fmt.type.emax, high - _TOP + 1)


def integer_offset(bits: int, exponent: int) -> int:
    """Return E8M0 byte less position of the leading one; InputError where the exponent is out of its range."""
    allowed = integer_exponents(bits)
    if exponent not in allowed:
        raise InputError(f"exponent must be {allowed[0]} to {allowed[-1]} for {bits} bits, not {exponent!r}")
    return exponent - (bits - 2) + E8M0_BIAS


def integer_exponents(bits: int) -> range:
    """Return the exponents of mantissas for which no scale is clamped and float32 holds every ``m * 2**e``."""
    low, high = _FLOAT_EXPONENTS
    return range(low + bits - 2, high - _TOP + 1)


def encode_mx(mantissas: Tensor, element: str, exponent: int = 0) -> ScaledCodes:
    """Encode int16 mantissas [..., blocks, block] of unit ``2**exponent`` as MX blocks of the last dimension.

    Raises
    ------
    InputError
        For an unknown element, or an exponent out of :func:`mx_exponents`.
    """
    fmt = element_format(element, mantissas.shape[-1])
    offset = mx_offset(fmt, exponent)
    normal, position = _normalise(mantissas)
    if isinstance(fmt, MXIntFormat):
        codes = _integer_codes(mantissas, normal, fmt.width, "half_even")
    else:
        steps = float_steps(fmt)
        place = steps.lowest + leading_one(normal >> steps.lowest)
        mantissa = round_shift_even(normal << steps.mantissa, place)
        magnitude = ((place - steps.lowest + steps.field) << steps.mantissa) + mantissa
        magnitude = torch.where(normal > 0, magnitude.clamp(max=steps.largest), 0)
        codes = (mantissas < 0).long() << (fmt.type.bits - 1) | magnitude
    return ScaledCodes(codes, _bytes(mantissas, position, offset))


def encode_integer(
    mantissas: Tensor, bits: int = 8, exponent: int = 0, rounding: IntegerRounding = "half_even"
) -> ScaledCodes:
    """Encode int16 mantissas [..., vectors, length] of unit ``2**exponent``, one scale per vector.

    Raises
    ------
    InputError
        If the exponent is out of :func:`integer_exponents`.
    """
    offset = integer_offset(bits, exponent)
    normal, position = _normalise(mantissas)
    return ScaledCodes(_integer_codes(mantissas, normal, bits, rounding), _bytes(mantissas, position, offset))


def round_shift_even(x: Tensor, shift: Tensor | int) -> Tensor:
    """Return non-negative ``x / 2**shift`` rounded to nearest even, for ``shift`` of at least 0."""
    shift = torch.as_tensor(shift, dtype=torch.int64, device=x.device)
    odd = (x >> shift) & 1
    below_half = torch.where(shift > 0, (1 << (shift - 1).clamp(min=0)) - 1 + odd, 0)
    return (x + below_half) >> shift


def _normalise(mantissas: Tensor) -> tuple[Tensor, Tensor]:
    """Magnitudes shifted so that the largest has its leading one at the top, and where that one was."""
    magnitude = mantissas.to(torch.int64).abs()
    position = leading_one(magnitude.amax(-1))
    return magnitude << (_TOP - position).unsqueeze(-1), position


def _integer_codes(mantissas: Tensor, normal: Tensor, bits: int, rounding: IntegerRounding) -> Tensor:
    shift = _TOP - (bits - 2)
    if rounding == "half_up":
        return saturate(round_shift(torch.where(mantissas < 0, -normal, normal), shift), bits)
    levels = saturate(round_shift_even(normal, shift), bits)
    return torch.where(mantissas < 0, -levels, levels)


def _bytes(mantissas: Tensor, position: Tensor, offset: int) -> Tensor:
    """The E8M0 byte of each block; a block of zeros has the smallest scale."""
    return torch.where((mantissas != 0).any(-1), position + offset, 0)
