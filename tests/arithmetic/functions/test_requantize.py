"""Requantization equals the plain formula with fractions and keeps its stated error over all sums."""

from fractions import Fraction
from math import floor

import pytest
import torch

from mxhw.arithmetic.functions.requantize import RequantizeSpec, requantize, scale_multipliers
from mxhw.errors import InputError


def rounded(x, shift):
    return floor(Fraction(x) / Fraction(2) ** shift + Fraction(1, 2)) if shift > 0 else x << -shift


def oracle(x, channel, spec):
    """One sum, with exact fractions."""
    product = rounded(x, spec.pre_shift) * spec.multipliers[channel % spec.length]
    largest = (1 << spec.output_bits - 1) - 1
    return max(-largest, min(largest, rounded(product, spec.shift)))


SPECS = [
    RequantizeSpec(multipliers=(40000, 1, 0, 65535, 32768), largest=(1 << 31) - 1, shift=32),
    RequantizeSpec(multipliers=(40000, 1, 0, 65535, 32768), largest=(1 << 47) - 1, shift=20),
    RequantizeSpec(multipliers=(65535, 51234), largest=127 * 127 * 352, shift=19, output_bits=24),
    RequantizeSpec(multipliers=(3,), largest=1000, shift=-4, output_bits=12, multiplier_bits=2),
    RequantizeSpec(multipliers=(32768,), largest=7200 << 29, shift=27),
]


@pytest.mark.parametrize("spec", SPECS, ids=range(len(SPECS)))
def test_it_equals_the_formula_at_drawn_and_at_the_largest_sums(spec):
    generator = torch.Generator().manual_seed(1)
    x = torch.randint(-spec.largest, spec.largest + 1, (400, spec.length), generator=generator)
    x = x >> torch.randint(0, spec.input_bits, x.shape, generator=generator)
    x[0], x[1], x[2] = spec.largest, -spec.largest, 0
    found = requantize(x, spec)
    assert found.tolist() == [[oracle(v, n, spec) for n, v in enumerate(row)] for row in x.tolist()]
    product = torch.tensor(max(oracle_product(spec)))
    assert int(product).bit_length() + 1 == spec.widths.product


def oracle_product(spec):
    return [rounded(spec.largest, spec.pre_shift) * m for m in spec.multipliers]


@pytest.mark.parametrize("largest,expected", [((1 << 31) - 1, 0), (1 << 31, 1), ((1 << 32) - 2, 1), ((1 << 32) - 1, 2)])
def test_the_first_shift_is_the_smallest_after_which_every_sum_fits(largest, expected):
    """2^32 - 1 becomes 2^31 when it is rounded: one bit too many."""
    spec = RequantizeSpec(multipliers=(1,), largest=largest, shift=0, output_bits=40)
    assert spec.pre_shift == expected
    assert rounded(largest, spec.pre_shift) < 1 << 31 and spec.widths.reduced <= 32
    assert expected == 0 or rounded(largest, expected - 1) >= 1 << 31


@pytest.mark.parametrize("reduced_bits,shift", [(20, 17), (12, 14), (20, 1), (20, 0)])
def test_the_stated_error_holds_over_all_sums_and_is_not_idle(reduced_bits, shift):
    spec = RequantizeSpec(
        multipliers=(45677,), largest=(1 << 17) - 1, shift=shift, output_bits=40, reduced_bits=reduced_bits
    )
    x = torch.arange(-spec.largest, spec.largest + 1)
    exact = x.double() * 45677 * 2.0 ** -(spec.pre_shift + shift)
    measured = float((requantize(x, spec) - exact).abs().max())
    assert measured <= spec.worst_error <= 1.5 * measured


def test_against_float_scales_it_stays_within_one_output_unit():
    """The worst scale for a multiplier lies half a unit beside it; the worst sum almost saturates."""
    scales = torch.tensor([2.0**-3 * (1 + 0.499 / 2**15), 2.0**-3 * (1.31234 + 0.501 / 2**15)], dtype=torch.float64)
    spec = RequantizeSpec.of(scales, largest=(1 << 18) - 1, input_exponent=-9, output_exponent=-9)
    x = torch.arange(-spec.largest, spec.largest + 1)[:, None].expand(-1, 2)
    exact = x.double() * scales
    inside = exact.abs() < 32767
    measured = float((requantize(x, spec) - exact).abs()[inside].max())
    assert 0.67 <= measured <= 1.0


def test_saturation_is_symmetric():
    spec = RequantizeSpec(multipliers=(65535,), largest=1 << 20, shift=4)
    assert requantize(torch.tensor([1 << 20, -(1 << 20)]), spec).tolist() == [32767, -32767]


def test_multipliers_use_all_bits_and_are_nearest():
    generator = torch.Generator().manual_seed(2)
    for _ in range(50):
        scales = torch.rand(7, generator=generator, dtype=torch.float64) * 10.0 ** float(torch.randint(-9, 9, (1,)))
        multipliers, exponent = scale_multipliers(scales, 16)
        assert 1 << 15 <= max(multipliers) < 1 << 16
        assert float((torch.tensor(multipliers) * 2.0**exponent - scales).abs().max()) <= 2.0 ** (exponent - 1)
    assert scale_multipliers(torch.tensor([65535.6]), 16) == ((32768,), 1)


def test_units_of_one_largest_scale_have_one_shift_and_together_the_multipliers_of_one_unit():
    scales = torch.tensor([[0.5, 0.25, 3e-4], [7.0, 65535.6 / 8192, 1e-3]])
    given = {"largest": 1 << 20, "input_exponent": -9, "output_exponent": -4}
    together = RequantizeSpec.of(scales.flatten(), **given)
    units = [RequantizeSpec.of(row, **given, largest_scale=float(scales.max())) for row in scales]
    assert {unit.shift for unit in units} == {together.shift}
    assert units[0].multipliers + units[1].multipliers == together.multipliers
    assert RequantizeSpec.of(scales[0], **given).shift != together.shift
    assert scale_multipliers(torch.zeros(2), 16, 1.0) == ((0, 0), -15)


@pytest.mark.parametrize(
    "given,message",
    [
        ({"multipliers": ()}, "multipliers must be at least one integer"),
        ({"multipliers": (65536,)}, r"multipliers must be integers in 0\.\.65535, not 65536"),
        ({"largest": 0}, "largest must be an integer of at least 1"),
        ({"shift": 99}, "shift must be an integer"),
        ({"output_bits": 1}, "output_bits must be an integer of at least 2"),
        ({"shift": -40}, r"shifted product must stay below 2\^62"),
    ],
)
def test_impossible_units_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        RequantizeSpec(**({"multipliers": (65535,), "largest": (1 << 31) - 1, "shift": 3} | given))


def test_sums_beyond_the_bound_and_scales_without_meaning_are_refused():
    spec = SPECS[0]
    with pytest.raises(InputError, match="vectors of 5 elements"):
        requantize(torch.zeros(4, dtype=torch.int64), spec)
    with pytest.raises(InputError, match=r"sums must be in ±2147483647"):
        requantize(torch.full((5,), 1 << 31), spec)
    for scales in (torch.zeros(3), torch.tensor([1.0, -1.0]), torch.tensor([float("inf")])):
        with pytest.raises(InputError, match="scales must be finite"):
            scale_multipliers(scales, 16)
    with pytest.raises(InputError, match="scales must be at most 1, not 2"):
        scale_multipliers(torch.tensor([0.5, 2.0]), 16, 1.0)
    with pytest.raises(InputError, match="scales must be finite"):
        scale_multipliers(torch.zeros(2), 16, 0.0)
