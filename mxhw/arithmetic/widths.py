"""Register widths of the GEMM units, derived from the largest operands so that no sum can overflow.

Source: arithmetic.md section 5. Activations of the BitMoD unit are INT8 codes of a symmetric format:
-128 does not occur. All widths are in bits and include the sign.
"""

from dataclasses import dataclass

from mxhw.arithmetic.terms import ACTIVATION_LARGEST, weight_type_named
from mxhw.errors import InputError

__all__ = ["BitModWidths", "DialectWidths", "bitmod_widths", "dialect_widths", "signed_bits"]

MULTIPLIER_LARGEST = 255
DIALECT_LARGEST = 15
DIALECT_EXPONENT_LARGEST = 31


@dataclass(frozen=True)
class BitModWidths:
    """Widths of one bit-serial PE.

    Attributes
    ----------
    dot : one step's sum over the lanes, before its shift by the shared significance.
    group_sum : exact sum of a group (of everything, if there are no groups).
    scaled_sum : group sum times its 8-bit multiplier.
    accumulator : exact sum over all of K.
    """

    dot: int
    group_sum: int
    scaled_sum: int
    accumulator: int


@dataclass(frozen=True)
class DialectWidths:
    """Widths of one DialectFP4 PE.

    Attributes
    ----------
    block_sum : exact sum of a block's products, in quarter units.
    shift : unsigned bits of the shift that a block sum gets.
    accumulator : exact sum over all of K, in units of the smallest possible block sum.
    """

    block_sum: int
    shift: int
    accumulator: int


def signed_bits(largest: int) -> int:
    """Return the bits of a two's-complement register that holds every integer in -largest..largest."""
    return largest.bit_length() + 1


def bitmod_widths(weight_type: str, k: int, group: int | None = None, lanes: int = 4) -> BitModWidths:
    """Return the widths of a bit-serial PE for a reduction of length ``k``.

    ``group`` is the number of weights that share an 8-bit multiplier; None where there is no multiplier.
    Raises InputError for an unknown weight type or a length below 1.
    """
    _check_length("k", k)
    kind = weight_type_named(weight_type)
    product = ACTIVATION_LARGEST * kind.largest
    dot = signed_bits(lanes * ACTIVATION_LARGEST << kind.largest_exponent)
    if group is None:
        total = signed_bits(product * k)
        return BitModWidths(dot, total, total, total)
    _check_length("group", group)
    return BitModWidths(
        dot,
        signed_bits(product * group),
        signed_bits(product * group * MULTIPLIER_LARGEST),
        signed_bits(product * max(k, group) * MULTIPLIER_LARGEST),
    )


def dialect_widths(k: int, block: int, weight_exponents: tuple[int, int]) -> DialectWidths:
    """Return the widths of a DialectFP4 PE; ``weight_exponents``: the layer's smallest and largest stored exponent."""
    _check_length("k", k)
    _check_length("block", block)
    low, high = weight_exponents
    if not 0 <= low <= high <= DIALECT_EXPONENT_LARGEST:
        raise InputError(f"weight_exponents must be (low, high) with 0 <= low <= high <= 31, not {weight_exponents!r}")
    shift = DIALECT_EXPONENT_LARGEST + high - low
    product = DIALECT_LARGEST * DIALECT_LARGEST
    return DialectWidths(
        signed_bits(product * block), shift.bit_length(), signed_bits(product * max(k, block) << shift)
    )


def _check_length(name: str, value: int) -> None:
    if value < 1:
        raise InputError(f"{name} must be at least 1, not {value!r}")
