"""The oracle: all assignments, one after another."""

import itertools
import math

from mxhw.errors import InputError
from mxhw.passes.search.allocate.infeasible import infeasible
from mxhw.passes.search.allocate.problem import AllocationProblem

__all__ = ["MOST_ASSIGNMENTS", "allocate_exhaustive"]

MOST_ASSIGNMENTS = 1_000_000


def allocate_exhaustive(problem: AllocationProblem) -> tuple[int, ...]:
    """Return the feasible assignment of least loss; of equal ones the first in lexicographic order.

    Raises
    ------
    InfeasibleError
        If no assignment fits the budgets.
    InputError
        If there are more than `MOST_ASSIGNMENTS`.
    """
    count = math.prod(problem.counts)
    if count > MOST_ASSIGNMENTS:
        raise InputError(f"{count:.3g} assignments are too many to try; allowed are {MOST_ASSIGNMENTS}: use the MILP")
    choices = itertools.product(*(range(candidates) for candidates in problem.counts))
    best = min((choice for choice in choices if problem.fits(choice)), key=problem.loss, default=None)
    if best is None:
        raise infeasible(problem)
    return best
