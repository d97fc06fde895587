"""Why no assignment fits: which budgets cannot be met together, and by how much."""

import math
from dataclasses import replace

import numpy as np

from mxhw.passes.search.allocate.branch import branch
from mxhw.passes.search.allocate.highs import clean_stdout
from mxhw.passes.search.allocate.problem import AllocationProblem, InfeasibleError, UndecidedError
from mxhw.passes.search.allocate.reduce import check_alone, violation_scale

__all__ = ["infeasible"]

_GAP = 1e-4
_SECONDS = 10.0  # for each question; a bound answers what time does not
_MOST_VARIABLES = 2000
_SCALE = 1e3  # tolerances of HiGHS are absolute


def infeasible(problem: AllocationProblem) -> InfeasibleError:
    """Return the error that says why a problem without a feasible assignment has none.

    A resource that cannot keep its budget alone is named with the least that it can take. Else budgets are left out,
    one after another, as long as the others are still impossible together; of the rest each one is named with the least
    that it can take while the others are kept.
    """
    try:
        check_alone(problem)
    except InfeasibleError as error:
        return error
    conflict = list(problem.limits)
    for resource in problem.limits:
        others = [r for r in conflict if r != resource]
        if others and _impossible(problem, others):
            conflict = others
    least = {r: _least(problem, r, [other for other in conflict if other != r]) for r in conflict}
    violation = _violation(problem, conflict)
    nearest = min(conflict, key=lambda r: least[r] / problem.budgets[r] if problem.budgets[r] else math.inf)
    budgets = " and ".join(f"{r} <= {problem.budgets[r]:.6g}" for r in conflict)
    parts = []
    for resource in conflict:
        kept = " and ".join(r for r in conflict if r != resource)
        times = (
            f" ({least[resource] / problem.budgets[resource]:.4g} times its budget)"
            if problem.budgets[resource]
            else ""
        )
        parts.append(f"with {kept} kept, {resource} is at least {least[resource]:.6g}{times}")
    return InfeasibleError(
        f"{budgets} cannot be met together: {'; '.join(parts)}; what exceeds the budgets adds up to at least "
        f"{100 * violation:.3g} % of them",
        resource=nearest,
        least=least[nearest],
        budget=problem.budgets[nearest],
        conflict=tuple(conflict),
        violation=violation,
    )


def _only(problem: AllocationProblem, resources: list[str]) -> AllocationProblem:
    return replace(problem, budgets={r: problem.budgets[r] for r in resources})


def _impossible(problem: AllocationProblem, resources: list[str]) -> bool:
    """Return whether budgets are proven impossible together."""
    try:
        return branch(_only(problem, resources), 1.0, _SECONDS) is None
    except UndecidedError:
        return False


def _least(problem: AllocationProblem, resource: str, others: list[str]) -> float:
    """Return a proven lower bound, to `_GAP` or exact, of what a resource takes while others keep their budgets."""
    table = problem.cost_tables[resource]
    costs = [row[:count].tolist() for row, count in zip(table, problem.counts, strict=True)]
    try:
        found = branch(replace(_only(problem, others), losses=costs), _GAP, _SECONDS)
    except UndecidedError:
        found = None
    if found is None:
        return problem.least(resource)
    return found.bound + problem.fixed.get(resource, 0.0)


def _violation(problem: AllocationProblem, conflict: list[str]) -> float:
    """Return a lower bound of the least sum of relative excesses: one slack variable for each budget.

    With up to `_MOST_VARIABLES` candidates it is the MILP's, to `_GAP`; with more the linear relaxation's.
    """
    from scipy import sparse
    from scipy.optimize import Bounds, LinearConstraint, milp

    unit, candidate = np.nonzero(problem.allowed)
    size, slacks = len(unit), len(conflict)
    one = sparse.csr_array((np.ones(size), (unit, np.arange(size))), shape=(len(problem.counts), size + slacks))
    scales = {r: violation_scale(problem, r) / _SCALE for r in conflict}
    costs = np.stack([problem.cost_tables[r][unit, candidate] / scales[r] for r in conflict])
    left = [(problem.budgets[r] - problem.fixed.get(r, 0.0)) / scales[r] for r in conflict]
    best = 0.0
    for integral in (False, True) if size <= _MOST_VARIABLES else (False,):
        with clean_stdout():
            found = milp(
                np.concatenate([np.zeros(size), np.ones(slacks)]),
                integrality=np.concatenate([np.full(size, float(integral)), np.zeros(slacks)]),
                bounds=Bounds(0, np.concatenate([np.ones(size), np.full(slacks, np.inf)])),
                constraints=[
                    LinearConstraint(one, 1, 1),
                    LinearConstraint(np.hstack([costs, -np.eye(slacks)]), -np.inf, np.array(left)),
                ],
                options={"mip_rel_gap": _GAP, "time_limit": _SECONDS, "disp": False},
            )
        bound = found.mip_dual_bound if integral else found.fun
        if bound is not None and math.isfinite(bound):
            best = max(best, float(bound) / _SCALE)
    return best
