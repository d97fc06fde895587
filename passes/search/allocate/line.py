"""Assignments along the budget line: from the cheapest to the best, each with less loss than all cheaper ones."""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from mxhw.errors import InputError, nearest
from mxhw.passes.search.allocate.hull import sweep
from mxhw.passes.search.allocate.problem import AllocationProblem
from mxhw.passes.search.allocate.reduce import check_alone
from mxhw.passes.search.allocate.solvers import allocate_milp

__all__ = ["budget_line", "hull_line"]

Solver: TypeAlias = Callable[[AllocationProblem], tuple[int, ...]]


def budget_line(
    problem: AllocationProblem, resource: str, points: int, solve: Solver = allocate_milp
) -> list[tuple[int, ...]]:
    """Return what a solver finds for evenly spaced budgets of one resource, by rising cost and falling loss.

    The line starts with the cheapest assignment that the solver finds and ends with the one of least loss; all other
    budgets of the problem are kept. If the resource has a budget itself, the line ends there. Assignments that a
    cheaper one is as good as are left out, so there may be fewer than `points`.

    Raises
    ------
    InfeasibleError
        If no assignment fits the budgets.
    InputError
        If the resource is unknown, or `points` is below 2.
    """
    _check(problem, resource)
    if points < 2:
        raise InputError(f"points of a budget line must be at least 2, not {points!r}")
    best = solve(problem)
    table = problem.cost_tables[resource]
    costs = [row[:count].tolist() for row, count in zip(table, problem.counts, strict=True)]
    least, most = problem.spend(resource, solve(replace(problem, losses=costs))), problem.spend(resource, best)
    budgets = np.linspace(min(least, most), most, points)[:-1].tolist()
    found = [solve(replace(problem, budgets={**problem.budgets, resource: budget})) for budget in budgets]
    return _falling(problem, resource, [*found, best])


def hull_line(problem: AllocationProblem, resource: str, points: int | None = None) -> list[tuple[int, ...]]:
    """Return the assignments at the vertices of the convex hull of loss and one cost, by rising cost, in one sweep.

    Each is the optimum for a budget of what it costs. With `points`, the vertices below as many evenly spaced budgets
    are returned, the first and the last among them.

    Raises
    ------
    InfeasibleError
        If not even the cheapest assignment fits the resource's budget.
    InputError
        If the resource is unknown, another resource has a budget, or `points` is below 2.
    """
    _check(problem, resource)
    if others := [other for other in problem.limits if other != resource]:
        raise InputError(f"the hull's line is of one resource; remove the budget of {others[0]!r}, or use budget_line")
    if points is not None and points < 2:
        raise InputError(f"points of a budget line must be at least 2, not {points!r}")
    check_alone(problem)
    vertices = sweep(problem.loss_table, problem.cost_tables[resource])
    budget, fixed = problem.budgets.get(resource, math.inf), problem.fixed.get(resource, 0.0)
    last = len(vertices.unit)
    while last and problem.spend(resource, vertices.choice(last)) > budget:
        last = min(last - 1, max(0, vertices.last_within(budget - fixed)))
    steps: Iterable[int] = range(last + 1)
    if points is not None:
        budgets = np.linspace(vertices.cost[0], vertices.cost[last], points)
        steps = sorted({0, last, *(min(last, max(0, vertices.last_within(b))) for b in budgets.tolist())})
    choices = [tuple(int(candidate) for candidate in vertices.choice(step)) for step in steps]
    return _falling(problem, resource, choices)


def _check(problem: AllocationProblem, resource: str) -> None:
    if resource not in problem.costs:
        known = ", ".join(map(repr, problem.costs)) or "none"
        raise InputError(f"budget line: no costs of {resource!r}; there are {known}{nearest(resource, problem.costs)}")


def _falling(problem: AllocationProblem, resource: str, choices: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Return the assignments that no other one is cheaper and as good as, by rising cost."""
    order = sorted(set(choices), key=lambda c: (problem.spend(resource, c), problem.loss(c), c))
    line: list[tuple[int, ...]] = []
    for choice in order:
        if not line or problem.loss(choice) < problem.loss(line[-1]):
            line.append(choice)
    return line
