"""The sweep is the linear relaxation for every budget, and the optimum at every vertex; greedy stays close to it."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import linprog

from mxhw.passes.search.allocate import (
    AllocationProblem,
    InfeasibleError,
    allocate_exhaustive,
    allocate_greedy,
    allocate_milp,
    allocate_uniform,
    budget_line,
    hull_line,
    solve_milp,
    sweep,
)
from mxhw.passes.search.allocate.branch import linear_bound
from tests.passes.search.allocate.drawn import drawn_model, drawn_small


def linear_optimum(problem: AllocationProblem, resource: str, budget: float) -> float:
    """Return the optimum of the linear relaxation, written down directly."""
    unit, candidate = np.nonzero(problem.allowed)
    one = (unit == np.arange(len(problem.counts))[:, None]).astype(float)
    costs = problem.cost_tables[resource][unit, candidate]
    found = linprog(
        problem.loss_table[unit, candidate], [costs], [budget], one, np.ones(len(one)), bounds=(0, 1), method="highs"
    )
    return math.inf if found.status == 2 else float(found.fun)


def one_resource(seed: int) -> AllocationProblem | None:
    problem = replace(drawn_small(seed), budgets={}, fixed={})
    return problem if problem.costs and problem.allowed.any(axis=1).all() else None


def test_sweep_is_the_linear_relaxation_at_every_budget() -> None:
    draw = np.random.default_rng(0)
    compared = 0
    for seed in range(80):
        if (problem := one_resource(seed)) is None:
            continue
        found = sweep(problem.loss_table, problem.cost_tables["r0"])
        assert (np.diff(found.slope) <= 0).all()
        for budget in draw.uniform(0.8 * found.cost[0], 1.1 * found.cost[-1], 3).tolist():
            compared += 1
            assert found.bound(budget) == pytest.approx(linear_optimum(problem, "r0", budget), rel=1e-7, abs=1e-7)
    assert compared > 100


def test_every_vertex_is_an_optimum_and_nothing_beats_the_bound_between() -> None:
    """Equal to trying everything, and to the MILP, for the budget that the vertex takes."""
    vertices = between = 0
    for seed in range(60):
        if (problem := one_resource(seed)) is None:
            continue
        found = sweep(problem.loss_table, problem.cost_tables["r0"])
        for upgrades in range(len(found.unit) + 1):
            choice = tuple(found.choice(upgrades).tolist())
            assert problem.loss(choice) == pytest.approx(found.loss[upgrades], abs=1e-9)
            limited = replace(problem, budgets={"r0": problem.spend("r0", choice)})
            best = limited.loss(allocate_exhaustive(limited))
            assert problem.loss(choice) == pytest.approx(best, abs=1e-9)
            assert solve_milp(limited, gap=0).loss == pytest.approx(best, abs=1e-9)
            vertices += 1
            if upgrades < len(found.unit):
                middle = (found.cost[upgrades] + found.cost[upgrades + 1]) / 2
                exact = solve_milp(replace(problem, budgets={"r0": middle}), gap=0).loss
                assert exact >= found.bound(middle) - 1e-9
                between += exact > found.bound(middle) + 1e-6
        assert found.loss[-1] == pytest.approx(problem.loss_table.min(axis=1).sum(), abs=1e-9)
    assert vertices > 150
    assert between > 20  # the bound is not the optimum everywhere, so the inequality says something


@pytest.mark.parametrize("resources", [1, 2, 3])
def test_greedy_on_convex_tables_is_within_half_a_per_cent_of_the_bound(resources: int) -> None:
    for seed in range(2):
        problem = drawn_model(150, 4, resources, seed, noise=0.0)
        bound, loss = linear_bound(problem), problem.loss(allocate_greedy(problem))
        assert bound <= loss <= 1.005 * bound
        assert bound <= solve_milp(problem).loss <= loss * (1 + 1e-4)
        assert problem.loss(allocate_uniform(problem)) > 1.1 * loss  # a table on which choosing matters


def test_greedy_with_one_budget_misses_at_most_one_upgrade() -> None:
    """Before filling it is the last vertex within the budget, so at most the next upgrade's gain above the bound."""
    for seed in range(40):
        problem = drawn_model(20, 4, 1, seed, room=0.1 + 0.02 * seed)
        found = sweep(problem.loss_table, problem.cost_tables["bits"])
        done = found.last_within(problem.budgets["bits"])
        next_gain = found.loss[done] - found.loss[done + 1]
        assert problem.loss(allocate_greedy(problem)) <= found.bound(problem.budgets["bits"]) + next_gain


def assert_is_line(problem: AllocationProblem, resource: str, line: list[tuple[int, ...]]) -> None:
    """Assert rising cost, falling loss, all budgets kept, and the ends: the cheapest and the best."""
    spends, losses = ([f(c) for c in line] for f in (lambda c: problem.spend(resource, c), problem.loss))
    assert all(problem.fits(choice) for choice in line)
    assert spends == sorted(set(spends))
    assert losses == sorted(set(losses), reverse=True)
    costs = [list(row[:n]) for row, n in zip(problem.cost_tables[resource], problem.counts, strict=True)]
    cheapest = problem.spend(resource, allocate_exhaustive(replace(problem, losses=costs)))
    best = problem.loss(allocate_exhaustive(problem))
    assert spends[0] == pytest.approx(cheapest, rel=1e-4, abs=1e-9)
    assert losses[-1] == pytest.approx(best, rel=1e-4, abs=1e-9)


def test_the_budget_line_goes_from_the_cheapest_to_the_best() -> None:
    lines = longer = 0
    for seed in range(60):
        problem = drawn_small(seed)
        if not problem.costs:
            continue
        try:
            line = budget_line(problem, "r0", 4)
        except InfeasibleError:
            with pytest.raises(InfeasibleError):
                allocate_exhaustive(problem)
            continue
        assert_is_line(problem, "r0", line)
        lines += 1
        longer += len(line) > 2
        for choice in line[1:]:  # each is the optimum for some budget, so no assignment of its cost is better
            own = replace(problem, budgets={**problem.budgets, "r0": problem.spend("r0", choice)})
            assert problem.loss(choice) == pytest.approx(problem.loss(allocate_exhaustive(own)), rel=1e-4, abs=1e-9)
    assert lines > 20
    assert longer > 10


def test_the_hull_s_line_is_the_sweep_within_the_budget() -> None:
    for seed in range(60):
        drawn = drawn_small(seed)
        if "r0" not in drawn.budgets:
            continue
        problem = replace(drawn, budgets={"r0": drawn.budgets["r0"]})
        try:
            line = hull_line(problem, "r0")
        except InfeasibleError:
            with pytest.raises(InfeasibleError):
                allocate_exhaustive(problem)
            continue
        assert all(problem.fits(choice) for choice in line)
        assert set(hull_line(problem, "r0", 3)) <= set(line)
        assert {hull_line(problem, "r0", 3)[0], hull_line(problem, "r0", 3)[-1]} == {line[0], line[-1]}
        for choice in line:
            own = replace(problem, budgets={"r0": problem.spend("r0", choice)})
            assert problem.loss(choice) == pytest.approx(problem.loss(allocate_exhaustive(own)), abs=1e-9)


def test_lines_of_greedy_and_milp_lie_between_hull_and_uniform() -> None:
    problem = replace(drawn_model(150, 4, 1, 3), budgets={})
    found = sweep(problem.loss_table, problem.cost_tables["bits"])
    for solve in (allocate_greedy, allocate_milp):
        line = budget_line(problem, "bits", 8, solve)
        assert len(line) == 8
        rounding = 1e-12 * found.loss[0]
        assert all(problem.loss(choice) >= found.bound(problem.spend("bits", choice)) - rounding for choice in line)
    for choice in budget_line(problem, "bits", 8):
        assert problem.loss(choice) <= 1.01 * found.bound(problem.spend("bits", choice))
