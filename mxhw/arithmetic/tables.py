"""Look-up tables with linear interpolation: the integers that function units and their RTL share.

Source: arithmetic.md, sections 1, 3 and 9. A table is sampled from a function in float64 and rounded half to even,
once, when its module is imported; from then on its integers are the definition. Not here: tables that are indexed by
more than one value (RoPE), and the functions themselves, which stand beside the units that use them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from mxhw.arithmetic.rounding import round_shift
from mxhw.errors import InputError

__all__ = ["Table"]


@dataclass(frozen=True)
class Table:
    """A function of an unsigned integer of ``address_bits + fraction_bits`` bits.

    ``lookup(x) = p[i] + round_shift((p[i + 1] - p[i]) * f, fraction_bits)`` where i is the upper ``address_bits`` of x
    and f its lower ``fraction_bits``; without fraction bits it is ``p[x]``.

    Attributes
    ----------
    name : what it is called in Verilog and in reports; an identifier.
    points : unsigned integers of ``output_bits``: ``2**address_bits`` without interpolation, one more with it.
    address_bits : the stored entries are ``2**address_bits``.
    fraction_bits : bits between two points; 0 for no interpolation.
    output_bits : bits of a point, and of every looked-up value.

    Raises
    ------
    InputError
        If the number of points or one of them does not fit.
    """

    name: str
    points: tuple[int, ...]
    address_bits: int
    fraction_bits: int
    output_bits: int
    _tensor: Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise InputError(f"the name of a table must be an identifier, not {self.name!r}")
        if self.address_bits < 0 or self.fraction_bits < 0:
            bits = (self.address_bits, self.fraction_bits)
            raise InputError(f"address_bits and fraction_bits of table {self.name} must be at least 0, not {bits!r}")
        needed = (1 << self.address_bits) + self.interpolated
        if len(self.points) != needed:
            raise InputError(f"table {self.name} must have {needed} points, not {len(self.points)!r}")
        largest = (1 << self.output_bits) - 1
        for point in self.points:
            if not 0 <= point <= largest:
                raise InputError(f"points of table {self.name} must be integers in 0..{largest}, not {point!r}")
        object.__setattr__(self, "_tensor", torch.tensor(self.points, dtype=torch.int64))

    @staticmethod
    def of(
        name: str,
        function: Callable[[Tensor], Tensor],
        low: float,
        high: float,
        *,
        address_bits: int,
        fraction_bits: int,
        output_bits: int,
        scale: float,
    ) -> "Table":
        """Sample ``scale * function`` (float64 in and out) at equal steps from ``low``; clamp to ``output_bits``.

        Point i lies at ``low + (high - low) * i / 2**address_bits``; the point at ``high`` is kept only to interpolate.
        """
        count = (1 << address_bits) + (fraction_bits > 0)
        at = low + (high - low) * torch.arange(count, dtype=torch.float64) / (1 << address_bits)
        points = (function(at) * scale).round().to(torch.int64).clamp(max=(1 << output_bits) - 1)
        return Table(name, tuple(points.tolist()), address_bits, fraction_bits, output_bits)

    @property
    def interpolated(self) -> bool:
        """Whether values between two points are interpolated."""
        return self.fraction_bits > 0

    @property
    def input_bits(self) -> int:
        """Bits of the argument."""
        return self.address_bits + self.fraction_bits

    @property
    def entries(self) -> int:
        """Stored words."""
        return 1 << self.address_bits

    @property
    def differences(self) -> tuple[int, ...]:
        """``points[i + 1] - points[i]`` of every entry; empty without interpolation."""
        return tuple(after - before for before, after in pairwise(self.points)) if self.interpolated else ()

    @property
    def falling(self) -> bool:
        """Whether no difference is positive and one is negative: the sign is then a constant and is not stored."""
        return min(self.differences, default=0) < 0 and max(self.differences) <= 0

    @property
    def signed_difference(self) -> bool:
        """Whether differences of both signs occur and are stored in two's complement."""
        return min(self.differences, default=0) < 0 < max(self.differences, default=0)

    @property
    def difference_bits(self) -> int:
        """Bits of a stored difference: of its magnitude where all have one sign."""
        if not self.interpolated:
            return 0
        if self.signed_difference:
            return max((d if d >= 0 else -d - 1).bit_length() for d in self.differences) + 1
        return max(1, max(abs(d).bit_length() for d in self.differences))

    @property
    def word_bits(self) -> int:
        """Bits of a stored word: a point, and the difference to the next above it."""
        return self.output_bits + self.difference_bits

    @property
    def stored_bits(self) -> int:
        """Bits of the whole table as hardware stores it."""
        return self.entries * self.word_bits

    @property
    def words(self) -> tuple[int, ...]:
        """What the ROM holds: entry i is its point, with the difference (or its magnitude) above it."""
        mask = (1 << self.difference_bits) - 1
        sign = -1 if self.falling else 1
        differences = self.differences or (0,) * self.entries
        return tuple(
            point | (sign * difference & mask) << self.output_bits
            for point, difference in zip(self.points[: self.entries], differences, strict=True)
        )

    def lookup(self, x: Tensor) -> Tensor:
        """Return the value at every ``x``, int64 in ``0..2**input_bits - 1`` of any shape.

        Raises
        ------
        InputError
            If an argument is outside.
        """
        if x.numel() and (int(x.min()) < 0 or int(x.max()) >= 1 << self.input_bits):
            raise InputError(
                f"arguments of table {self.name} must be in 0..{(1 << self.input_bits) - 1}, "
                f"not {int(x.min())}..{int(x.max())}"
            )
        points = self._tensor.to(x.device)
        if not self.interpolated:
            return points[x]
        index, fraction = x >> self.fraction_bits, x & (1 << self.fraction_bits) - 1
        base = points[index]
        return base + round_shift((points[index + 1] - base) * fraction, self.fraction_bits)
