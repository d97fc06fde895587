"""Skipping of idle steps: every lane's terms still sum to its weight, in as few steps as the rule says."""

import random
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from mxhw.arithmetic import WeightType, weight_type_named, weight_types
from mxhw.arithmetic.term_steps import Step, chunk_cycles, chunk_steps, merged_term, merging_significances
from tests.bitmod_groups import golden_groups

TYPES = list(weight_types())


def drawn_chunks(kind: WeightType, count: int, seed: int) -> list[tuple[list[int], int]]:
    """Random chunks, in some of which most codes are zero, and their selectors."""
    rng = random.Random(seed)
    chunks = []
    for _ in range(count):
        density = rng.choice((0.2, 0.5, 1.0))
        codes = [rng.randrange(1 << kind.code_bits) if rng.random() < density else 0 for _ in range(4)]
        chunks.append((codes, rng.randrange(max(1, len(kind.special_values)))))
    return chunks


def spelled(steps: tuple[Step, ...], lane: int) -> int:
    return sum(step.terms[lane].value << step.significance for step in steps)


def is_exact(kind: WeightType, codes: list[int], selector: int, steps: tuple[Step, ...]) -> bool:
    return [spelled(steps, lane) for lane in range(4)] == [kind.value(code, selector) for code in codes]


def fewest(kind: WeightType, codes: list[int], selector: int) -> int:
    """Steps by the words of the rule, from the values alone."""
    values = [kind.value(code, selector) for code in codes]
    if not kind.magnitudes:
        digits = [[(v << 1 >> 2 * s) & 7 not in (0, 7) for v in values] for s in range(kind.steps)]
        return max(1, sum(any(row) for row in digits))
    if kind.steps == 1:
        return 1
    for significance in set(kind.significances):
        reachable = {0, *(sign << e + significance for e in range(4) for sign in (1,))}
        if {abs(v) for v in values} <= reachable:
            return 1
    return 2


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("name", TYPES)
def test_terms_sum_to_the_weights_in_the_steps_of_the_rule(name, skip):
    kind = weight_type_named(name)
    for codes, selector in drawn_chunks(kind, 300, TYPES.index(name)):
        steps = chunk_steps(kind, codes, selector, skip)
        assert is_exact(kind, codes, selector, steps)
        assert len(steps) == (fewest(kind, codes, selector) if skip else kind.steps)


@pytest.mark.parametrize("name", TYPES)
def test_the_count_over_tensors_is_the_number_of_steps(name):
    kind = weight_type_named(name)
    chunks = drawn_chunks(kind, 400, 7)
    counted = chunk_cycles(kind, torch.tensor([c for c, _ in chunks]), torch.tensor([s for _, s in chunks]))
    assert counted.tolist() == [len(chunk_steps(kind, codes, selector)) for codes, selector in chunks]
    assert chunk_cycles(kind, torch.zeros(3, 5, 4)).tolist() == [[1] * 5] * 3


def test_all_pairs_of_fp4_values_are_exact_and_only_half_and_eight_in_one_chunk_need_a_step_more():
    kind = weight_type_named("fp4")
    for selector, pair in product(range(4), product(range(16), repeat=2)):
        codes = [*pair, 0, 0]
        steps = chunk_steps(kind, codes, selector)
        assert is_exact(kind, codes, selector, steps)
        magnitudes = {abs(kind.value(code, selector)) for code in pair}
        powers = all(m & m - 1 == 0 for m in magnitudes)
        assert len(steps) == (1 if powers and magnitudes != {1, 16} else 2)


def test_a_term_at_a_wrong_significance_is_noticed():
    kind = weight_type_named("fp4")
    codes, selector = [1, 2, 4, 0], 0
    (step,) = chunk_steps(kind, codes, selector)
    assert not is_exact(kind, codes, selector, (Step(1 - step.significance, step.terms),))
    assert merging_significances(kind) == (0, 1) and merged_term(kind, 1, 0, 1) is None


@pytest.mark.parametrize(("width", "one_pe", "eight_columns"), [(3, 1.0767, 1.4651), (4, 1.7768, 2.0)])
def test_mean_cycles_on_the_golden_tensor(shared: Path, width: int, one_pe: float, eight_columns: float) -> None:
    """The figures of a four-lane PE and of 32 lanes in lock-step; two cycles without skipping."""
    golden = np.load(shared / "golden/bitmod/reference_fp32.npz")
    kind = weight_type_named(f"fp{width}")
    selector = torch.tensor(golden[f"w{width}_svidx"]).long().view(256, 8, 1)
    values = torch.tensor(golden[f"w{width}_code"]).long().view(256, 8, 128)
    codes = torch.zeros_like(values)
    for s, code in product(range(4), range(1, 1 << width)):
        codes[(selector == s) & (values == kind.value(code, s))] = code
    cycles = chunk_cycles(kind, codes.unflatten(-1, (-1, 4)), selector)
    lock_step = cycles.unflatten(0, (-1, 8)).amax(1)
    assert cycles.double().mean() == pytest.approx(one_pe, abs=1e-4)
    assert lock_step.double().mean() == pytest.approx(eight_columns, abs=1e-4)


@pytest.mark.parametrize(("width", "most"), [(3, 1.08), (4, 1.77)])
def test_mean_cycles_on_golden_groups(shared: Path, width: int, most: float) -> None:
    groups, _ = golden_groups(shared, width)
    cycles = chunk_cycles(groups.kind, groups.codes.unflatten(-1, (-1, 4)), groups.selector.unsqueeze(-1))
    assert cycles.double().mean() < most
