"""Softmax: the definition equals plain Python, its split form the whole, and both float to the stated error."""

import math
from fractions import Fraction
from math import floor

import pytest
import torch

from mxhw.arithmetic.functions.softmax import (
    SoftmaxSpec,
    base2_scores,
    normalise,
    reciprocal,
    softmax,
    softmax_weights,
    value_weights,
)
from mxhw.arithmetic.rounding import saturate
from mxhw.errors import InputError

STD = SoftmaxSpec()
CHEAP = SoftmaxSpec(score_fraction=6, weight_bits=10, reciprocal_entries_log2=4, probability_fraction=12)


def rounded(x: Fraction) -> int:
    return floor(x + Fraction(1, 2))


def scaled(x, shift):
    return rounded(Fraction(x) / Fraction(2) ** shift)


def oracle_weights(t, spec):
    """Section 6 of arithmetic.md for one row: mantissas, shifts and weights."""
    one = 1 << spec.weight_bits - 1
    below = [max(t) - x for x in t]
    mantissas = [round(one * 2.0 ** -((n % (1 << spec.score_fraction)) / (1 << spec.score_fraction))) for n in below]
    shifts = [n >> spec.score_fraction for n in below]
    return mantissas, shifts, [scaled(p, i) for p, i in zip(mantissas, shifts, strict=True)]


def oracle_reciprocal(total, spec):
    position = total.bit_length() - 1
    f = floor(Fraction(total, 1 << position) * 65536) - 65536
    entries = 1 << spec.reciprocal_entries_log2
    i, rest = divmod(f, 65536 // entries)
    low, high = (min(65535, round(65536 / (1 + k / entries))) for k in (i, i + 1))
    return low + rounded(Fraction((high - low) * rest * entries, 65536)), position


def oracle(t, visible, spec):
    if visible == 0:
        return [0] * len(t)
    _, _, weights = oracle_weights(t[:visible], spec)
    factor, position = oracle_reciprocal(sum(weights), spec)
    found = [scaled(w * factor, 16 + position - spec.probability_fraction) for w in weights]
    return found + [0] * (len(t) - len(found))


def rows(spec, keys, count, seed):
    """Drawn rows of several spreads, and the corners."""
    generator = torch.Generator().manual_seed(seed)
    limit = 1 << spec.score_bits - 1
    spread = 2 ** torch.randint(4, spec.score_bits - 1, (count, 1), generator=generator)
    drawn = (torch.randn(count, keys, generator=generator) * spread).long().clamp(1 - limit, limit - 1)
    dominant, buried = torch.full((2, keys), 1 - limit)
    dominant[keys // 2] = limit - 1
    buried[-1] = 0
    corners = [dominant, buried, torch.zeros(keys), torch.full((keys,), -limit), torch.full((keys,), limit - 1)]
    return torch.cat([drawn, torch.stack([c.long() for c in corners])])


@pytest.mark.parametrize("spec", [STD, CHEAP], ids=["std", "cheap"])
@pytest.mark.parametrize("keys", [1, 2, 7, 64])
def test_the_definition_is_that_of_the_design(spec, keys):
    t = rows(spec, keys, 30, keys)
    whole = softmax(t, spec).tolist()
    assert whole == [oracle(row, keys, spec) for row in t.tolist()]
    visible = torch.randint(0, keys + 1, (len(t),), generator=torch.Generator().manual_seed(1))
    seen = softmax(t, spec, visible).tolist()
    assert seen == [oracle(row, v, spec) for row, v in zip(t.tolist(), visible.tolist(), strict=True)]
    assert keys == 1 or seen != whole


def test_scores_of_keys_that_are_not_visible_do_not_matter():
    t = rows(STD, 20, 40, 5)
    visible = torch.arange(len(t)) % 21
    hidden = torch.arange(20) >= visible[:, None]
    other = torch.where(hidden, torch.randint(-(2**23), 2**23, t.shape, generator=torch.Generator().manual_seed(6)), t)
    assert torch.equal(softmax(t, STD, visible), softmax(other, STD, visible))
    more = torch.where(hidden, 0, softmax(t, STD, visible))
    assert torch.equal(more, softmax(t, STD, visible))


@pytest.mark.parametrize("spec", [STD, CHEAP], ids=["std", "cheap"])
def test_attention_by_parts_is_that_of_the_design(spec):
    """Weights with the values' exponents, the sum of products, its normalisation, against fractions in plain loops."""
    generator = torch.Generator().manual_seed(2)
    t = rows(spec, 33, 40, 3)
    values = torch.randint(-127, 128, (len(t), 33, 3), generator=generator)
    exponent = torch.randint(-9, 4, (len(t), 33), generator=generator)
    visible = torch.randint(1, 34, (len(t),), generator=generator)
    weights = softmax_weights(t, spec, visible)
    operand, unit = value_weights(weights, exponent)
    sums = (operand.unsqueeze(-1) * values).sum(-2)
    found = normalise(sums, weights.total.unsqueeze(-1), spec)
    for row in range(len(t)):
        n = int(visible[row])
        mantissas, shifts, whole = oracle_weights(t[row, :n].tolist(), spec)
        e = exponent[row, :n].tolist()
        assert int(unit[row]) == max(e) and int(weights.total[row]) == sum(whole)
        pv = [scaled(p, i + max(e) - x) for p, i, x in zip(mantissas, shifts, e, strict=True)]
        assert operand[row].tolist() == pv + [0] * (33 - n)
        factor, position = oracle_reciprocal(sum(whole), spec)
        for d in range(3):
            o = sum(p * v for p, v in zip(pv, values[row, :n, d].tolist(), strict=True))
            on = scaled(o, position - 15)
            assert abs(on) <= 127 << 16
            assert int(found[row, d]) == max(-32767, min(32767, scaled(on * factor, 23)))


def test_attention_is_the_mean_of_the_values_to_the_stated_error():
    """One exponent and weights that lose nothing (equal scores): what is left is the error of the normalisation."""
    worst = 0.0
    for keys in (1, 2, 3, 33, 97, 255, 300):
        values = torch.randint(-127, 128, (200, keys), generator=torch.Generator().manual_seed(keys))
        values[0], values[1] = 127, -127
        weights = softmax_weights(torch.full((200, keys), 77), STD)
        operand, _ = value_weights(weights, torch.zeros(keys, dtype=torch.int64))
        found = normalise((operand * values).sum(-1), weights.total, STD) / 256
        worst = max(worst, float((found - values.double().mean(-1)).abs().max()))
    stated = 127 * STD.reciprocal_error + 2.0**-9
    assert worst <= stated <= 1.5 * worst


@pytest.mark.parametrize("spec", [STD, CHEAP], ids=["std", "cheap"])
def test_the_reciprocal_holds_its_error_for_every_mantissa(spec):
    total = torch.arange(1 << 16, 1 << 17)
    wide = torch.arange(1 << 30, 1 << 31, 4999)
    for sums in (total, wide):
        found = reciprocal(sums, spec)
        value = found.factor.double() * 2.0 ** -(16.0 + found.position)
        measured = float((value * sums - 1).abs().max())
        assert measured <= spec.reciprocal_error <= 1.5 * measured
    assert spec.recip.stored_bits == {5: 864, 4: 448}[spec.reciprocal_entries_log2]


def test_every_weight_is_within_three_quarters_of_a_unit():
    n = torch.arange(20 << 8)
    weights = softmax_weights(torch.stack([torch.zeros_like(n), -n], -1), STD)
    measured = float((weights.weight[:, 1] - 2.0 ** (15 - n.double() / 256)).abs().max())
    assert 0.7 < measured <= 0.75
    assert (STD.exp2.entries, STD.exp2.stored_bits) == (256, 4096)


def error(t, spec):
    """Largest difference to float softmax of the same integers."""
    exact = torch.softmax(t.double() * (math.log(2) / (1 << spec.score_fraction)), -1)
    return float((softmax(t, spec).double() / (1 << spec.probability_fraction) - exact).abs().max())


def worst_error(spec, keys):
    """The largest error over drawn rows, corners, all rows of two keys, and rows whose many small weights are lost."""
    fraction, lost = spec.score_fraction, (spec.weight_bits << spec.score_fraction) + 1
    found = error(rows(spec, keys, 50, keys), spec)
    if keys == 2:
        n = torch.arange((spec.weight_bits + 2) << fraction)
        return max(found, error(torch.stack([torch.zeros_like(n), -n], -1), spec))
    if keys > 2:
        below = torch.arange(0, 7 << fraction, max(1, keys // 64))
        t = torch.full((len(below), keys), -lost)
        t[:, 0], t[:, 1] = 0, -below
        found = max(found, error(t, spec))
    return found


@pytest.mark.parametrize("spec", [STD, CHEAP], ids=["std", "cheap"])
@pytest.mark.parametrize("keys", [1, 2, 64, 256, 2048])
def test_the_stated_error_holds(keys, spec):
    measured = worst_error(spec, keys)
    assert measured <= spec.worst_error(keys) <= 1.5 * measured


def test_the_figures_of_the_docstring():
    assert [f"{STD.worst_error(keys):.1e}" for keys in (2, 64, 256, 2048)] == [
        "2.9e-04",
        "1.2e-03",
        "4.2e-03",
        "3.1e-02",
    ]


@pytest.mark.parametrize("spec", [STD, CHEAP], ids=["std", "cheap"])
def test_one_key_has_probability_one_and_none_has_zero(spec):
    t = rows(spec, 9, 10, 4)
    ones = softmax(t, spec, torch.ones(len(t), dtype=torch.int64))
    assert (ones[:, 0] == 1 << spec.probability_fraction).all() and (ones[:, 1:] == 0).all()
    nothing = softmax_weights(t, spec, torch.zeros(len(t), dtype=torch.int64))
    assert not (nothing.weight.any() or nothing.mantissa.any() or nothing.total.any())
    assert not softmax(t, spec, torch.zeros(len(t), dtype=torch.int64)).any()


@pytest.mark.parametrize("keys", [1, 64, 256, 2048])
def test_the_widths_hold_the_largest_sums_and_one_bit_less_does_not(keys):
    weights = softmax_weights(torch.full((keys,), -(2**23) + 1), STD)
    assert int(weights.total) < 1 << STD.sum_bits(keys) and int(weights.total) >= 1 << STD.sum_bits(keys) - 1
    bits = STD.value_sum_bits(keys)
    for value in (-127, 127):
        total = int((weights.weight * value).sum())
        assert -(1 << bits - 1) <= total < 1 << bits - 1
        assert not -(1 << bits - 2) <= total < 1 << bits - 2
    assert (STD.sum_bits(256), STD.value_sum_bits(256), STD.value_sum_bits(2048)) == (24, 31, 34)


def test_a_distance_beyond_all_shifts_is_zero_and_the_one_before_rounds_up():
    t = torch.tensor([[0, -(16 << 8), -(16 << 8) - 1, -(17 << 8), 1 - 2**23]])
    assert softmax_weights(t, STD).weight.tolist() == [[1 << 15, 1, 0, 0, 0]]
    assert softmax_weights(t, STD).shift.tolist() == [[0, 16, 16, 17, 17]]


def test_scores_are_rounded_once_and_saturate():
    products = torch.tensor([0, 5, -5, 1 << 30, -(1 << 30)])
    assert base2_scores(products, -9, STD).tolist() == [0, 3, -2, *saturate(products[3:] >> 1, 24).tolist()]
    assert base2_scores(products[:3], -6, STD).tolist() == [0, 20, -20]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"score_bits": 9}, "score_bits must be an integer of at least 10 and at most 32, not 9"),
        ({"weight_bits": 17}, "weight_bits must be an integer of at least 2 and at most 16, not 17"),
        ({"reciprocal_entries_log2": 0}, "reciprocal_entries_log2 must be an integer of at least 1"),
        ({"probability_fraction": 25}, "probability_fraction must be an integer of at least 1 and at most 24, not 25"),
        ({"weight_bits": 4, "probability_fraction": 19}, "probability_fraction .* at most 18, not 19"),
    ],
)
def test_impossible_parameters_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        SoftmaxSpec(**wrong)


def test_scores_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match=r"scores must be integers in -8388608..8388607, not 0..8388608"):
        softmax(torch.tensor([0, 1 << 23]), STD)
