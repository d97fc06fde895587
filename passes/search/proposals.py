"""Designs worth a trial, from what is known before it: uniform ones, and allocations along the budget.

DOSA (MICRO 2023) reports that plain Bayesian optimization is an order of magnitude worse than a search that knows good
analytic points; frameworks of mixed precision solve a knapsack instead (LLM-MQ, MxMoE). So a search starts from the
solutions of the knapsack, each with the rows and the share of the budget that its plan is best with.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from mxhw.errors import InputError
from mxhw.passes.search.allocate import AllocationProblem, allocate_greedy, allocate_milp, budget_line
from mxhw.passes.search.knowledge import FamilyKnowledge, Knowledge, as_cost, best_plan
from mxhw.passes.search.objective import Problem
from mxhw.passes.search.space import SearchSpace

__all__ = ["Solver", "bounds_of", "greedy_designs", "milp_designs", "uniform_designs", "unique"]

Solver = Callable[[AllocationProblem], tuple[int, ...]]
_OPERANDS = ("weight", "input", "attention", "scores", "values", "cache")


def uniform_designs(space: SearchSpace) -> list[dict[str, Any]]:
    """Return parameters of the designs with one format for each operand.

    Every family's first formats with every choice of rows come first; then every other format, alone, at the middle of
    the rows.
    """
    config = space.config
    middle = config.rows[len(config.rows) // 2]
    designs = [space.parameters(family, rows) for rows in config.rows for family in config.families]
    for family in config.families:
        for operand in _OPERANDS:
            names = dict.fromkeys(
                n for u in space.units(family) if u.name.endswith(f":{operand}") for n in u.candidates[1:]
            )
            designs += [space.parameters(family, middle, space.uniform(family, operand, name)) for name in names]
    return unique(designs)


def milp_designs(problem: Problem, space: SearchSpace, knowledge: Knowledge, points: int) -> list[dict[str, Any]]:
    """Return parameters of designs whose formats are optimal by sensitivity along the budget, the ends first.

    ``points``: how many, in all of the families and costs, at most.
    """
    return _line_designs(problem, space, knowledge, points, allocate_milp)


def greedy_designs(problem: Problem, space: SearchSpace, knowledge: Knowledge, points: int) -> list[dict[str, Any]]:
    """Return the same of the greedy allocation: widen where the loss falls most per cost."""
    return _line_designs(problem, space, knowledge, points, allocate_greedy)


def bounds_of(problem: Problem, known: FamilyKnowledge) -> dict[str, float]:
    """Return the bounds of figures that an allocation keeps to: constraints whose costs are known."""
    return {name: as_cost(name, limit) for name, limit in problem.constraints.items() if name in known.costs}


def _line_designs(
    problem: Problem, space: SearchSpace, knowledge: Knowledge, points: int, solve: Solver
) -> list[dict[str, Any]]:
    lines = list(_lines(problem, knowledge))
    if not lines:
        return []
    each = max(2, -(-points // len(lines)))
    found: list[list[dict[str, Any]]] = []
    for known, resource in lines:
        designs = []
        for numbers in _spread(_solutions(known, problem, resource, each, solve)):
            plan = best_plan(problem, space, known.family, known.choice(numbers))
            if plan is not None:
                design = plan[0]
                choice = known.choice(numbers)
                designs.append(space.parameters(known.family, design.rows, choice, design.share, design.folded))
        found.append(designs)
    in_turn = [d for rank in range(max(map(len, found))) for designs in found for d in designs[rank : rank + 1]]
    return unique(in_turn)[:points]


def _lines(problem: Problem, knowledge: Knowledge) -> Iterator[tuple[FamilyKnowledge, str]]:
    """Yield each family with each of the costs that are objectives; true bits if there is none."""
    for known in knowledge.families.values():
        costs = [name for name in problem.objectives if name in known.costs] or list(known.costs)[:1]
        for name in costs if known.units else ():
            yield known, name


def _solutions(
    known: FamilyKnowledge, problem: Problem, resource: str, points: int, solve: Solver
) -> list[tuple[int, ...]]:
    allocation = known.problem(known.losses, bounds_of(problem, known))
    try:
        return budget_line(allocation, resource, points, solve)
    except InputError:
        return []


def _spread(items: Sequence[Any]) -> list[Any]:
    """Return items so that any first few of them are spread over all: both ends, then middles of the largest gaps."""
    if len(items) < 3:
        return list(items)
    order, seen = [0, len(items) - 1], {0, len(items) - 1}
    while len(order) < len(items):
        taken = sorted(seen)
        gap, low = max((b - a, -a) for a, b in pairwise(taken))
        order.append(-low + gap // 2)
        seen.add(order[-1])
    return [items[i] for i in order]


def unique(designs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return designs without repetitions."""
    return list({tuple(sorted(design.items())): design for design in designs}.values())
