"""BitMoD's PE on FP16: the definition against a slow one in Python integers, golden groups, and the widths' bounds."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from mxhw.arithmetic import WeightType, weight_type_named, weight_types
from mxhw.arithmetic.bitmod_pe import (
    ACCUMULATOR_BIAS,
    Fp16Steps,
    exact_sum,
    fp16_operands,
    fp16_widths,
    paper_sum,
)
from mxhw.errors import InputError
from tests.bitmod_groups import Groups, drawn_groups, golden_groups

TYPES = list(weight_types())


def slow_paper_sum(x: list[float], codes: list[int], kind: WeightType, selector: int) -> tuple[int, int]:
    """Mantissa and exponent of a group, line by line as the module says, in Python integers."""
    m = exponent = 0
    fresh = True
    for start in range(0, len(codes), 4):
        for step in range(kind.steps):
            lanes = []
            for number, code in zip(x[start : start + 4], codes[start : start + 4], strict=True):
                bits = int(np.float16(number).view(np.uint16))
                sign, field, fraction = bits >> 15, bits >> 10 & 31, bits & 1023
                if field == 31:
                    field, fraction = 30, 1023
                significand = fraction + 1024 if field else fraction
                term = kind.term(code, step, selector)
                lanes.append((sign ^ term.sign, max(field, 1) + term.exponent, significand * term.mantissa))
            top = max(e for _, e, _ in lanes)
            dot = 0
            for sign, e, significand in lanes:
                magnitude = significand * 8 // 2 ** (top - e) if top - e < 14 else 0
                dot += -magnitude if sign else magnitude
            common = top if fresh else max(exponent, top)
            kept = 0 if fresh or common - exponent >= 14 else m // 2 ** (common - exponent)
            total = kept + dot * 2 ** kind.significance(step, selector) // 2 ** (common - top)
            m, exponent, fresh = total, common, False
            while not -(2**14) <= m < 2**14:
                m, exponent = m // 2, exponent + 1
    return m, exponent


def slow_exact_sum(x: list[float], codes: list[int], kind: WeightType, selector: int) -> Fraction:
    largest = float(np.finfo(np.float16).max)
    finite = [v if abs(v) <= largest else np.copysign(largest, v) for v in x]
    return sum((Fraction(float(v)) * kind.value(c, selector) for v, c in zip(finite, codes, strict=True)), Fraction(0))


def mismatches(groups: Groups) -> list[int]:
    """The groups in which the vectorised definition differs from the slow one."""
    steps = groups.steps()
    paper, exact = paper_sum(steps), exact_sum(steps)
    found = []
    for g in range(len(groups.codes)):
        row = groups.x[g].tolist(), groups.codes[g].tolist(), groups.kind, int(groups.selector[g])
        same = (int(paper.mantissa[g]), int(paper.exponent[g])) == slow_paper_sum(*row)
        if not same or Fraction(int(exact[g]), 2**24) != slow_exact_sum(*row):
            found.append(g)
    return found


@pytest.mark.parametrize("name", TYPES)
def test_the_definition_equals_the_slow_one_in_every_group(name):
    assert mismatches(drawn_groups(weight_type_named(name), groups=60, chunks=6, seed=TYPES.index(name))) == []


def test_a_wrong_significance_or_selector_is_noticed():
    groups = drawn_groups(weight_type_named("fp4"), groups=40, chunks=4, seed=1)
    wrong = replace(groups.kind, significances=(2, 0))
    steps = replace(groups, kind=wrong).steps()
    right = groups.steps()
    assert (exact_sum(steps) != exact_sum(right)).any() and (
        paper_sum(steps).mantissa != paper_sum(right).mantissa
    ).any()


@pytest.mark.parametrize("width", [3, 4])
def test_the_exact_accumulator_meets_the_golden_dots_without_any_difference(shared, width):
    groups, golden = golden_groups(shared, width)
    total = exact_sum(groups.steps())
    assert (total.double().numpy() / 2**24 == golden["dot_exact"]).all()
    assert ((total * groups.scale).double().numpy() / 2**24 == golden["dot_scaled"]).all()


@pytest.mark.parametrize(("width", "mean", "worst"), [(3, 1.3e-4, 3e-4), (4, 2.4e-4, 6e-4)])
def test_the_papers_accumulator_errs_on_golden_groups_as_little_as_published(shared, width, mean, worst):
    groups, golden = golden_groups(shared, width)
    values = paper_sum(groups.steps()).float64().numpy()
    error = np.abs(values - golden["dot_exact"]) / np.abs(golden["act"].astype(float) * golden["code"]).sum(-1)
    # The published accumulator, mended, errs by 3.0e-4 in the mean and 9.4e-4 at most where exponents are equal.
    assert 0.5 * mean < error.mean() < mean and error.max() < worst


def test_a_scaled_sum_is_the_sum_times_the_scale():
    groups = drawn_groups(weight_type_named("fp3"), groups=50, chunks=4, seed=2)
    total = paper_sum(groups.steps())
    scaled = total.scaled(groups.scale)
    assert torch.equal(scaled.float64(), total.float64() * groups.scale)
    assert torch.equal(scaled.exponent, total.exponent)
    value = torch.ldexp(total.mantissa.double(), total.exponent - ACCUMULATOR_BIAS)
    assert torch.equal(total.float64(), value)


def test_every_fp16_pattern_becomes_its_number_and_inf_and_nan_the_largest():
    patterns = torch.arange(1 << 16).to(torch.int32).to(torch.int16)
    sign, exponent, significand = fp16_operands(patterns.view(torch.float16))
    value = torch.ldexp(significand.double(), exponent - 25) * (1 - 2 * sign)
    expected = patterns.view(torch.float16).double()
    finite = expected.isfinite()
    assert torch.equal(value[finite], expected[finite])
    assert set(value[~finite].abs().tolist()) == {65504.0}
    assert (int(exponent.min()), int(exponent.max()), int(significand.max())) == (1, 30, 2047)


def largest_group(kind: WeightType, sign: int, length: int = 128) -> Fp16Steps:
    """Steps of a group in which every product is the largest, all of one sign."""
    code = (
        kind.special_code
        if kind.special_values and max(kind.special_values) == kind.largest
        else next(c for c in range(1 << kind.code_bits) if kind.value(c) == kind.largest)
    )
    selector = kind.special_values.index(kind.largest) if kind.special_values else 0
    x = torch.full((1, length), sign * 65504.0).half()
    return Fp16Steps.of(x, torch.full((1, length), code), kind, torch.tensor([selector]))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", TYPES)
def test_the_largest_group_fits_and_one_bit_less_would_not_hold_it(name, sign):
    kind = weight_type_named(name)
    steps, exact = largest_group(kind, sign), fp16_widths(kind, "exact")
    total = int(exact_sum(steps)[0])
    assert total == sign * (65504 << 24) * kind.largest * 128
    for value, bits in ((total, exact.group_sum), (total * 255, exact.scaled)):
        assert -(1 << bits - 1) <= value < 1 << bits - 1
        assert not -(1 << bits - 2) <= value < 1 << bits - 2
    paper = paper_sum(steps)
    assert 1 << 5 <= int(paper.exponent[0]) < 1 << fp16_widths(kind, "paper").exponent
    assert abs(paper.float64()[0] / (total / 2**24) - 1) < 3e-3


def test_groups_that_the_registers_could_not_hold_are_refused():
    kind = weight_type_named("int8")
    with pytest.raises(InputError, match="short enough for a 6-bit exponent"):
        fp16_widths(kind, "paper", 1 << 25)
    with pytest.raises(InputError, match="at least the 4 lanes"):
        fp16_widths(kind, "exact", 2)
    with pytest.raises(InputError, match="could exceed 62 bits"):
        exact_sum(largest_group(kind, 1, 1 << 16))
    with pytest.raises(InputError, match=r"activations must be float16, not torch.float32"):
        fp16_operands(torch.zeros(4))
    with pytest.raises(InputError, match="a multiple of 4 weights, not 6"):
        Fp16Steps.of(torch.zeros(1, 6).half(), torch.zeros(1, 6, dtype=torch.int64), kind, torch.zeros(1))
