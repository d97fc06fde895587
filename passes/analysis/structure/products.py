"""The record of a matrix product under two formats: everything that a format or the arithmetic defines is read there.

Layers that share an array have the weight type that holds the values of all, and so has a weight whose output channels
are in several formats: its words are as wide as those of the widest, so that the narrower ones save no memory inside
(the ledger, which counts what is stored, counts each in its own width). What depends on the weights themselves is taken
from them where they are there; of a model without weights the exponents of DialectFP4 blocks are assumed to lie in a
window as wide as that of normally distributed weights (:data:`ASSUMED_EXPONENTS`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

from mxhw.arithmetic import (
    bitmod_widths,
    dialect_widths,
    supports,
    terms,
    weight_group,
    weight_type_named,
    why_no_array,
)
from mxhw.arithmetic.dataflow.streams import LARGEST_SCALE
from mxhw.arithmetic.mac import block_element
from mxhw.arithmetic.recoding import common_weight_type
from mxhw.arithmetic.widths import signed_bits
from mxhw.errors import InputError
from mxhw.formats import Format, formats_in
from mxhw.hardware.structure import Product, WeightStorage

__all__ = ["ASSUMED_EXPONENTS", "LANES", "Multiplied", "product_record", "stored_bits"]

LANES = 4  # products of a processing element a cycle: BitMoD, section on the PE
INTEGER_BITS = 8  # activations of the bit-serial unit
DIALECT_BITS = 4
ASSUMED_EXPONENTS = (8, 12)
"""Stored exponents of DialectFP4 weights that nobody has: blocks of 32 of the demo model's layers span five."""


@dataclass(frozen=True)
class Multiplied:
    """What an array computes, apart from its size.

    Attributes
    ----------
    inputs : format of what streams in.
    weights : formats of the weights of all layers that it serves.
    n, k : outputs, elements of the reduction.
    exponents : smallest and largest stored exponent of DialectFP4 weights.
    """

    inputs: Format
    weights: tuple[Format, ...]
    n: int
    k: int
    exponents: tuple[int, int] = ASSUMED_EXPONENTS


def stored_bits(fmt: Format, per: str) -> int:
    """Return the bits that a format stores for each "block" or "row" beside its codes."""
    return sum(field.bits for field in fmt.fields if field.per == per)


def product_record(
    node: str,
    work: Multiplied,
    *,
    storage: WeightStorage = "inside",
    experts: int = 1,
    active_experts: int = 1,
) -> Product:
    """Return the record of an array of one processing element; experts as of :class:`Product`.

    Raises
    ------
    InputError
        If no unit multiplies the two formats, or no array serves all layers; the message names the node.
    """
    first, lanes = work.weights[0], gcd(LANES, work.k)
    kinds = {supports(work.inputs, each) for each in work.weights}
    if kinds not in ({"bitmod"}, {"dialect"}):
        wrong = next(each for each in work.weights if supports(work.inputs, each) is None)
        reason = why_no_array([wrong]) if len(formats_in(wrong)) > 1 else None
        raise InputError(
            f"node {node!r}: no hardware unit multiplies inputs in {work.inputs} by weights in {wrong}; "
            f"{reason or '`mxhw formats` shows the unit of each format'}"
        )
    try:
        shared = common_weight_type(work.weights)
    except InputError as error:
        raise InputError(f"node {node!r} cannot share its array between layers: {error}") from None
    common = {
        "lanes": lanes,
        "rows": 1,
        "columns": 1,
        "n": work.n,
        "k": work.k,
        "layers": len(work.weights),
        "storage": storage,
        "experts": experts,
        "active_experts": active_experts,
    }
    if kinds == {"dialect"}:
        block = first.block or work.k
        accumulator = dialect_widths(work.k, block, work.exponents).accumulator
        return Product(
            family="dialect",
            weight_type="dialect4",
            terms=1,
            block=block,
            code_bits=DIALECT_BITS,
            input_bits=DIALECT_BITS,
            metadata_bits=max(stored_bits(each, "block") for each in work.weights),
            input_metadata_bits=stored_bits(work.inputs, "block"),
            accumulator_bits=accumulator,
            output_bits=_dialect_sum_bits(work),
            **common,  # type: ignore[arg-type]
        )
    group = weight_group(first)
    accumulator = bitmod_widths(shared, work.k, group, lanes).accumulator
    return Product(
        family="bitmod",
        weight_type=shared,
        terms=terms(shared),
        block=group or lanes,
        code_bits=weight_type_named(shared).code_bits,
        input_bits=INTEGER_BITS,
        # A group's selector and multiplier stand beside its codes; one scale per row is applied outside the unit.
        metadata_bits=_group_bits(shared, work.weights) if group is not None else 0,
        input_metadata_bits=0,
        accumulator_bits=accumulator,
        output_bits=accumulator + LARGEST_SCALE["integer"],
        **common,  # type: ignore[arg-type]
    )


def _dialect_sum_bits(work: Multiplied) -> int:
    """Return the bits of the largest sum: half units of both sides, at the largest scales that they can have."""
    largest, (low, high) = block_element("dialect4").largest, work.exponents
    return signed_bits(work.k * largest**2 << LARGEST_SCALE["dialect"] + high - low)


def _group_bits(shared: str, formats: Sequence[Format]) -> int:
    """Return the bits beside the codes of a group: a selector, too, if the shared type has special values."""
    special = weight_type_named(shared).special_values
    bits = [stored_bits(own, "block") for each in formats for own in formats_in(each)]
    return max(bits) if special else min(bits)
