"""What the codes of BitMoD formats mean: magnitudes, special values, and the look-up tables that follow from them.

Source: BitMoD (arXiv 2411.11745), section III, for the sets of four special values; the others are ours.
"""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor

__all__ = [
    "BITMOD_CODEBOOKS",
    "BITMOD_GRIDS",
    "BITMOD_SPECIAL_VALUES",
    "BitModCodebook",
    "BitModTables",
    "bitmod_bins",
    "bitmod_kernel_tables",
    "bitmod_tables",
]

# Magnitudes by index; 3-bit in units of 1, 4-bit (E2M1) in units of 1/2.
BITMOD_GRIDS: dict[int, tuple[int, ...]] = {3: (0, 1, 2, 4), 4: (0, 1, 2, 3, 4, 6, 8, 12)}
# What the code "-0" means, by selector: +ER, -ER, +EA, -EA.
BITMOD_SPECIAL_VALUES: dict[int, tuple[int, ...]] = {3: (3, -3, 6, -6), 4: (10, -10, 16, -16)}

# Midpoints are multiples of 1/2, so ceil(2 v) tells on which side of each v lies, midpoints counting as below.
_BIN_LIMIT = 48
_BINS = 2 * _BIN_LIMIT + 1
# Bins of a magnitude in the C kernel, whose grids end at 16.
_KERNEL_BINS = 32


@dataclass(frozen=True)
class BitModCodebook:
    """What codes mean: ``magnitudes`` by index, ``special_values`` by selector, of which two in a row share a scale."""

    magnitudes: tuple[int, ...]
    special_values: tuple[int, ...]

    @property
    def selector_bits(self) -> int:
        """Width of a selector."""
        return (len(self.special_values) - 1).bit_length()


# By width and name of the special values; 4-bit and "oneterm" in units of 1/2.
BITMOD_CODEBOOKS: dict[tuple[int, str], BitModCodebook] = {
    **{(width, "four"): BitModCodebook(BITMOD_GRIDS[width], BITMOD_SPECIAL_VALUES[width]) for width in (3, 4)},
    (3, "eight"): BitModCodebook(BITMOD_GRIDS[3], (*BITMOD_SPECIAL_VALUES[3], 5, -5, 8, -8)),
    (4, "eight"): BitModCodebook(BITMOD_GRIDS[4], (*BITMOD_SPECIAL_VALUES[4], 20, -20, 24, -24)),
    (3, "oneterm"): BitModCodebook((0, 2, 4, 8), (16, -16, 1, -1)),
}


@dataclass(frozen=True)
class BitModTables:
    """Look-up tables of one codebook: [selector, bin] to grid value and to code, [selector, code] to grid value."""

    value_of_bin: Tensor
    code_of_bin: Tensor
    value_of_code: Tensor
    largest: Tensor


@cache
def bitmod_tables(width: int, special_values: str = "four") -> BitModTables:
    """The tables of a codebook."""
    codebook = BITMOD_CODEBOOKS[width, special_values]
    magnitudes, specials = codebook.magnitudes, codebook.special_values
    grids = [[*magnitudes, special, *(-m for m in magnitudes[1:])] for special in specials]
    nearest = []
    for grid in grids:
        order = sorted(range(len(grid)), key=grid.__getitem__)
        for twice in range(-_BIN_LIMIT, _BIN_LIMIT + 1):
            nearest.append(order[sum(twice > grid[low] + grid[high] for low, high in pairwise(order))])
    code_of_bin = torch.tensor(nearest).view(len(specials), _BINS)
    value_of_code = torch.tensor(grids, dtype=torch.float32)
    largest = torch.tensor([max(magnitudes[-1], abs(special)) for special in specials], dtype=torch.float32)
    return BitModTables(
        value_of_code.gather(1, code_of_bin).flatten(),
        code_of_bin.to(torch.uint8).flatten(),
        value_of_code.flatten(),
        largest,
    )


@cache
def bitmod_kernel_tables(width: int, special_values: str) -> tuple[Tensor, Tensor, Tensor]:
    """What the C kernel looks up by the bin of a magnitude: values of (0, 1/2], (1/2, 1] ... and of (-1/2, 0],
    (-1, -1/2] ..., float32 [selector, bin]; and the nearest of twice the basic grid to twice 1/4, 3/4 ..., [bin]."""
    values = bitmod_tables(width, special_values).value_of_bin.view(-1, _BINS)
    zero = _BIN_LIMIT
    above = values[:, zero + 1 : zero + 1 + _KERNEL_BINS].contiguous()
    below = values[:, zero + 1 - _KERNEL_BINS : zero + 1].flip(1).contiguous()
    centres = (torch.arange(_KERNEL_BINS) + 0.5) / 2
    magnitudes = torch.tensor(BITMOD_CODEBOOKS[width, special_values].magnitudes, dtype=torch.float32)
    nearest = (centres.unsqueeze(1) - magnitudes).abs().argmin(1)
    return above, below, 2 * magnitudes[nearest]


def bitmod_bins(blocks: Tensor, scale: Tensor) -> Tensor:
    """ceil(2 x / scale), limited, less its smallest value: int32 0.._BINS-1. A scale of zero counts as one."""
    quotient = blocks / scale.where(scale > 0, 1.0)
    return quotient.mul_(2.0).ceil_().clamp_(-_BIN_LIMIT, _BIN_LIMIT).to(torch.int32).add_(_BIN_LIMIT)
