"""What the MILP says when time is up, on standard output, twice, and at the size of a large model."""

import ctypes
import math
import os
from dataclasses import replace

import pytest
import scipy.optimize

from mxhw.errors import MxhwWarning
from mxhw.passes.search.allocate import (
    AllocationProblem,
    InfeasibleError,
    UndecidedError,
    allocate_greedy,
    allocate_milp,
    solve_milp,
)
from mxhw.passes.search.allocate import branch as branch_module
from mxhw.passes.search.allocate.highs import clean_stdout
from tests.passes.search.allocate.drawn import drawn_model


def test_when_time_is_up_the_incumbent_comes_with_its_gap() -> None:
    problem = drawn_model(60, 4, 2, 1)
    best = solve_milp(problem, gap=0)
    assert best.finished
    found = solve_milp(problem, gap=0, seconds=1e-9)
    assert not found.finished
    assert problem.fits(found.choice)
    assert found.bound <= best.loss <= found.loss
    assert found.gap == pytest.approx((found.loss - found.bound) / found.loss)
    with pytest.warns(MxhwWarning, match=r"after 1e-09 s the loss is within .* % of the optimum, not within 0 %"):
        assert allocate_milp(problem, gap=0, seconds=1e-9) == found.choice


def test_without_an_incumbent_it_says_that_it_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("greedy", "repair"):
        monkeypatch.setattr(branch_module, name, lambda *_: None)
    with pytest.raises(UndecidedError, match="none was proven impossible; allow more seconds"):
        solve_milp(drawn_model(60, 4, 2, 1), seconds=1e-9)


def test_standard_output_stays_clean(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """HiGHS' line comes by printf, which keeps it in a buffer of C; what others write meanwhile is not lost."""
    noise = b"HighsMipSolverData::transformNewIntegerFeasibleSolution tmpSolver.run();\n"
    libc = ctypes.CDLL(None)
    milp, calls = scipy.optimize.milp, []

    def noisy(*given, **named):
        calls.append(libc.printf(noise))
        os.write(1, b"of another thread\n")
        return milp(*given, **named)

    monkeypatch.setattr(scipy.optimize, "milp", noisy)
    solve_milp(drawn_model(60, 4, 2, 1), gap=0)
    libc.fflush(None)
    assert calls
    assert capfd.readouterr().out == "of another thread\n" * len(calls)
    noisy([1.0])  # the negative control: without the guard it is there
    libc.fflush(None)
    assert noise.decode() in capfd.readouterr().out
    with pytest.raises(ZeroDivisionError), clean_stdout():
        print(1 // 0)
    os.write(1, b"after\n")
    assert capfd.readouterr().out == "after\n"


def test_the_same_problem_gives_the_same_answer() -> None:
    for resources in (1, 2, 3):
        problem = drawn_model(100, 4, resources, 7)
        assert solve_milp(problem) == solve_milp(replace(problem))
        assert allocate_greedy(problem) == allocate_greedy(replace(problem))


def test_scale_does_not_matter() -> None:
    """Tolerances of HiGHS are absolute; losses and costs of any size get the same answer."""
    problem = drawn_model(40, 4, 2, 5)
    loss = solve_milp(problem, gap=0).loss
    for factor in (2.0**-60, 2.0**40):
        losses = [[factor * x for x in row] for row in problem.losses]
        assert solve_milp(replace(problem, losses=losses), gap=0).loss == pytest.approx(factor * loss, rel=1e-9)
        costs = {r: [[factor * x for x in row] for row in rows] for r, rows in problem.costs.items()}
        budgets = {r: factor * budget for r, budget in problem.budgets.items()}
        assert solve_milp(replace(problem, costs=costs, budgets=budgets), gap=0).loss == pytest.approx(loss, rel=1e-9)


def test_units_may_have_pairs_of_format_and_width_with_pruned_candidates() -> None:
    """The form for hardware: a latency bound has removed candidates, area and bits are budgets."""
    inf = math.inf
    losses = [[4.0, 4.0, 1.0, 1.0], [3.0, 0.5], [2.0, 2.0, 0.1]]
    area = [[1.0, 2.0, 2.0, 4.0], [2.0, 5.0], [1.0, 2.0, 4.0]]
    latency = [[inf, 1.0, inf, 1.0], [1.0, 1.0], [inf, 1.0, 1.0]]
    problem = AllocationProblem(losses, {"area": area, "latency": latency}, {"area": 10.0}, {"area": 1.0})
    found = solve_milp(problem, gap=0)
    assert found.choice == (3, 0, 1)
    assert found.loss == 6.0
    assert problem.spend("area", found.choice) == 9.0
    with pytest.raises(InfeasibleError, match="area of at least 7 does not fit the budget of 6"):
        solve_milp(replace(problem, budgets={"area": 6.0}))


def test_a_conflict_in_a_large_model_is_named() -> None:
    """Two costs of which one falls where the other rises, in 1000 units; bits have nothing to do with it."""
    problem = drawn_model(1000, 4, 3, 0)
    costs = {**problem.costs, "cost1": [row[::-1] for row in problem.costs["cost1"]]}
    budgets = {r: 1.05 * AllocationProblem(problem.losses, costs, {}).least(r) for r in costs}
    with pytest.raises(InfeasibleError, match=r"cost1 <= .* and cost2 <= .* cannot be met together") as caught:
        solve_milp(AllocationProblem(problem.losses, costs, budgets))
    assert caught.value.conflict == ("cost1", "cost2")
    assert caught.value.least > 2 * caught.value.budget
    assert caught.value.violation > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("resources", [1, 2, 3])
def test_4096_units(resources: int) -> None:
    problem = drawn_model(4096, 4, resources, 0)
    found = solve_milp(problem, gap=1e-4)
    assert found.finished
    assert problem.fits(found.choice)
    assert branch_module.linear_bound(problem) <= found.loss * (1 + 1e-12)
    assert (found.loss - found.bound) / found.loss <= 1e-4
    assert solve_milp(replace(problem), gap=1e-4) == found
    assert found.loss <= problem.loss(allocate_greedy(problem)) * (1 + 1e-4)
    plain = scipy_milp(problem)
    assert plain == pytest.approx(found.loss, rel=3e-4)


def scipy_milp(problem: AllocationProblem) -> float:
    """Return the loss that HiGHS finds on the whole problem, written down directly, to a gap of 1e-4."""
    import numpy as np
    from scipy import sparse

    units, width = problem.loss_table.shape
    size = units * width
    one = sparse.csr_array((np.ones(size), (np.repeat(np.arange(units), width), np.arange(size))), shape=(units, size))
    rows = [problem.cost_tables[r].ravel() / problem.budgets[r] for r in problem.limits]
    with clean_stdout():
        found = scipy.optimize.milp(
            problem.loss_table.ravel() * 100,
            integrality=np.ones(size),
            bounds=scipy.optimize.Bounds(0, 1),
            constraints=[
                scipy.optimize.LinearConstraint(one, 1, 1),
                scipy.optimize.LinearConstraint(np.stack(rows), -np.inf, 1),
            ],
            options={"mip_rel_gap": 1e-4, "time_limit": 60},
        )
    return float(found.fun) / 100
