"""What matters: units by the loss that their bits save, and parameters by the variance that they explain over trials.

Of units the measure is the sensitivity table's: along a line of assignments, how much loss a unit saves and what it
takes for this. Losses and costs add over units, so shares add up exactly.

Of parameters it is that of an additive model over finished trials: every parameter has an effect for each of its
values, found by ridge regression on indicators (Hoerl and Kennard, Technometrics 12, 1970), with the penalty of least
leave-one-out error (Allen's PRESS, Technometrics 16, 1974). The share of a parameter is the variance of its effects
over the trials. Interactions are not seen, and trials of a guided search are not independent draws: `explained` says
how well the model predicts trials that it was not given. Optuna's fANOVA needs scikit-learn and a parameter to be in
every trial; this needs neither, so it is the same wherever it runs.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mxhw.errors import InputError
from mxhw.passes.search.allocate import AllocationProblem
from mxhw.passes.search.record import TrialRecord

__all__ = ["Importance", "UnitGain", "fit_importance", "parameter_importance", "unit_importance"]

Floats = NDArray[np.float64]

MOST_LEVELS = 10  # a number with more different values than this has a linear effect
_PENALTIES = 10.0 ** np.arange(3, -11, -1.0)  # times the number of trials; of equal errors the greatest is taken


@dataclass(frozen=True)
class UnitGain:
    """What a unit saves between the first and the last assignment of a line.

    Attributes
    ----------
    name : str
    saved : float
        Loss at the first less loss at the last.
    spent : float
        Cost at the last less cost at the first, in the resource's unit.
    share : float
        `saved` as a share of all units'; 0 if nothing is saved.
    """

    name: str
    saved: float
    spent: float
    share: float

    @property
    def per_cost(self) -> float:
        """Loss saved for one unit of cost; 0 if nothing is saved, infinite if it is for nothing."""
        if self.spent:
            return self.saved / self.spent
        return math.copysign(math.inf, self.saved) if self.saved else 0.0


@dataclass(frozen=True)
class Importance:
    """Shares of variance by parameter, and how far to trust them.

    Attributes
    ----------
    shares : parameter to share
        They add up to 1, or are all 0 if the objective is the same in all trials or no parameter explains anything.
    explained : float
        Share of the objective's variance that the model predicts in trials left out one by one; 1 is all, 0 no more
        than the mean does, and below that it misleads.
    trials : int
        Complete trials.
    """

    shares: Mapping[str, float]
    explained: float
    trials: int


def unit_importance(problem: AllocationProblem, resource: str, line: Sequence[Sequence[int]]) -> list[UnitGain]:
    """Return what each unit saves along a line of assignments, such as a budget line up to the chosen one.

    Raises
    ------
    InputError
        If the line has fewer than two assignments, or the resource is unknown.
    """
    if resource not in problem.costs:
        raise InputError(f"importance: no costs of {resource!r}; there are {', '.join(map(repr, problem.costs))}")
    if len(line) < 2:
        raise InputError(f"importance needs a line of at least two assignments, not {len(line)}")
    first, last = line[0], line[-1]
    for choice in (first, last):
        if math.isinf(problem.loss(choice)):
            raise InputError("importance: the line has an assignment with a candidate that is not allowed")
    losses, costs = problem.losses, problem.costs[resource]
    saved = [row[a] - row[b] for row, a, b in zip(losses, first, last, strict=True)]
    spent = [row[b] - row[a] for row, a, b in zip(costs, first, last, strict=True)]
    total = math.fsum(saved)
    shares = [each / total if total else 0.0 for each in saved]
    names = [problem.name(unit) for unit in range(len(saved))]
    return [UnitGain(*gain) for gain in zip(names, saved, spent, shares, strict=True)]


def parameter_importance(records: Sequence[TrialRecord], objective: int) -> dict[str, float]:
    """Return each parameter's share of explained variance; see :func:`fit_importance`."""
    return dict(fit_importance(records, objective).shares)


def fit_importance(records: Sequence[TrialRecord], objective: int) -> Importance:
    """Return the importance of parameters for one objective, from complete trials.

    A parameter that only some trials have (of one family) counts by its effects within these; that they are better or
    worse than the others is the effect of what chose between them.

    Raises
    ------
    InputError
        If there are fewer than two complete trials, or they have no such objective.
    """
    complete = [record for record in records if record.state == "complete"]
    if len(complete) < 2:
        raise InputError(f"importance needs at least two complete trials, not {len(complete)}")
    count = min(len(record.values) for record in complete)
    if not 0 <= objective < count:
        raise InputError(f"importance: trials have objectives 0 to {count - 1}, not {objective}")
    values = np.array([record.values[objective] for record in complete], dtype=np.float64)
    finite = np.isfinite(values)
    complete = [record for record, keep in zip(complete, finite.tolist(), strict=True) if keep]
    if len(complete) < 2:
        raise InputError(f"importance needs at least two trials with a finite objective {objective}")
    columns = _columns([record.parameters for record in complete])
    effects, explained = _ridge(columns, values[finite] - values[finite].mean())
    variances = {name: float(np.mean(effect**2)) for name, effect in effects.items()}
    total = math.fsum(variances.values())
    shares = {name: variance / total if total else 0.0 for name, variance in variances.items()}
    return Importance(shares, explained, len(complete))


def _columns(parameters: Sequence[Mapping[str, Any]]) -> dict[str, Floats]:
    """Return each parameter's columns `[trials, levels]`, with zero mean over the trials that have it, else 0."""
    names = list(dict.fromkeys(name for given in parameters for name in given))
    columns = {}
    for name in names:
        has = np.array([name in given for given in parameters])
        present = [given[name] for given in parameters if name in given]
        levels = list(dict.fromkeys(present))
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in levels)
        if numbers and len(levels) > MOST_LEVELS:
            raw = np.array(present, dtype=np.float64)[:, None]
            raw /= np.ptp(raw) or 1.0
        else:
            raw = np.array([[float(value == level) for level in levels] for value in present])
        table = np.zeros((len(parameters), raw.shape[1]))
        table[has] = raw - raw.mean(axis=0)
        columns[name] = table
    return columns


def _ridge(columns: Mapping[str, Floats], y: Floats) -> tuple[dict[str, Floats], float]:
    """Return every parameter's effect `[trials]` on a centred objective, and the share predicted when left out."""
    variation = float(y @ y)
    if not variation or not columns:
        return {name: np.zeros(len(y)) for name in columns}, 0.0
    u, s, vt = np.linalg.svd(np.concatenate(list(columns.values()), axis=1), full_matrices=False)
    kept = s > 1e-10 * max(s.max(), 1.0)
    u, s, vt = u[:, kept], s[kept], vt[kept]
    best: tuple[float, Floats] | None = None
    for penalty in _PENALTIES * len(y):
        shrunk = s**2 / (s**2 + penalty)
        # The mean is a parameter, too: it takes 1/n of every trial's leverage.
        free = np.maximum(1.0 - 1.0 / len(y) - (u**2) @ shrunk, 1e-12)
        error = float(np.sum(((y - u @ (shrunk * (u.T @ y))) / free) ** 2))
        if best is None or error < best[0]:
            best = error, vt.T @ (shrunk / s * (u.T @ y))
    assert best is not None
    # Without parameters the mean is left out of itself, too.
    mean_error = variation * (len(y) / (len(y) - 1)) ** 2
    ends = np.cumsum([table.shape[1] for table in columns.values()])[:-1]
    parts = np.split(best[1], ends)
    effects = {name: table @ part for (name, table), part in zip(columns.items(), parts, strict=True)}
    return effects, 1.0 - best[0] / mean_error
