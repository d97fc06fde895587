"""Strategies: which designs a study starts with, and who proposes the others.

uniform   the designs with one format an operand, then random ones: the baseline
greedy    allocations by sensitivity, widened where the loss falls most per cost, as many as there are trials
milp      allocations by sensitivity, optimal, along the budget, as many as there are trials
random, qmc, tpe, nsga2
          Optuna's samplers, after the uniform designs
hybrid    uniform designs and optimal allocations first; then in turn allocations again, corrected by what the trials
          showed, and TPE, which sees what sums of losses do not (interactions, rows, shares, widths)
"""

from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from optuna.samplers import BaseSampler

from mxhw.errors import InputError, nearest
from mxhw.passes.search.guided import GuidedSampler
from mxhw.passes.search.knowledge import Knowledge
from mxhw.passes.search.objective import Problem
from mxhw.passes.search.proposals import greedy_designs, milp_designs, uniform_designs, unique
from mxhw.passes.search.samplers import OptunaSampler, make_sampler, seed_of
from mxhw.passes.search.space import SearchSpace

__all__ = ["STRATEGIES", "Strategy", "StrategyName", "check_strategy", "needs_knowledge"]

StrategyName = Literal["hybrid", "tpe", "nsga2", "qmc", "random", "greedy", "milp", "uniform"]
STRATEGIES: tuple[StrategyName, ...] = get_args(StrategyName)
_INFORMED = ("hybrid", "greedy", "milp")
_HYBRID_LINE = 0.3  # share of the trials, at most, that are allocations made before the first one
_LEAST_LINE = 4


def check_strategy(name: str) -> None:
    """Raise an InputError for an unknown name."""
    if name not in STRATEGIES:
        raise InputError(f"strategy must be one of {', '.join(STRATEGIES)}, not {name!r}{nearest(name, STRATEGIES)}")


def needs_knowledge(name: str) -> bool:
    """Return whether a strategy needs sensitivities."""
    return name in _INFORMED


@dataclass(frozen=True)
class Strategy:
    """One of :data:`STRATEGIES`, for a problem.

    Attributes
    ----------
    knowledge : Knowledge
        Empty for strategies that need none.
    plain : bool
        Optuna's samplers start from nothing, not from the uniform designs: what a comparison of solvers needs.
    """

    name: StrategyName
    seed: int
    problem: Problem
    space: SearchSpace
    knowledge: Knowledge
    plain: bool = False

    def designs(self, trials: int) -> list[dict[str, Any]]:
        """Return parameters of the designs to try first; of allocations as many as trials allow."""
        if self.name in ("greedy", "milp"):
            line = greedy_designs if self.name == "greedy" else milp_designs
            found = line(self.problem, self.space, self.knowledge, trials)
        elif self.name == "hybrid":
            points = max(_LEAST_LINE, round(_HYBRID_LINE * trials))
            known = milp_designs(self.problem, self.space, self.knowledge, points)
            found = unique([*known[:2], *uniform_designs(self.space), *known[2:]])
        elif self.plain and self.name != "uniform":
            found = []
        else:
            found = uniform_designs(self.space)
        return found

    def sampler(self, index: int) -> BaseSampler:
        """Return who proposes trial `index`, if no design was made for it."""
        if self.name == "hybrid" and index % 2:
            return GuidedSampler(self.problem, self.space, self.knowledge, seed_of(self.seed, index))
        fallback = {"hybrid": "tpe", "greedy": "random", "milp": "random", "uniform": "random"}
        return make_sampler(cast(OptunaSampler, fallback.get(self.name, self.name)), self.seed, index)

    def source(self, index: int, designs: int) -> str:
        """Return what a trial's design comes from, for reports."""
        if index < designs:
            return {"greedy": "greedy", "milp": "milp", "hybrid": "first designs"}.get(self.name, "uniform")
        return type(self.sampler(index)).__name__.removesuffix("Sampler").lower()
