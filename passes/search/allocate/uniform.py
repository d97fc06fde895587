"""The uniform baseline: the same candidate for all units."""

from mxhw.errors import InputError
from mxhw.passes.search.allocate.problem import AllocationProblem, InfeasibleError

__all__ = ["allocate_uniform"]


def allocate_uniform(problem: AllocationProblem) -> tuple[int, ...]:
    """Return the same index for all units: the feasible one of least loss, of equal ones the lowest.

    Raises
    ------
    InfeasibleError
        If none is feasible; it names the resource that is furthest over its budget in the assignment that is nearest.
    InputError
        If units have different numbers of candidates.
    """
    if len(set(problem.counts)) > 1:
        raise InputError(
            f"uniform: units have from {min(problem.counts)} to {max(problem.counts)} candidates; "
            "a uniform assignment needs the same candidates for all"
        )
    choices = [(candidate,) * len(problem.counts) for candidate in range(problem.counts[0])]
    feasible = [choice for choice in choices if problem.fits(choice)]
    if feasible:
        return min(feasible, key=problem.loss)
    allowed = [choice for choice in choices if problem.allowed[:, choice[0]].all()]
    if not allowed:
        raise InfeasibleError("no candidate is allowed for all units, so that no assignment is uniform")

    def furthest(choice: tuple[int, ...]) -> tuple[float, str]:
        over = {r: problem.spend(r, choice) - problem.budgets[r] for r in problem.limits}
        worst = max(over, key=lambda r: over[r] / (problem.budgets[r] or 1.0))
        return over[worst] / (problem.budgets[worst] or 1.0), worst

    best = min(allowed, key=lambda choice: furthest(choice)[0])
    resource = furthest(best)[1]
    least, budget = problem.spend(resource, best), problem.budgets[resource]
    raise InfeasibleError(
        f"no uniform assignment fits the budgets; the nearest one (candidate {best[0]} for all units) "
        f"takes {least:.6g} of {resource}, and the budget is {budget:.6g}",
        resource=resource,
        least=least,
        budget=budget,
    )
