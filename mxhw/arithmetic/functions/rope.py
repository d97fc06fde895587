"""Rotary position embedding: pairs of a head vector are turned by an angle that grows with the position.

Source: RoFormer (arXiv 2104.09864), section 3.2.2; arithmetic.md, section 6. Pairs are elements j and j + d/2 ("half",
as in Llama) or 2j and 2j + 1 ("interleaved", as in GPT-J). Nothing is rounded: a quantizer takes the exact sums. Not
done here: vectors of which only a part is rotated.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor

from mxhw.arithmetic.functions.checks import check_integer
from mxhw.arithmetic.functions.signed import check_signed
from mxhw.arithmetic.widths import signed_bits
from mxhw.errors import InputError

__all__ = ["Pairing", "RopeSpec", "rope"]

Pairing = Literal["half", "interleaved"]


@dataclass(frozen=True, kw_only=True)
class RopeSpec:
    """A rotary embedding to the bit.

    Input: signed ``input_bits`` with any exponent e. Output: signed ``output_bits``, exponent ``e - fraction_bits``.

    Worst error of an output, for inputs of magnitude 1 or less: ``2**-fraction_bits``, that is 6.1e-5 for 14 bits (half
    a unit of each of two table entries); the sums add none.

    Attributes
    ----------
    head_dim : length d of a vector, even.
    positions : positions of the table, from 0.
    theta : base of the angles: pair j turns by ``theta**(-2j/d)`` a position.
    frequencies : radians a position of each pair, where they are not those of ``theta`` (scaled contexts).
    fraction_bits : of the cosines and sines.
    pairing : which elements make a pair.
    input_bits : of an element.
    """

    head_dim: int
    positions: int
    theta: float = 10000.0
    frequencies: tuple[float, ...] | None = None
    fraction_bits: int = 14
    pairing: Pairing = "half"
    input_bits: int = 16

    def __post_init__(self) -> None:
        check_integer("head_dim", self.head_dim, 2)
        check_integer("positions", self.positions, 1)
        check_integer("fraction_bits", self.fraction_bits, 1, 30)
        check_integer("input_bits", self.input_bits, 2, 28)
        if self.head_dim % 2:
            raise InputError(f"head_dim must be even, not {self.head_dim!r}")
        if self.pairing not in get_args(Pairing):
            raise InputError(f"pairing must be one of {', '.join(get_args(Pairing))}, not {self.pairing!r}")
        if not self.theta > 0:
            raise InputError(f"theta must be above 0, not {self.theta!r}")
        if self.frequencies is not None and len(self.frequencies) != self.pairs:
            raise InputError(f"frequencies must be one per pair ({self.pairs}), not {len(self.frequencies)}")

    @property
    def pairs(self) -> int:
        """Pairs of a vector."""
        return self.head_dim // 2

    @property
    def span(self) -> int:
        """Distance of the two elements of a pair."""
        return self.pairs if self.pairing == "half" else 1

    @property
    def table_bits(self) -> int:
        """Bits of a signed table entry; 1.0 is ``2**fraction_bits``."""
        return self.fraction_bits + 2

    @property
    def output_bits(self) -> int:
        """Bits of a signed result: the largest magnitude of an element times the largest |cos| + |sin| of the table."""
        return signed_bits(int((self.cosine.abs() + self.sine.abs()).max()) << self.input_bits - 1)

    @cached_property
    def angles(self) -> Tensor:
        """Float64 angles in radians, [positions, pairs]."""
        exponents = -2 * torch.arange(self.pairs, dtype=torch.float64) / self.head_dim
        frequencies = self.frequencies or (self.theta**exponents).tolist()
        positions = torch.arange(self.positions, dtype=torch.float64)
        return torch.outer(positions, torch.tensor(frequencies, dtype=torch.float64))

    @cached_property
    def cosine(self) -> Tensor:
        """Int64 table [positions, pairs] in units of ``2**-fraction_bits``, rounded half to even."""
        return torch.round(torch.cos(self.angles) * 2.0**self.fraction_bits).long()

    @cached_property
    def sine(self) -> Tensor:
        """As ``cosine``."""
        return torch.round(torch.sin(self.angles) * 2.0**self.fraction_bits).long()


def rope(x: Tensor, position: Tensor, spec: RopeSpec) -> Tensor:
    """Return head vectors ``x`` [..., d] turned to ``position`` (int64, shape [...], or one that broadcasts to it).

    Raises
    ------
    InputError
        If a vector has another length, an element does not fit its bits, or the table has no such position.
    """
    check_signed("x", x, spec.input_bits)
    if position.numel() and not 0 <= int(position.min()) <= int(position.max()) < spec.positions:
        found = f"{int(position.min())}..{int(position.max())}"
        raise InputError(f"positions must be in 0..{spec.positions - 1}, not {found}")
    low, high = _split(x, spec)
    cosine, sine = spec.cosine[position], spec.sine[position]
    turned = low * cosine - high * sine, high * cosine + low * sine
    return torch.cat(turned, -1) if spec.pairing == "half" else torch.stack(turned, -1).flatten(-2)


def _split(x: Tensor, spec: RopeSpec) -> tuple[Tensor, Tensor]:
    """Return the first and the second elements of all pairs, [..., pairs] each."""
    if x.shape[-1] != spec.head_dim:
        raise InputError(f"vectors must be of length {spec.head_dim}, not {x.shape[-1]!r}")
    if spec.pairing == "half":
        return x[..., : spec.pairs], x[..., spec.pairs :]
    return x[..., 0::2], x[..., 1::2]
