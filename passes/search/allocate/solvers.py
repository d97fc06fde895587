"""Greedy and exact allocation; the exact one proves how far from the optimum it can be."""

import warnings

from mxhw.errors import InputError, MxhwWarning
from mxhw.passes.search.allocate.branch import Allocation, branch
from mxhw.passes.search.allocate.heuristic import greedy
from mxhw.passes.search.allocate.infeasible import infeasible
from mxhw.passes.search.allocate.problem import AllocationProblem
from mxhw.passes.search.allocate.reduce import check_alone, competitive

__all__ = ["allocate_greedy", "allocate_milp", "solve_milp"]


def allocate_greedy(problem: AllocationProblem) -> tuple[int, ...]:
    """Return the assignment after the upgrades of the most gain per cost, and whatever else then fits.

    Of upgrades of equal gain per cost the first unit's comes first. With several budgets, costs are shares of what is
    free of each budget; if no round of weights comes upon a feasible assignment, the first one that the MILP finds is
    taken.

    Raises
    ------
    InfeasibleError
        If no assignment fits the budgets.
    UndecidedError
        Never, unless HiGHS gives up.
    """
    check_alone(problem)
    keep = competitive(problem)
    if keep.any(axis=1).all() and (found := greedy(problem, keep)):
        return found
    first = branch(problem, 1.0)
    if first is None:
        raise infeasible(problem)
    return first.choice


def solve_milp(problem: AllocationProblem, *, gap: float = 1e-4, seconds: float | None = None) -> Allocation:
    """Return an assignment whose loss is within `gap` (a share of it) of the optimum, with its bound.

    `gap` 0 asks for an optimum, to nine digits. After `seconds` the best assignment so far is returned, with
    `finished` False; a run that time ends need not give the same answer again.

    Raises
    ------
    InfeasibleError
        If no assignment fits the budgets.
    UndecidedError
        If time is up before one was found.
    """
    if not gap >= 0:
        raise InputError(f"gap must be a number from 0, not {gap!r}")
    if seconds is not None and not seconds > 0:
        raise InputError(f"seconds must be a positive number or None, not {seconds!r}")
    check_alone(problem)
    found = branch(problem, gap, seconds)
    if found is None:
        raise infeasible(problem)
    return found


def allocate_milp(problem: AllocationProblem, *, gap: float = 1e-4, seconds: float | None = None) -> tuple[int, ...]:
    """Return :func:`solve_milp`'s assignment; a warning says what gap is left if time was up."""
    found = solve_milp(problem, gap=gap, seconds=seconds)
    if not found.finished:
        warnings.warn(
            f"allocation: after {seconds} s the loss is within {100 * found.gap:.3g} % of the optimum, "
            f"not within {100 * gap:.3g} %",
            MxhwWarning,
            stacklevel=2,
        )
    return found.choice
