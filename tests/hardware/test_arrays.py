"""The plan equals brute force on small cases, and is never over the budget."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mxhw.errors import InputError
from mxhw.hardware import GemmBatch, gemm_costs, load_platform, plan_arrays
from tests.hardware.draws import units, works

ASAP7 = load_platform("asap7")
OPTIONS = (1, 2, 4, 8)
nodes = st.lists(st.tuples(units, works), min_size=1, max_size=3)


def brute_force(batch: GemmBatch, rows: int, budget: float) -> tuple[int, float] | None:
    """Return the smallest bottleneck and, of designs with it, the smallest area; None if nothing fits."""
    best = None
    for choice in product(OPTIONS, repeat=len(batch.units)):
        if any(c >= 2 * work.n for c, work in zip(choice, batch.works, strict=True)):
            continue
        costs = gemm_costs(batch, rows, np.asarray(choice)[:, None], ASAP7)
        area = float(costs.resource("area").sum())
        if area <= budget:
            found = (int(costs.cycles.max()), area)
            best = found if best is None else min(best, found)
    return best


@given(nodes, st.sampled_from([1, 4, 16]), st.floats(3, 6))
@settings(max_examples=60, deadline=None)
def test_plan_is_the_optimum(drawn, rows: int, magnitude: float) -> None:
    batch = GemmBatch([unit for unit, _ in drawn], [work for _, work in drawn])
    names = [f"node{i}" for i in range(len(drawn))]
    budget = 10**magnitude
    expected = brute_force(batch, rows, budget)
    platform = ASAP7.with_budget(area=budget)
    if expected is None:
        with pytest.raises(InputError, match="too small"):
            plan_arrays(names, batch, platform, rows, most_columns=8)
        return
    plan = plan_arrays(names, batch, platform, rows, most_columns=8)
    assert plan.interval == expected[0]
    assert float(plan.costs.resource("area").sum()) == pytest.approx(expected[1])
    assert float(plan.costs.resource("area").sum()) <= budget


def test_arguments_are_checked() -> None:
    with pytest.raises(InputError, match="no GEMM node has hardware"):
        plan_arrays([], GemmBatch([], []), ASAP7, 4)
    with pytest.raises(InputError, match="share of the budget"):
        plan_arrays([], GemmBatch([], []), ASAP7, 4, share=1.5)
