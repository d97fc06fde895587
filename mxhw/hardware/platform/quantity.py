"""Numbers that can be traced: each with its unit, and where it was read, measured or assumed."""

from functools import cache
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

__all__ = [
    "RECORD",
    "AccessEnergy",
    "Number",
    "Quantity",
    "Shapes",
    "Text",
    "rows_of",
    "unit",
    "unit_or_zero",
]

RECORD = ConfigDict(extra="forbid")  # of every record of a platform: a key that is not known is refused

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Text = Annotated[str, Field(strict=True, min_length=1)]
Rows = tuple[tuple[Number, ...], ...]


@dataclass(frozen=True, config=RECORD)
class Quantity:
    """A number: its value, its unit, and where it was read or measured."""

    value: Number
    unit: Text
    source: Text


def _checked(quantity: Quantity, units: tuple[str, ...], *, zero: bool) -> Quantity:
    if units and quantity.unit not in units:
        raise ValueError(f"unit must be {' or '.join(map(repr, units))}, not {quantity.unit!r}")
    if quantity.value < 0 or (quantity.value == 0 and not zero):
        raise ValueError(f"value must be {'0 or more' if zero else 'above 0'}, not {quantity.value:g}")
    return quantity


def unit(*units: str) -> AfterValidator:
    """Return a check of a quantity: one of these units (any, if none is given), and a value above 0."""
    return AfterValidator(lambda quantity: _checked(quantity, units, zero=False))


def unit_or_zero(*units: str) -> AfterValidator:
    """Return a check of a quantity: one of these units, and a value of 0 or more."""
    return AfterValidator(lambda quantity: _checked(quantity, units, zero=True))


@dataclass(frozen=True, config=RECORD)
class Shapes:
    """Shapes of a primitive memory, one a row, as ``unit`` says."""

    rows: Rows
    unit: Text
    source: Text


def rows_of(said: str) -> AfterValidator:
    """Return a check of shapes: ``unit`` is ``said``, and each row has as many numbers above 0 as that has names."""
    width = len(said.split(","))

    def check(shapes: Shapes) -> Shapes:
        if shapes.unit != said:
            raise ValueError(f"unit must be {said!r}, not {shapes.unit!r}")
        for row in shapes.rows:
            if len(row) != width or min(row, default=0) <= 0:
                raise ValueError(f"rows must each be {width} numbers above 0 ({said}), not {list(row)!r}")
        if not shapes.rows:
            raise ValueError(f"rows must have one row at least ({said})")
        return shapes

    return AfterValidator(check)


_POINT = "bytes, bits, pJ"  # capacity of a memory, bits of a word, energy of an access


@dataclass(frozen=True, config=RECORD)
class AccessEnergy:
    """What an access of a memory costs against its size and the width of its words.

    Published points are fitted by ``word (a + b sqrt(bytes)) + c sqrt(bytes)``: what each bit of a word spends, and
    what an access spends whatever its width; the lines of a square array are as long as its side. The coefficients are
    those of least relative squares among those of 0 or more, so that more bits never cost less.
    """

    rows: Rows
    unit: Text
    source: Text

    @model_validator(mode="after")
    def _check(self) -> "AccessEnergy":
        if self.unit != _POINT:
            raise ValueError(f"unit must be {_POINT!r}, not {self.unit!r}")
        for row in self.rows:
            if len(row) != 3 or min(row) <= 0:
                raise ValueError(f"rows must each be 3 numbers above 0 ({_POINT}), not {list(row)!r}")
        if len({row[0] for row in self.rows}) < 2:
            raise ValueError(f"rows must have memories of two sizes at least ({_POINT})")
        for size, word, energy in self.rows:
            for other in self.rows:
                if other[0] > size and other[1] >= word and other[2] < energy:
                    raise ValueError(
                        f"rows do not agree: {list(other)!r} is larger than {[size, word, energy]!r}, yet costs less"
                    )
        return self

    def coefficients(self) -> tuple[float, float, float]:
        """Return a [pJ/bit], b [pJ/bit per square root of a byte] and c [pJ per square root of a byte]."""
        return _fit(self.rows)

    def access(self, size_bits: ArrayLike, word_bits: ArrayLike) -> NDArray[np.float64]:
        """Return the energy [pJ] of accesses of words of ``word_bits`` in memories of ``size_bits``; they broadcast."""
        a, b, c = self.coefficients()
        side = np.sqrt(np.asarray(size_bits, dtype=np.float64) / 8)
        return np.asarray(word_bits, dtype=np.float64) * (a + b * side) + c * side


@cache
def _fit(rows: tuple[tuple[float, ...], ...]) -> tuple[float, float, float]:
    table = np.asarray(rows)
    size, word, energy = table.T
    side = np.sqrt(size)
    terms = np.stack([word, word * side], axis=1)
    if len(set(word)) > 1:  # otherwise the width says nothing of what an access costs beside its bits
        terms = np.concatenate([terms, side[:, None]], axis=1)
    from scipy.optimize import nnls  # a second of imports that most uses of a platform do without

    found, _ = nnls(terms / energy[:, None], np.ones(len(table)))
    a, b, *c = (float(each) for each in found)
    return a, b, c[0] if c else 0.0
