"""The inverse square root: the table of arithmetic.md, its exact formula, and its stated error over all mantissas."""

from math import isqrt

import pytest
import torch

from mxhw.arithmetic.functions.inverse_root import RSQRT, WORST_RELATIVE_ERROR, inverse_root


def test_the_table_is_the_one_that_was_measured():
    """Two halves of 16 entries, interpolated, 864 bits in all; the integers themselves are the definition."""
    assert RSQRT.stored_bits == 864 and RSQRT.falling
    halves = [[min(65535, _rounded_root(2**32 * 16, (1 + odd) * (16 + i))) for i in range(16)] for odd in (0, 1)]
    assert list(RSQRT.points) == [*halves[0], *halves[1], 32768]


def _rounded_root(numerator, denominator):
    """sqrt(numerator / denominator), rounded to the nearest integer, with integers only."""
    twice = isqrt(4 * numerator // denominator)
    return (twice + 1) // 2


@pytest.mark.parametrize("shift", [0, 13, 43])
def test_the_stated_error_holds_over_all_mantissas_and_is_not_idle(shift):
    """Both ends of each of the 2^17 cells of mantissa and parity: between them the error is monotone."""
    low = torch.arange(1 << 16, 1 << 17) << shift
    cells = torch.cat([low, low << 1])
    width = torch.cat([torch.full_like(low, 1 << shift), torch.full_like(low, 2 << shift)])
    measured = 0.0
    for n in (cells, cells + width - 1):
        root, exponent = inverse_root(n)
        relative = root.double() * 2.0 ** (-16 - exponent.double()) * n.double().sqrt() - 1
        measured = max(measured, float(relative.abs().max()))
    assert measured <= WORST_RELATIVE_ERROR <= 1.05 * measured


def test_small_numbers_and_the_largest():
    n = torch.tensor([1, 2, 3, 4, 2**62, 2**63 - 1])
    root, exponent = inverse_root(n)
    relative = root.double() * 2.0 ** (-16 - exponent.double()) * n.double().sqrt() - 1
    assert float(relative.abs().max()) <= WORST_RELATIVE_ERROR
    assert exponent.tolist() == [0, 0, 0, 1, 31, 31]
    assert int(root.min()) >= 1 << 15 and int(root.max()) < 1 << 16
