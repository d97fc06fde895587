"""All solvers against trying every assignment, on small problems with ties, infinities and budgets met to the bit."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from mxhw.passes.search.allocate import (
    AllocationProblem,
    InfeasibleError,
    allocate_exhaustive,
    allocate_greedy,
    allocate_uniform,
    solve_milp,
)
from mxhw.passes.search.allocate import branch as branch_module
from mxhw.passes.search.allocate.highs import Model, Solved
from tests.passes.search.allocate.drawn import drawn_small

SEEDS = range(150)


def every(problem: AllocationProblem) -> list[tuple[int, ...]]:
    """Return all assignments of allowed candidates."""
    rows = [[c for c in range(n) if problem.allowed[u, c]] for u, n in enumerate(problem.counts)]
    return list(itertools.product(*rows))


def best_of(problem: AllocationProblem) -> float | None:
    """Return the least loss, by definition, without the checks and sums of the package."""
    found = None
    for choice in every(problem):
        spends = {r: problem.fixed.get(r, 0.0) for r in problem.budgets}
        terms = {r: [spends[r], *(problem.costs[r][u][c] for u, c in enumerate(choice))] for r in spends}
        if all(math.fsum(terms[r]) <= problem.budgets[r] for r in spends):
            loss = math.fsum(problem.losses[u][c] for u, c in enumerate(choice))
            found = loss if found is None else min(found, loss)
    return found


def assert_is_optimum(problem: AllocationProblem, best: float | None) -> None:
    """Assert what the MILP promises: the optimum and a true bound, or the error exactly if there is no assignment."""
    if best is None:
        with pytest.raises(InfeasibleError):
            solve_milp(problem, gap=0)
        return
    found = solve_milp(problem, gap=0)
    assert problem.fits(found.choice)
    assert found.loss == problem.loss(found.choice)
    assert found.loss == pytest.approx(best, rel=1e-9, abs=1e-9)
    assert found.bound <= best + 1e-9 * max(1.0, abs(best))
    assert found.finished


def test_every_solver_against_every_assignment() -> None:
    infeasible = greedy_misses = 0
    for seed in SEEDS:
        problem = drawn_small(seed)
        best = best_of(problem)
        assert_is_optimum(problem, best)
        if best is None:
            infeasible += 1
            for solve in (allocate_greedy, allocate_exhaustive):
                with pytest.raises(InfeasibleError):
                    solve(problem)
            continue
        assert problem.loss(allocate_exhaustive(problem)) == best
        greedy = allocate_greedy(problem)
        assert problem.fits(greedy)
        assert problem.loss(greedy) >= best
        greedy_misses += problem.loss(greedy) > best + 1e-9
    assert infeasible > 20
    assert 0 < greedy_misses < 0.1 * len(SEEDS)  # greedy is not exact, so the comparison can see a difference


def test_the_first_of_equal_assignments_is_the_oracle_s() -> None:
    problem = AllocationProblem([[1.0, 1.0], [0.0, 0.0]], {"x": [[1.0, 0.0], [1.0, 1.0]]}, {"x": 2.0})
    assert allocate_exhaustive(problem) == (0, 0)
    # Of candidates of one unit with equal loss the cheaper one; of candidates equal in all, the first.
    assert solve_milp(problem, gap=0).choice == allocate_greedy(problem) == (1, 0)


def test_a_gap_is_kept_and_its_bound_is_true() -> None:
    for seed in range(60):
        problem = drawn_small(1000 + seed, allowed=1.0)
        if (best := best_of(problem)) is not None:
            found = solve_milp(problem, gap=0.2)
            assert found.bound <= best + 1e-9 * max(1.0, abs(best))
            assert found.loss - found.bound <= 0.2 * abs(found.loss) + 1e-12
            assert best <= found.loss


def test_the_error_tells_the_truth_about_conflicts() -> None:
    """Conflict: impossible together, possible without any one; the least costs and the least excess by trying all."""
    conflicts = 0
    for seed in range(500):
        problem = drawn_small(2000 + seed)
        try:
            allocate_exhaustive(problem)
        except InfeasibleError as caught:
            error = caught
        else:
            continue
        if len(error.conflict) < 2:
            continue
        conflicts += 1
        budgets = problem.budgets
        choices = every(problem)
        spends = {r: np.array([problem.spend(r, choice) for choice in choices]) for r in error.conflict}
        keeps = {r: spends[r] <= budgets[r] for r in error.conflict}
        assert not np.logical_and.reduce(list(keeps.values())).any()
        least = {}
        for resource in error.conflict:
            others = np.logical_and.reduce([keeps[r] for r in error.conflict if r != resource])
            assert others.any()
            least[resource] = spends[resource][others].min()
        assert error.least == pytest.approx(least[error.resource], rel=2e-4)
        assert error.least <= least[error.resource] * (1 + 1e-12)
        dearest = {r: problem.cost_tables[r] for r in error.conflict}
        scale = {
            r: budgets[r] or float(np.where(np.isfinite(t), t, 0).max(axis=1).sum()) + problem.fixed.get(r, 0.0)
            for r, t in dearest.items()
        }
        excess = sum(np.maximum(spends[r] - budgets[r], 0) / scale[r] for r in error.conflict).min()
        assert error.violation == pytest.approx(excess, rel=2e-4, abs=2e-6)
    assert conflicts > 10


def test_uniform_is_the_best_of_the_uniform_ones() -> None:
    found = 0
    for seed in range(60):
        drawn = drawn_small(seed, allowed=1.0)
        width = min(drawn.counts)
        problem = replace(
            drawn,
            losses=[row[:width] for row in drawn.losses],
            costs={r: [row[:width] for row in rows] for r, rows in drawn.costs.items()},
        )
        uniform = [(c,) * len(problem.counts) for c in range(width)]
        losses = [problem.loss(choice) for choice in uniform if problem.fits(choice)]
        if losses:
            found += 1
            assert problem.loss(allocate_uniform(problem)) == min(losses)
        else:
            with pytest.raises(InfeasibleError):
                allocate_uniform(problem)
    assert found > 20


def test_a_solver_that_breaks_budgets_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """HiGHS keeps budgets to 1e-6; here a fault widens all budgets by a third, and no answer changes."""
    honest = Model.__init__

    def faulty(self: Model, problem, keep, budgets) -> None:
        honest(self, problem, keep, {r: replace(row, room=row.room * 4 / 3) for r, row in budgets.items()})

    monkeypatch.setattr(Model, "__init__", faulty)
    monkeypatch.setattr(branch_module, "greedy", lambda *_: None)  # nothing but what HiGHS finds, and repairs of it
    monkeypatch.setattr(branch_module, "repair", lambda *_: None)
    cuts = []
    solve = Model.solve
    monkeypatch.setattr(Model, "solve", lambda self, *given: cuts.append(len(given[3])) or solve(self, *given))
    for seed in range(80):
        problem = drawn_small(seed)
        if (best := best_of(problem)) is not None:
            assert_is_optimum(problem, best)
    assert max(cuts) > 3  # the fault was there: assignments were refused, and cut off


def test_wrong_multipliers_weaken_the_bound_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    relaxed = branch_module._relaxed
    draw = np.random.default_rng(8)

    def faulty(*given):
        found = relaxed(*given)
        return found and (found[0], {r: float(draw.lognormal(0, 2)) for r in found[1]})

    monkeypatch.setattr(branch_module, "_relaxed", faulty)
    for seed in range(80):
        problem = drawn_small(seed)
        if (best := best_of(problem)) is not None:
            assert_is_optimum(problem, best)


def test_a_bound_that_is_too_high_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control of `assert_is_optimum`."""
    solve = Model.solve

    def faulty(self: Model, *given) -> Solved:
        found = solve(self, *given)
        return replace(found, choice=None, bound=math.inf)

    monkeypatch.setattr(Model, "solve", faulty)
    wrong = 0
    for seed in SEEDS:
        problem = drawn_small(seed)
        if (best := best_of(problem)) is not None:
            try:
                assert_is_optimum(problem, best)
            except AssertionError:
                wrong += 1
    assert wrong > 0
