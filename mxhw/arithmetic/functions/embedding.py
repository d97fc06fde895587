"""Embedding look-up: rows of an integer table, each with its multiplier, rounded to the grid of the residual stream.

Source: arithmetic.md, section 5 (the last point). The table may be that of a tied head: codes of one scale per row. Not
here: tables in group formats.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mxhw.arithmetic.functions.checks import check_bits, check_fits_int64, check_integer, check_integers
from mxhw.arithmetic.functions.requantize import scale_multipliers
from mxhw.arithmetic.rounding import round_shift, saturate
from mxhw.arithmetic.widths import signed_bits
from mxhw.errors import InputError

__all__ = ["EmbeddingSpec", "embedding"]


@dataclass(frozen=True, kw_only=True, eq=False)
class EmbeddingSpec:
    """An embedding table to the bit: element d of token v is ``sat(rsr(codes[v, d] * multipliers[v], shift))``.

    Input: indices below the number of rows. Output: signed ``output_bits`` on the residual grid.

    Worst error before saturation: half an output unit against the integer table (0 where ``shift`` is 0 or less).
    Against the float weights that it was made from, a code is off by half a step, ``max|w[v]| / 254`` for 8 bits, and
    its multiplier by half a unit; :meth:`of` says more.

    Attributes
    ----------
    codes : int64 [V, D], signed ``code_bits``, symmetric.
    multipliers : unsigned ``multiplier_bits``, one per row.
    shift : right shift of the product with rounding; a negative one shifts left.
    """

    codes: Tensor
    multipliers: tuple[int, ...]
    shift: int
    code_bits: int = 8
    multiplier_bits: int = 16
    output_bits: int = 24

    def __post_init__(self) -> None:
        check_bits(code_bits=self.code_bits, multiplier_bits=self.multiplier_bits, output_bits=self.output_bits)
        check_integer("shift", self.shift, -62, 62)
        if self.codes.ndim != 2 or self.codes.dtype != torch.int64 or not self.codes.numel():
            given = f"{self.codes.dtype} {tuple(self.codes.shape)}"
            raise InputError(f"codes must be an int64 tensor [rows, elements], not {given!r}")
        check_integers("multipliers", self.multipliers, 0, (1 << self.multiplier_bits) - 1)
        if len(self.multipliers) != self.rows:
            raise InputError(f"multipliers must be one per row ({self.rows}), not {len(self.multipliers)!r}")
        largest = (1 << self.code_bits - 1) - 1
        if int(self.codes.abs().max()) > largest:
            raise InputError(f"codes must be in ±{largest}, not {int(self.codes.abs().max())!r}")
        check_fits_int64("the shifted product", self._largest << max(0, -self.shift))

    @staticmethod
    def of(
        weight: Tensor,
        output_exponent: int,
        *,
        code_bits: int = 8,
        multiplier_bits: int = 16,
        output_bits: int = 24,
    ) -> "EmbeddingSpec":
        """Quantize float weights [V, D], one scale ``max|w[v]| / (2**(code_bits - 1) - 1)`` per row.

        The worst error against ``weight``, of rows that do not saturate: half a code of that row, and what
        ``code * 2**(e - 1)`` gives for the rounded multiplier (e: the exponent of the multipliers), and half an output
        unit.
        """
        weight = weight.detach().double()
        largest = (1 << code_bits - 1) - 1
        scales = weight.abs().amax(-1) / largest
        steps = torch.where(scales > 0, scales, 1.0)
        codes = (weight / steps[:, None]).round().clamp(-largest, largest).long()
        multipliers, exponent = scale_multipliers(scales, multiplier_bits)
        return EmbeddingSpec(
            codes=codes,
            multipliers=multipliers,
            shift=output_exponent - exponent,
            code_bits=code_bits,
            multiplier_bits=multiplier_bits,
            output_bits=output_bits,
        )

    @property
    def rows(self) -> int:
        """V, the size of the vocabulary."""
        return int(self.codes.shape[0])

    @property
    def length(self) -> int:
        """D, the elements of a vector."""
        return int(self.codes.shape[1])

    @property
    def product_bits(self) -> int:
        """Bits of a code times a multiplier."""
        return signed_bits(self._largest)

    @property
    def worst_error(self) -> float:
        """Largest distance from the exact product of the integer table, in output units before saturation."""
        return 0.5 if self.shift > 0 else 0.0

    @property
    def _largest(self) -> int:
        return ((1 << self.code_bits - 1) - 1) * ((1 << self.multiplier_bits) - 1)

    @cached_property
    def table(self) -> Tensor:
        """All vectors, int64 [V, D]."""
        multipliers = torch.tensor(self.multipliers, dtype=torch.int64)
        return saturate(round_shift(self.codes * multipliers[:, None], self.shift), self.output_bits)


def embedding(index: Tensor, spec: EmbeddingSpec) -> Tensor:
    """Return the vectors of int64 indices [...], as [..., D]; InputError for one that is not in the table."""
    if index.numel() and (int(index.min()) < 0 or int(index.max()) >= spec.rows):
        raise InputError(f"indices must be in 0..{spec.rows - 1}, not {int(index.min())}..{int(index.max())}")
    return spec.table[index]
