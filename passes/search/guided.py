"""A sampler that allocates again with what trials have shown: sensitivities corrected by a regression, budgets in gaps.

The loss of a design is not the sum of its units' losses; how far it is off, finished trials show. A proposal takes

1. losses of units that fit the finished trials: ridge regression of their KL on their choices, drawn towards the table
   of sensitivities (relative errors count, so that good designs do not vanish beside bad ones);
2. a family, and a budget of one of the costs in the largest gap of the front;
3. the allocation at that budget, losses perturbed so that no two proposals are alike, and of a few such the one whose
   plan promises the most hypervolume.

It depends on nothing but the study's finished trials and its seed.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial

from mxhw.errors import InputError
from mxhw.passes.search.allocate import allocate_greedy
from mxhw.passes.search.front import hypervolume
from mxhw.passes.search.knowledge import FamilyKnowledge, Knowledge, best_plan
from mxhw.passes.search.objective import Problem
from mxhw.passes.search.proposals import bounds_of
from mxhw.passes.search.record import TrialRecord, read_records
from mxhw.passes.search.space import SearchSpace

__all__ = ["GuidedSampler", "fitted_losses"]

_Array = NDArray[np.float64]
_PRIOR = 0.3  # weight of the table against a finished trial's relative error
_NOISE = 0.25  # of logarithms of losses
_DRAWS = 8


class GuidedSampler(BaseSampler):  # type: ignore[misc]
    """Proposes one design; parameters that it does not give are drawn at random."""

    def __init__(self, problem: Problem, space: SearchSpace, knowledge: Knowledge, seed: int) -> None:
        self._problem, self._space, self._knowledge = problem, space, knowledge
        self._rng = np.random.default_rng(seed)
        self._random = RandomSampler(seed=seed)
        self._proposal: Mapping[str, Any] = {}

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return nothing: parameters are asked for one by one."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Make the proposal."""
        self._proposal = self._propose(read_records(study))
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return the proposal's value."""
        if param_name in self._proposal:
            return self._proposal[param_name]
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _propose(self, records: Sequence[TrialRecord]) -> Mapping[str, Any]:
        tried = {tuple(sorted(record.parameters.items())) for record in records}
        done = [record for record in records if record.state == "complete"]
        known = [each for each in self._knowledge.families.values() if each.units]
        fits = [(each, *fitted_losses(each, done)) for each in known]
        best: tuple[float, Mapping[str, Any]] | None = None
        for each, table, always in fits * _DRAWS:
            drawn = self._draw(each, table, always, done)
            if drawn is not None and tuple(sorted(drawn[1].items())) not in tried and (not best or drawn[0] > best[0]):
                best = drawn
        return {} if best is None else best[1]

    def _draw(
        self, known: FamilyKnowledge, table: Sequence[_Array], always: float, done: Sequence[TrialRecord]
    ) -> tuple[float, Mapping[str, Any]] | None:
        """Return the promised gain of a design, and its parameters."""
        problem, rng = self._problem, self._rng
        resource = str(rng.choice([n for n in problem.objectives if n in known.costs] or list(known.costs)))
        rows = [[c for c in row if np.isfinite(c)] for row in known.costs[resource]]
        low, high = sum(map(min, rows)), sum(map(max, rows))
        bounds = bounds_of(problem, known)
        bounds[resource] = min(known.base[resource] + low + (high - low) * rng.random(), bounds.get(resource, np.inf))
        noisy = [row * np.exp(_NOISE * rng.standard_normal(row.shape)) for row in table]
        try:
            numbers = allocate_greedy(known.problem([tuple(row.tolist()) for row in noisy], bounds))
        except InputError:
            return None
        choice = known.choice(numbers)
        plan = best_plan(problem, self._space, known.family, choice)
        if plan is None or problem.broken(plan[1].figures):
            return None
        design, planned = plan
        kl = always + float(sum(row[n] for row, n in zip(table, numbers, strict=True)))
        values = tuple(
            planned.figures[name] if name in planned.figures else _expected(name, kl, done)
            for name in problem.objectives
        )
        gain = _gain([problem.losses(record.values) for record in done], problem.losses(values))
        return gain, self._space.parameters(known.family, design.rows, choice, design.share, design.folded)


def _expected(name: str, kl: float, done: Sequence[TrialRecord]) -> float:
    """Return the objective that goes with a KL, as finished trials have it."""
    if name == "kl" or not done:
        return kl
    pairs = sorted((record.outcome["quality"]["kl"], record.outcome["figures"][name]) for record in done)
    return float(np.interp(kl, [pair[0] for pair in pairs], [pair[1] for pair in pairs]))


def _gain(losses: Sequence[Sequence[float]], point: Sequence[float]) -> float:
    """Return the hypervolume that a point adds, every objective scaled to what finished trials span."""
    if not losses:
        return 0.0
    every = np.array([*losses, point], dtype=np.float64)
    low, high = every.min(axis=0), every.max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    scaled = [tuple(row) for row in (every - low) / span]
    reference = (1.1,) * len(point)
    return hypervolume(scaled, reference) - hypervolume(scaled[:-1], reference)


def fitted_losses(known: FamilyKnowledge, records: Sequence[TrialRecord]) -> tuple[list[_Array], float]:
    """Return the losses of units that explain the KL of finished trials, [unit][candidate], and of all designs.

    The minimum over θ, c of Σ ((c + Σ θ[unit][choice] - kl) / kl)² + prior · (Σ (θ / table - 1)² + (c / least kl)²),
    over the trials of this family; none of them below zero.
    """
    table = np.concatenate([np.asarray(row, dtype=np.float64) for row in known.losses])
    scale = np.maximum(table, max(1e-12, 1e-3 * float(table.max(initial=0.0))))
    starts = np.cumsum([0, *(len(row) for row in known.losses)])
    columns = [
        {name: start + n for n, name in enumerate(unit.candidates)}
        for start, unit in zip(starts, known.units, strict=False)
    ]
    mine = [
        r for r in records if r.state == "complete" and _family(r) == known.family and r.outcome["quality"]["kl"] > 0
    ]
    kl = np.array([r.outcome["quality"]["kl"] for r in mine])
    least = float(kl.min(initial=np.inf)) if mine else 0.0
    a = np.zeros((len(mine), len(table) + 1))
    for row, record, loss in zip(a, mine, kl, strict=True):
        for unit, column in zip(known.units, columns, strict=True):
            number = column[record.parameters[f"{known.family}/{unit.name}"]]
            row[number] = scale[number] / loss
        row[-1] = least / loss
    prior = np.append(np.ones(len(table)), 0.0)  # θ in units of the table, c in units of the least loss
    normal = a.T @ a + _PRIOR * np.eye(len(prior))
    theta = np.maximum(np.linalg.solve(normal, a.T @ np.ones(len(mine)) + _PRIOR * prior), 0.0)
    found = theta[:-1] * scale
    return [found[start:stop] for start, stop in pairwise(starts)], float(theta[-1]) * least


def _family(record: TrialRecord) -> str:
    return str(record.outcome["assignment"]["notes"]["family"])
