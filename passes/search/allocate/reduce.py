"""What can be said before any search: budgets that cannot be met alone, and candidates that no optimum needs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mxhw.passes.search.allocate.problem import AllocationProblem, Floats, InfeasibleError

__all__ = ["Row", "check_alone", "competitive", "lagrangian", "rows", "violation_scale"]

# Share of a bound that sums of up to millions of rounded terms can be wrong by.
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Row:
    """A budget, less what any assignment takes.

    Attributes
    ----------
    more : [units, candidates]
        Cost above the unit's cheapest candidate; 0 where a candidate is left out.
    room : float
        What all units together may take above their cheapest candidates. It is the budget of sums that are rounded, so
        one unit in the last place more than the exact difference.
    """

    more: Floats
    room: float


def check_alone(problem: AllocationProblem) -> None:
    """Raise an InfeasibleError if a unit has no allowed candidate, or if a resource cannot keep its budget alone."""
    for unit in np.flatnonzero(~problem.allowed.any(axis=1)).tolist():
        infinite = [r for r, rows in problem.costs.items() if np.isinf(np.asarray(rows[unit], dtype=float)).all()]
        if infinite:
            raise InfeasibleError(
                f"{problem.name(unit)}: all {problem.counts[unit]} candidates have an infinite cost of {infinite[0]}",
                resource=infinite[0],
                least=math.inf,
                budget=problem.budgets.get(infinite[0], math.inf),
                conflict=(infinite[0],),
            )
        raise InfeasibleError(
            f"{problem.name(unit)}: none of its {problem.counts[unit]} candidates is allowed; "
            "each has an infinite loss or cost"
        )
    over = {r: problem.least(r) for r in problem.limits if problem.least(r) > problem.budgets[r]}
    if not over:
        return
    parts = [_too_much(resource, least, problem.budgets[resource]) for resource, least in over.items()]
    worst = max(over, key=lambda r: over[r] / problem.budgets[r] if problem.budgets[r] else math.inf)
    raise InfeasibleError(
        "; ".join(parts),
        resource=worst,
        least=over[worst],
        budget=problem.budgets[worst],
        conflict=(worst,),
        violation=math.fsum((over[r] - problem.budgets[r]) / violation_scale(problem, r) for r in over),
    )


def _too_much(resource: str, least: float, budget: float) -> str:
    times = f"{least / budget:.4g} times it" if budget else "it is zero"
    return f"{resource} of at least {least:.6g} does not fit the budget of {budget:.6g} ({times})"


def violation_scale(problem: AllocationProblem, resource: str) -> float:
    """Return what an excess is a share of: the budget, or the dearest assignment's cost if the budget is zero."""
    table = problem.cost_tables[resource]
    dearest = float(np.where(np.isfinite(table), table, 0.0).max(axis=1).sum()) + problem.fixed.get(resource, 0.0)
    return problem.budgets[resource] or dearest or 1.0


def competitive(problem: AllocationProblem) -> NDArray[np.bool_]:
    """Return which candidates some optimum may need, `[units, candidates]`.

    A candidate is not needed if another one of the unit has no more loss and no more of any cost that has a budget (of
    equal ones the first stays), or if it does not fit though all other units take their cheapest.
    """
    tables = [problem.loss_table, *(problem.cost_tables[resource] for resource in problem.limits)]
    keep = problem.allowed.copy()
    count = keep.shape[1]
    for candidate in range(count):
        for other in range(count):
            if other == candidate:
                continue
            no_worse = np.logical_and.reduce([table[:, other] <= table[:, candidate] for table in tables])
            if other > candidate:  # of equal ones the first stays
                no_worse &= np.logical_or.reduce([table[:, other] < table[:, candidate] for table in tables])
            keep[:, candidate] &= ~(no_worse & problem.allowed[:, other])
    for row in rows(problem, keep).values():
        keep &= row.more <= row.room * (1 + _ROUNDING)
    return keep


def rows(problem: AllocationProblem, keep: NDArray[np.bool_]) -> Mapping[str, Row]:
    """Return the budgets' rows over the candidates that are kept."""
    found = {}
    for resource in problem.limits:
        table, budget = problem.cost_tables[resource], problem.budgets[resource]
        cheapest = np.where(keep, table, math.inf).min(axis=1)
        taken = [budget, -problem.fixed.get(resource, 0.0), *(-cheapest).tolist()]
        room = max(0.0, math.fsum(taken) + math.ulp(budget))
        found[resource] = Row(np.where(keep, table - cheapest[:, None], 0.0), room)
    return found


def lagrangian(
    problem: AllocationProblem, keep: NDArray[np.bool_], multipliers: Mapping[str, float]
) -> tuple[float, Floats, float]:
    """Return a lower bound on the loss of every feasible assignment, and what each candidate adds to it.

    For any multipliers from 0, the sum over units of the least of loss + multipliers · costs, less multipliers ·
    budgets, is such a bound, whatever solver the multipliers are from. Candidates that are not kept do not count.

    Returns
    -------
    bound : float
        Less what rounding may add to it.
    regret : [units, candidates]
        What the bound rises by at least if the candidate is taken; infinite where it is not kept.
    margin : float
        What rounding may change of either.
    """
    priced = np.where(keep, problem.loss_table, math.inf)
    given = 0.0
    for resource, row in rows(problem, keep).items():
        priced = priced + multipliers[resource] * row.more
        given += multipliers[resource] * row.room
    least = priced.min(axis=1)
    margin = _ROUNDING * (math.fsum(np.abs(least).tolist()) + given)
    return math.fsum([*least.tolist(), -given]) - margin, priced - least[:, None], margin
