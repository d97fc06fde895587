"""Sums, products and ReLU equal the plain formulas; their stated errors hold over all operands of small units."""

from fractions import Fraction
from math import floor

import pytest
import torch

from mxhw.arithmetic.functions.elementwise import AddSpec, MultiplySpec, add, multiply, relu
from mxhw.arithmetic.functions.requantize import RequantizeSpec, requantize
from mxhw.errors import InputError


def rounded(x, shift):
    return floor(Fraction(x) / Fraction(2) ** shift + Fraction(1, 2)) if shift > 0 else x << -shift


def clamped(x, bits):
    return max(1 - (1 << bits - 1), min((1 << bits - 1) - 1, x))


def pairs(left_bits, right_bits):
    """All pairs of symmetric operands."""
    left, right = (torch.arange(1 - (1 << bits - 1), 1 << bits - 1) for bits in (left_bits, right_bits))
    return left.repeat_interleave(len(right)), right.repeat(len(left))


@pytest.mark.parametrize("shift", [-3, -1, 0, 1, 2, 6, 9])
def test_all_small_sums(shift):
    spec = AddSpec(left_bits=6, right_bits=7, shift=shift, output_bits=6)
    x, y = pairs(6, 7)
    found = add(x, y, spec)
    expected = [clamped(a + rounded(b, shift), 6) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    assert found.tolist() == expected
    exact = x.double() + y.double() * 2.0**-shift
    inside = exact.abs() <= 31
    measured = float((found - exact).abs()[inside].max())
    assert measured <= spec.worst_error
    assert measured == spec.worst_error or shift > 6  # no right operand is half a unit
    largest = max(abs(a + rounded(b, shift)) for a, b in ((31, 63), (-31, -63)))
    assert largest.bit_length() + 1 == spec.sum_bits


@pytest.mark.parametrize("shift", [-3, -1, 0, 1, 2, 6, 12])
def test_all_small_products(shift):
    spec = MultiplySpec(left_bits=6, right_bits=7, shift=shift, output_bits=6)
    x, y = pairs(6, 7)
    found = multiply(x, y, spec)
    expected = [clamped(rounded(a * b, shift), 6) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    assert found.tolist() == expected
    exact = x.double() * y.double() * 2.0**-shift
    inside = exact.abs() <= 31
    measured = float((found - exact).abs()[inside].max())
    assert measured <= spec.worst_error
    assert spec.worst_error <= 1.5 * measured or shift > 10  # no product is near half a unit
    assert (31 * 63).bit_length() + 1 == spec.product_bits


def test_the_widest_operands():
    spec = MultiplySpec()
    x, y = torch.tensor([131071, -131071, 131071, 0]), torch.tensor([32767, 32767, -32767, 5])
    assert multiply(x, y, spec).tolist() == [
        clamped(rounded(a * b, 17), 16) for a, b in zip(x.tolist(), y.tolist(), strict=True)
    ]
    residual = AddSpec(right_bits=48, shift=22)
    x, y = torch.tensor([2**23 - 1, 1 - 2**23, 5]), torch.tensor([2**47 - 1, 1 - 2**47, -(2**21)])
    assert add(x, y, residual).tolist() == [2**23 - 1, 1 - 2**23, 5]  # -0.5 rounds to 0


def test_a_product_that_is_rounded_to_the_residual_grid_first_gives_the_same_sum():
    """A requantizer that is wide enough not to saturate, then an exact sum, is the single rounding of arithmetic.md."""
    generator = torch.Generator().manual_seed(0)
    sums = torch.randint(-(1 << 31) + 1, 1 << 31, (500, 3), generator=generator)
    x = torch.randint(1 - (1 << 23), 1 << 23, (500, 3), generator=generator)
    requantizer = RequantizeSpec(multipliers=(65535, 40000, 32768), largest=(1 << 31) - 1, shift=22, output_bits=27)
    products = sums * torch.tensor(requantizer.multipliers)
    two_units = add(x, requantize(sums, requantizer), AddSpec(right_bits=27))
    assert torch.equal(two_units, add(x, products, AddSpec(right_bits=48, shift=22)))
    narrow = RequantizeSpec(multipliers=(65535, 40000, 32768), largest=(1 << 31) - 1, shift=22, output_bits=24)
    assert not torch.equal(two_units, add(x, requantize(sums, narrow), AddSpec(right_bits=24)))


def test_relu_of_every_16_bit_number():
    x = torch.arange(-(1 << 15), 1 << 15)
    assert relu(x).tolist() == [max(0, v) for v in x.tolist()]


def test_units_are_made_from_exponents():
    assert AddSpec.of(-16, -20, right_bits=32).shift == 4
    assert MultiplySpec.of(-12, -10, -9).shift == 13


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: AddSpec(left_bits=1), "left_bits must be an integer of at least 2"),
        (lambda: AddSpec(shift=63), "shift must be an integer"),
        (lambda: AddSpec(right_bits=40, shift=-30), r"sum must stay below 2\^62"),
        (lambda: MultiplySpec(left_bits=40, right_bits=40), r"product must stay below 2\^62"),
        (lambda: add(torch.tensor([1 << 23]), torch.tensor([0]), AddSpec()), "left operand must be in ±8388607"),
        (lambda: multiply(torch.tensor([0]), torch.tensor([-(1 << 15)]), MultiplySpec()), "right operand must be in"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
