"""Operations around matrix products: the on-line quantizer, and the product with a fixed weight.

A product gives exact sums: blocks are shifted by their scales before they are added, so that the sum is one integer
whatever the formats are. Row scales of the weight go into the requantizer that follows. Products of several layers that
one array is to compute get sums of one type (:func:`share_products`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from mxhw.arithmetic.dataflow.operation import Operation
from mxhw.arithmetic.dataflow.streams import BlockCodes, BlockValues, Integers
from mxhw.arithmetic.exact import operand
from mxhw.arithmetic.online_dialect import encode_dialect
from mxhw.arithmetic.online_scaled import encode_integer, integer_exponents
from mxhw.arithmetic.recoding import common_weight_type
from mxhw.arithmetic.units import Unit, unit_for, weight_type, weight_unit
from mxhw.arithmetic.widths import signed_bits
from mxhw.errors import InputError
from mxhw.formats import DialectFormat, Encoded, Format, IntegerForm, IntegerFormat, formats_in

__all__ = ["DIALECT_SOURCE_EXPONENT", "Linear", "Quantize", "SumBounds", "code_stream", "share_products", "shared_type"]

# At this exponent of the source, the stored exponent of a DialectFP4 block is the position of its leading one.
DIALECT_SOURCE_EXPONENT = -13


def code_stream(fmt: Format, x: Integers, block: int | None = None) -> BlockCodes:
    """Return the stream of ``x`` in an activation format; ``block`` is the vector of formats that have one scale each.

    Raises InputError for a format without an on-line quantizer, or a stream of more than 16 bits.
    """
    if x.bits != 16:
        raise InputError(f"a stream that is quantized to {fmt} must have 16 bits, not {x.bits!r}")
    if isinstance(fmt, DialectFormat) and fmt.online:
        return BlockCodes(kind="dialect", length=x.length, block=fmt.block, bits=4, exponent=x.exponent - 3)
    by_row = isinstance(fmt, IntegerFormat) and fmt.group is None and not fmt.per_tensor and not fmt.asymmetric
    if isinstance(fmt, IntegerFormat) and by_row and fmt.scale_dtype == "e8m0":
        exponent = x.exponent - (fmt.width - 1)
        return BlockCodes(kind="integer", length=x.length, block=block or x.length, bits=fmt.width, exponent=exponent)
    raise InputError(
        f"there is no on-line quantizer to {fmt}; there are those to int2-e8m0..int8-e8m0, dialect4-online"
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class Quantize(Operation):
    """Int16 mantissas become codes: the format's own encoding of ``m * 2**exponent``, bit for bit."""

    kind: ClassVar[str] = "quantize"
    x: Integers
    y: BlockCodes

    @property
    def inputs(self) -> tuple[Integers]:
        return (self.x,)

    @property
    def output(self) -> BlockCodes:
        return self.y

    def run(self, x: Tensor) -> BlockValues:
        padded = pad(x, (0, self.y.padded - self.y.length))
        blocks = padded.view(*x.shape[:-1], self.y.blocks, self.y.block)
        if self.y.kind == "dialect":
            codes, dialect, scale = encode_dialect(blocks, exponent=DIALECT_SOURCE_EXPONENT)
            return BlockValues(codes, scale, dialect)
        lowest = integer_exponents(self.y.bits)[0]
        return BlockValues(*encode_integer(blocks, self.y.bits, lowest))


@dataclass(frozen=True)
class SumBounds:
    """What the type of sums follows from.

    Attributes
    ----------
    floor : exponent of one unit of the weight's integers.
    largest : magnitude that a sum can have, in these units.
    """

    floor: int
    largest: int

    @staticmethod
    def joined(bounds: Iterable["SumBounds"]) -> "SumBounds":
        """Return the bounds of sums that are all in the smallest of the units."""
        every = tuple(bounds)
        floor = min(each.floor for each in every)
        return SumBounds(floor, max(each.largest << each.floor - floor for each in every))


@dataclass(frozen=True, eq=False, kw_only=True)
class Linear(Operation):
    """Exact sums of products with a fixed weight [N, K].

    Attributes
    ----------
    x : codes, with one scale a token or DialectFP4 blocks.
    weight_format : of the weight.
    encoded : the weight as the format stores it.
    shared : weight type of an array that also computes with weights of other types; None for its own.
    bounds : those of all products that the array computes; None for those of this one.
    """

    kind: ClassVar[str] = "linear"
    x: BlockCodes
    input_format: Format
    weight_format: Format
    encoded: Encoded
    shared: str | None = None
    bounds: SumBounds | None = None

    @staticmethod
    def of(weight: Tensor, x: BlockCodes, input_format: Format, weight_format: Format) -> "Linear":
        """Return the product with a float weight [N, K]; InputError if no unit computes this pair of formats."""
        unit_for(input_format, weight_format)
        if weight.ndim != 2 or weight.shape[1] != x.length:
            raise InputError(f"the weight must be [N, {x.length}], not {list(weight.shape)}")
        encoded = weight_format.encode(weight.detach())
        return Linear(x=x, input_format=input_format, weight_format=weight_format, encoded=encoded)

    @property
    def unit(self) -> Unit:
        """The unit that computes it."""
        return unit_for(self.input_format, self.weight_format)

    @cached_property
    def form(self) -> IntegerForm:
        """The weight as exact integers."""
        return self.weight_format.integers(self.encoded)

    @cached_property
    def floor(self) -> int:
        """Exponent of the smallest unit of the weight's integers, of DialectFP4 blocks; else 0."""
        if self.bounds is not None:
            return self.bounds.floor
        return int(self.form.exponent.min()) if self.unit == "dialect" else 0

    @cached_property
    def matrix(self) -> Tensor:
        """Float64 integers [N, padded K]: codes times multipliers, or shifted by their blocks' exponents."""
        made = operand(self.form)
        matrix = made.matrix.double()
        if self.unit == "dialect":
            shift = made.exponent - self.floor
            if int(shift.min()) < 0:
                raise InputError(f"the unit of sums must be at most 2^{int(made.exponent.min())}, not 2^{self.floor}")
            matrix = matrix * torch.exp2(shift.double())[:, None]
        matrix = pad(matrix, (0, self.x.padded - matrix.shape[-1]))  # off with the zeros that fill up a weight's group
        if self.bounds is not None and self._largest(matrix) > self.bounds.largest:
            raise InputError(f"sums must be at most {self._largest(matrix)}, not {self.bounds.largest}: {self.bounds}")
        return matrix

    @cached_property
    def scales(self) -> Tensor:
        """Float64 [N]: the value of one unit of a sum is this times ``2**output.exponent``."""
        exponent = torch.zeros(self.channels) if self.unit == "dialect" else self.form.exponent[..., 0]
        return torch.ldexp(self.form.row_scale.double(), exponent)

    @property
    def channels(self) -> int:
        """N."""
        return int(self.form.row_scale.shape[0])

    @cached_property
    def largest(self) -> int:
        """The largest magnitude that a sum can have, with this weight or another one of the array."""
        if self.bounds is not None:
            return self.bounds.largest
        return self._largest(self.matrix)

    def _largest(self, matrix: Tensor) -> int:
        return self.x.largest * int(matrix.abs().sum(-1).max())

    @property
    def inputs(self) -> tuple[BlockCodes]:
        return (self.x,)

    @property
    def output(self) -> Integers:
        return Integers(length=self.channels, bits=signed_bits(self.largest), exponent=self.x.exponent + self.floor)

    def run(self, x: BlockValues) -> Tensor:
        """Return the sums; the scale of a token leaves its sum, those of blocks cannot."""
        if self.x.blocks == 1:
            return _exact(x.mantissas.flatten(-2), self.matrix) << x.scale
        return _exact(x.integers, self.matrix)


def share_products(products: Sequence[Linear]) -> tuple[Linear, ...]:
    """Return products of several layers as one array computes them: with sums of one type.

    Their values stay what they are: integers are in the smallest of their units, and as wide as the widest.

    Raises
    ------
    InputError
        If their inputs differ, or no array has all their weights (:func:`mxhw.arithmetic.common_weight_type`).
    """
    first = products[0]
    for each in products[1:]:
        if (each.x, each.input_format, each.channels) != (first.x, first.input_format, first.channels):
            raise InputError(f"products of {first.x} and {each.x} cannot share an array")
    shared = shared_type([each.weight_format for each in products])
    # Copies: the integers of each are in memory only while they are looked at.
    bounds = SumBounds.joined(SumBounds(copy.floor, copy.largest) for copy in map(replace, products))
    return tuple(replace(each, shared=shared, bounds=bounds) for each in products)


def shared_type(formats: Sequence[Format]) -> str | None:
    """Return the weight type of an array for all these weights; None if it is the own one of each."""
    common = common_weight_type(formats)
    every = [own for fmt in formats for own in formats_in(fmt)]
    mixed = any(weight_unit(fmt) == "bitmod" and weight_type(fmt) != common for fmt in every)
    return common if mixed else None


def _exact(x: Tensor, matrix: Tensor) -> Tensor:
    """Return ``x · matrixᵀ`` of int64 and float64 integers as int64."""
    x = x.double()
    largest = x.abs().amax() if x.numel() else torch.zeros(())
    if float(largest) * float(matrix.abs().sum(-1).max()) < 2.0**53:
        return (x @ matrix.mT).long()
    high = torch.trunc(x * 2.0**-12)
    parts = (high @ matrix.mT).long(), ((x - high * 2.0**12) @ matrix.mT).long()
    return (parts[0] << 12) + parts[1]
