"""Which GEMM unit computes which pair of formats, and as what.

Weights whose output channels are in several formats (:class:`mxhw.formats.ChannelGroups`) go to the unit that takes all
of them, if one array can: its memory then holds the codes of one weight type (:mod:`mxhw.arithmetic.recoding`).
"""

from collections.abc import Sequence
from typing import Literal

from mxhw.arithmetic.terms import terms
from mxhw.errors import InputError
from mxhw.formats import BitModFormat, DialectFormat, Format, IntegerFormat, formats_in, parse_format

__all__ = [
    "SCALE_BITS",
    "Unit",
    "hides_scale",
    "supports",
    "unit_for",
    "weight_group",
    "weight_type",
    "weight_unit",
    "why_no_array",
]

Unit = Literal["bitmod", "dialect"]

SCALE_BITS = 8
_LANES = 4
# The special values, by name, that the term decoder has: a selector of two bits, two terms.
_DECODED = "four"


def supports(x_format: Format | str, w_format: Format | str) -> Unit | None:
    """Return the unit that computes ``x · wᵀ`` of these formats exactly, or None if there is none.

    The BitMoD unit takes integer activations with one power-of-two scale per row, and weights whose scales are one per
    row or unsigned 8-bit multipliers per group; the DialectFP4 unit takes two DialectFP4 operands of one block size.
    """
    x, w = _format(x_format), _format(w_format)
    unit = weight_unit(w)
    if unit == "dialect":
        return unit if isinstance(x, DialectFormat) and x.block == w.block else None
    is_activation = isinstance(x, IntegerFormat) and x.scale_dtype == "e8m0" and x.group is None
    return unit if is_activation else None


def weight_unit(w_format: Format | str) -> Unit | None:
    """Return the unit that takes weights of this format, with inputs that fit; None if there is none."""
    own = formats_in(_format(w_format))
    if len(own) > 1:
        return weight_unit(own[0]) if why_no_array(own) is None else None
    if isinstance(own[0], DialectFormat):
        return "dialect"
    return "bitmod" if _is_serial_weight(own[0]) else None


def why_no_array(w_formats: Sequence[Format]) -> str | None:
    """Return in a sentence why no array takes weights of all these formats; None if one does.

    They must have one unit, and as many weights must share their metadata in each.
    """
    own = [each for fmt in w_formats for each in formats_in(fmt)]
    for fmt in own:
        if weight_unit(fmt) is None:
            return f"no hardware unit takes {fmt} weights"
    for other in own[1:]:
        if weight_unit(other) != weight_unit(own[0]):
            return f"{own[0]} and {other} weights have no array in common: their units differ"
        mine, its = _shared_by(own[0]), _shared_by(other)
        if mine != its:
            return f"{own[0]} and {other} weights have no array in common: {mine} and {its}"
    return None


def _shared_by(fmt: Format) -> str:
    """Return in words how many weights share their metadata."""
    group = fmt.block if weight_unit(fmt) == "dialect" else weight_group(fmt)
    return "no groups" if group is None else f"groups of {group}"


def unit_for(x_format: Format | str, w_format: Format | str) -> Unit:
    """Return the unit of a pair of formats; InputError that names both if there is none."""
    unit = supports(x_format, w_format)
    own = formats_in(_format(w_format))
    if len(own) > 1 and (reason := why_no_array(own)) is not None:
        raise InputError(f"no array multiplies {_format(x_format)} inputs by {_format(w_format)} weights: {reason}")
    if unit is None:
        raise InputError(
            f"no hardware unit multiplies {_format(x_format)} inputs by {_format(w_format)} weights; the units take "
            "int8-e8m0 with int8, int8-e8m0, int6, int4-g128-s8, bitmod3 or bitmod4 (also -clip and -gN, with 8-bit "
            "scales and the paper's four special values), and dialect4 with dialect4 of one block size"
        )
    return unit


def weight_type(w_format: Format | str) -> str:
    """Return the bit-serial weight type ("int8", "fp4", …) of a weight format; InputError if it has none.

    Several formats have types of their own; see :func:`mxhw.arithmetic.common_weight_type`.
    """
    own = formats_in(_format(w_format))
    w = own[0] if len(own) == 1 else _format(w_format)
    if isinstance(w, IntegerFormat) and not w.asymmetric:
        return f"int{w.width}"
    if isinstance(w, BitModFormat) and w.special_values == _DECODED:
        return f"fp{w.width}"
    raise InputError(
        f"the bit-serial unit has no weight type for {w}; it takes symmetric int2..int8, bitmod3 and bitmod4 "
        "with the paper's four special values"
    )


def weight_group(w_format: Format | str) -> int | None:
    """Return how many k share one multiplier in the bit-serial unit; None for weights without multipliers."""
    w = _format(w_format)
    return w.block if any(field.name == "multiplier" for field in w.fields) else None


def _is_serial_weight(w: Format) -> bool:
    """Whether scales are one per row, or 8-bit multipliers of groups that last at least 8 cycles on four lanes."""
    if isinstance(w, BitModFormat):
        return w.scale_dtype == "s8" and w.special_values == _DECODED and _hides_scale(w.group, f"fp{w.width}")
    if not isinstance(w, IntegerFormat) or w.asymmetric:
        return False
    if w.group is None:
        return w.scale_dtype != "s8"
    return w.scale_dtype == "s8" and _hides_scale(w.group, weight_type(w))


def hides_scale(group: int, lanes: int, steps: int) -> bool:
    """Whether a group takes no fewer cycles than its serial scale has bits; ``steps``: cycles of a chunk of lanes."""
    return group // lanes * steps >= SCALE_BITS


def _hides_scale(group: int, kind: str) -> bool:
    """Whether a group of weights fills its lanes and hides its scale."""
    return group % _LANES == 0 and hides_scale(group, _LANES, terms(kind))


def _format(fmt: Format | str) -> Format:
    return parse_format(fmt) if isinstance(fmt, str) else fmt
