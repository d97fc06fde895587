"""Register widths of the GEMM units, derived from the largest operands so that no sum can overflow.

Source: arithmetic.md section 5. Activations of the BitMoD unit are INT8 codes of a symmetric format:
-128 does not occur. All widths are in bits and include the sign.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mxhw.arithmetic.mac import block_element
from mxhw.arithmetic.terms import ACTIVATION_LARGEST, EXPONENT_LARGEST, weight_type_named
from mxhw.errors import InputError

__all__ = [
    "BitModWidths",
    "BlockWidths",
    "bitmod_widths",
    "block_widths",
    "dialect_widths",
    "runtime_widths",
    "signed_bits",
]

MULTIPLIER_LARGEST = 255


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
class BlockWidths:
    """Widths of one block PE: DialectFP4, MXFP, MXINT.

    Attributes
    ----------
    block_sum : exact sum of a block's products, in units of the smallest product.
    shift : unsigned bits of the shift that a block sum gets.
    accumulator : exact sum over all of K, in units of the smallest possible block sum.
    x_exponent, w_exponent : unsigned bits of a block's exponent, counted from the lowest of its window; at least 1.
    """

    block_sum: int
    shift: int
    accumulator: int
    x_exponent: int
    w_exponent: int


def signed_bits(largest: int) -> int:
    """Return the bits of a two's-complement register that holds every integer in -largest..largest."""
    return largest.bit_length() + 1


def bitmod_widths(weight_type: str, k: int, group: int | None = None, lanes: int = 4) -> BitModWidths:
    """Return the widths of a bit-serial PE for a reduction of length ``k``.

    ``group`` is the number of weights that share an 8-bit multiplier; None where there is no multiplier.
    Raises InputError for an unknown weight type or a length below 1.
    """
    kind = weight_type_named(weight_type)
    return _bit_serial_widths(kind.largest, kind.largest_exponent, k, group, lanes)


def runtime_widths(weight_types: Sequence[str], k: int, group: int | None = None, lanes: int = 4) -> BitModWidths:
    """Return the widths of a bit-serial PE that takes any of these types, with any special values, at run time."""
    if not weight_types:
        raise InputError("weight_types must name at least one type")
    kinds = [weight_type_named(name) for name in weight_types]
    largest = max(kind.largest_programmable for kind in kinds)
    exponent = EXPONENT_LARGEST if any(k.magnitudes for k in kinds) else max(k.largest_exponent for k in kinds)
    return _bit_serial_widths(largest, exponent, k, group, lanes)


def _bit_serial_widths(largest: int, exponent: int, k: int, group: int | None, lanes: int) -> BitModWidths:
    _check_length("k", k)
    product = ACTIVATION_LARGEST * largest
    dot = signed_bits(lanes * ACTIVATION_LARGEST << exponent)
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


def block_widths(
    element: str,
    k: int,
    block: int,
    x_exponents: tuple[int, int],
    w_exponents: tuple[int, int],
    *,
    block_sum: int | None = None,
    accumulator: int | None = None,
) -> BlockWidths:
    """Return the widths of a block PE for a reduction of length ``k`` in blocks of ``block``.

    ``x_exponents`` and ``w_exponents`` are windows: the lowest and highest stored exponent of the operand's blocks.
    ``block_sum`` and ``accumulator`` ask for wider registers; InputError with the bound if they are too narrow.
    """
    _check_length("k", k)
    _check_length("block", block)
    kind = block_element(element)
    for name, (low, high) in (("x_exponents", x_exponents), ("w_exponents", w_exponents)):
        if not 0 <= low <= high <= kind.largest_exponent:
            allowed = f"(low, high) with 0 <= low <= high <= {kind.largest_exponent}"
            raise InputError(f"{name} must be {allowed}, not {(low, high)!r}")
    spans = tuple(high - low for low, high in (x_exponents, w_exponents))
    product = kind.largest**2
    x_bits, w_bits = (max(1, span.bit_length()) for span in spans)
    return BlockWidths(
        at_least("block_sum", block_sum, signed_bits(product * block)),
        sum(spans).bit_length(),
        at_least("accumulator", accumulator, signed_bits(product * max(k, block) << sum(spans))),
        x_bits,
        w_bits,
    )


def dialect_widths(k: int, block: int, weight_exponents: tuple[int, int]) -> BlockWidths:
    """Return the widths of a DialectFP4 PE whose inputs have any exponent; ``weight_exponents``: the layer's window."""
    return block_widths("dialect4", k, block, (0, block_element("dialect4").largest_exponent), weight_exponents)


def integer_sum_bits(x_width: int, w_width: int, k: int) -> int:
    """Return the bits of a sum of ``k`` products of symmetric integers; no fewer than a product of any two has."""
    _check_length("k", k)
    largest = ((1 << (x_width - 1)) - 1) * ((1 << (w_width - 1)) - 1) * k
    return max(signed_bits(largest), x_width + w_width)


def at_least(name: str, width: int | None, bound: int) -> int:
    """Return ``width``, or the derived ``bound`` if it is None; InputError if the width is below the bound."""
    if width is None:
        return bound
    if not isinstance(width, int) or isinstance(width, bool) or width < bound:
        raise InputError(f"{name} must be an integer of at least {bound} bits, its exact bound, not {width!r}")
    return width


def _check_length(name: str, value: int) -> None:
    if value < 1:
        raise InputError(f"{name} must be at least 1, not {value!r}")
