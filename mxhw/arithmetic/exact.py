"""Exact products of integer matrices, in whichever floating-point type is provably exact.

A matrix product of integers is exact in float32 while ``largest_x * largest_w * K < 2**24`` and in float64 below 2**53,
in any order of summation; above that both operands are split into two limbs and four products are added in two int64
limbs. The result therefore never depends on tiling, batching or threads.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mxhw.errors import InputError
from mxhw.formats import IntegerForm

__all__ = ["Limbs", "Operand", "multiply", "operand", "power_of_two"]

_LIMB = 32
_MASK = (1 << _LIMB) - 1
_SPLIT = 20
_CHUNK = 1 << (53 - 2 * _SPLIT)


@dataclass(frozen=True)
class Limbs:
    """Exact integers below 2**95, ``high * 2**32 + low`` with ``0 <= low < 2**32``, each int64 of one shape."""

    high: Tensor
    low: Tensor

    @staticmethod
    def of(value: Tensor) -> "Limbs":
        """Return the limbs of an int64 tensor."""
        return Limbs(value >> _LIMB, value & _MASK)

    def add(self, value: Tensor, shift: int) -> "Limbs":
        """Return ``self + value * 2**shift`` for int64 ``value`` and ``0 <= shift < 64``."""
        high = self.high
        if shift >= _LIMB:
            return Limbs(high + (value << (shift - _LIMB)), self.low)
        low = self.low + ((value & (_MASK >> shift)) << shift)
        return Limbs(high + (value >> (_LIMB - shift)) + (low >> _LIMB), low & _MASK)

    def shift(self, amount: Tensor) -> "Limbs":
        """Return ``self * 2**amount`` for ``0 <= amount <= 90``, elementwise (broadcast)."""
        high, low = self.high, self.low
        for _ in range(3):
            part = amount.clamp(0, 30)
            amount = amount - part
            wide = low << part
            high, low = (high << part) + (wide >> _LIMB), wide & _MASK
        return Limbs(high, low)

    def int64(self) -> Tensor:
        """Return the integers as int64; InputError if one does not fit."""
        if bool(((self.high < -(1 << 31)) | (self.high >= 1 << 31)).any()):
            raise InputError("an accumulator exceeds 64 bits; read it with .objects() or .float64()")
        return (self.high << _LIMB) + self.low

    def float64(self) -> Tensor:
        """Return the integers rounded once to float64, below 2**85 (both limbs are then exact in float64)."""
        return self.high.double() * 2.0**_LIMB + self.low.double()

    def objects(self) -> np.ndarray[Any, Any]:
        """Return the integers as a numpy array of Python ints."""
        high, low = (limb.cpu().numpy().astype(object) for limb in (self.high, self.low))
        integers: np.ndarray[Any, Any] = high * (1 << _LIMB) + low
        return integers


@dataclass(frozen=True)
class Operand:
    """An integer form made ready for a product: ``value = matrix * 2**exponent * scale``.

    Attributes
    ----------
    matrix : [..., rows, K] integers in int32, float32 or float64 (whichever holds them exactly).
    largest : bound on the magnitudes in ``matrix``.
    exponent : [..., rows] int64, the smallest block exponent of each row.
    scale : [..., rows] float64, the float scale of each row.
    """

    matrix: Tensor
    largest: int
    exponent: Tensor
    scale: Tensor

    def to(self, dtype: torch.dtype) -> "Operand":
        """Return the operand with its matrix in another type that holds it exactly."""
        return replace(self, matrix=self.matrix.to(dtype))


def operand(form: IntegerForm) -> Operand:
    """Flatten the blocks of ``form`` and apply their multipliers and their exponents relative to the row's smallest.

    Raises InputError if the exponents of a row span so far that the integers exceed 2**40.
    """
    occupied = form.values.ne(0).any(-1)
    exponent = form.exponent.to(torch.int64)
    top = torch.iinfo(torch.int64).max
    row = torch.where(occupied, exponent, top).amin(-1)
    row = torch.where(row == top, exponent.amin(-1), row)
    relative = torch.where(occupied, exponent - row[..., None], 0)
    factor = form.multiplier.to(torch.int64) << relative.clamp(max=40)
    largest = _largest(form.values, factor)
    if largest >= 1 << 40 or _largest(relative) > 40:
        raise InputError(
            f"block exponents of one row span {_largest(relative)} bits: exact products take integers below 2^40"
        )
    if largest < 1 << 31:
        matrix = form.values if _largest(factor - 1) == 0 else form.values * factor[..., None].to(torch.int32)
    else:
        matrix = form.values.double() * factor[..., None].double()
    return Operand(matrix.flatten(-2), largest, row, form.row_scale.double())


def multiply(x: Operand, w: Operand) -> Tensor | Limbs:
    """Return the exact product x · wᵀ, [..., M, N]: a float tensor of integers, or limbs where they can exceed 2**53.

    The shorter reduction is padded with zeros (formats pad to whole blocks of their own).
    """
    a, b = x.matrix, w.matrix
    k = max(a.shape[-1], b.shape[-1])
    bound = x.largest * w.largest * k
    if bound < 1 << 24 and torch.get_float32_matmul_precision() == "highest":
        return _matmul(a, b, k, torch.float32)
    if bound < 1 << 53:
        return _matmul(a, b, k, torch.float64)
    return _multiply_split(_pad(a, k).double(), _pad(b, k).double())


def power_of_two(exponent: Tensor) -> Tensor:
    """Return 2**exponent exactly, in float64, for exponents in -1022..1023."""
    return ((exponent.to(torch.int64) + 1023) << 52).view(torch.float64)


def _multiply_split(a: Tensor, b: Tensor) -> Limbs:
    """Return the product of matrices below 2**40: limbs of 20 bits, chunks of K short enough for float64."""
    empty = torch.zeros_like(torch.matmul(a[..., :0], b[..., :0].mT), dtype=torch.int64)
    total = Limbs(empty, empty)
    for start in range(0, a.shape[-1], _CHUNK):
        lefts, rights = (_split(matrix[..., start : start + _CHUNK]) for matrix in (a, b))
        for i, left in enumerate(lefts):
            for j, right in enumerate(rights):
                total = total.add(torch.matmul(left, right.mT).to(torch.int64), _SPLIT * (i + j))
    return total


def _split(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return the low and high limb of an integer matrix, both with its sign."""
    high = torch.trunc(matrix * 2.0**-_SPLIT)
    return matrix - high * 2.0**_SPLIT, high


def _matmul(a: Tensor, b: Tensor, k: int, dtype: torch.dtype) -> Tensor:
    return torch.matmul(_pad(a, k).to(dtype), _pad(b, k).to(dtype).mT)


def _pad(matrix: Tensor, k: int) -> Tensor:
    missing = k - matrix.shape[-1]
    return torch.nn.functional.pad(matrix, (0, missing)) if missing else matrix


def _largest(values: Tensor, factor: Tensor | None = None) -> int:
    """Return the largest magnitude in ``values``, times its block's factor if given."""
    if values.numel() == 0:
        return 0
    if factor is None:
        return int(values.abs().max())
    return int((values.abs().amax(-1).to(torch.int64) * factor).max())
