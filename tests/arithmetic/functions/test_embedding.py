"""Embedding look-up equals its formula for every entry and stays within its stated error of float weights."""

from fractions import Fraction
from math import floor

import pytest
import torch

from mxhw.arithmetic.functions.embedding import EmbeddingSpec, embedding
from mxhw.arithmetic.functions.requantize import scale_multipliers
from mxhw.errors import InputError


def drawn(shift, output_bits=24, rows=37, length=10):
    generator = torch.Generator().manual_seed(3)
    codes = torch.randint(-127, 128, (rows, length), generator=generator)
    codes[0], codes[1] = 127, -127
    multipliers = torch.randint(0, 1 << 16, (rows,), generator=generator)
    multipliers[:3] = torch.tensor([65535, 65535, 0])
    return EmbeddingSpec(codes=codes, multipliers=tuple(multipliers.tolist()), shift=shift, output_bits=output_bits)


@pytest.mark.parametrize("shift,output_bits", [(0, 24), (4, 24), (9, 16), (-2, 24), (30, 8)])
def test_every_entry_is_the_rounded_product(shift, output_bits):
    spec = drawn(shift, output_bits)
    largest = (1 << output_bits - 1) - 1
    index = torch.tensor([[0, 5], [36, 1]])
    for position, row in zip(embedding(index, spec).flatten(0, 1).tolist(), index.flatten().tolist(), strict=True):
        exact = [Fraction(c * spec.multipliers[row]) / Fraction(2) ** shift for c in spec.codes[row].tolist()]
        assert position == [max(-largest, min(largest, floor(v + Fraction(1, 2)))) for v in exact]
    exact = spec.codes * torch.tensor(spec.multipliers)[:, None] * 2.0**-shift
    inside = exact.abs() <= largest
    measured = float((spec.table - exact).abs()[inside].max())
    assert measured <= spec.worst_error
    assert spec.worst_error <= 1.5 * measured or shift > 23  # too coarse an output for any weight to reach it
    assert (127 * 65535).bit_length() + 1 == spec.product_bits


def test_float_weights_come_back_within_the_stated_error():
    weight = torch.randn(50, 64, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    weight[7] = 0
    exponent = -16
    spec = EmbeddingSpec.of(weight, exponent)
    scales = weight.abs().amax(-1, keepdim=True) / 127
    _, e = scale_multipliers(scales, 16)
    bound = scales / 2 + spec.codes.abs() * 2.0 ** (e - 1) + 2.0 ** (exponent - 1)
    error = (embedding(torch.arange(50), spec) * 2.0**exponent - weight).abs()
    assert bool((error <= bound * (1 + 1e-12)).all())
    assert float((error / bound).max()) > 1 / 1.5
    assert not spec.table[7].any()


@pytest.mark.parametrize(
    "change,message",
    [
        ({"codes": torch.zeros(3, dtype=torch.int64)}, r"codes must be an int64 tensor \[rows, elements\]"),
        ({"codes": torch.full((2, 2), -128)}, "codes must be in ±127, not 128"),
        ({"multipliers": (1,)}, r"one per row \(2\), not 1"),
        ({"multipliers": (1, 1 << 16)}, "multipliers must be integers in"),
        ({"shift": 77}, "shift must be an integer"),
    ],
)
def test_impossible_tables_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        EmbeddingSpec(**({"codes": torch.ones(2, 2).long(), "multipliers": (1, 2), "shift": 1} | change))


@pytest.mark.parametrize("index", [-1, 37])
def test_an_index_outside_is_refused(index):
    with pytest.raises(InputError, match=r"indices must be in 0\.\.36"):
        embedding(torch.tensor([0, index]), drawn(4))
