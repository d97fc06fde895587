"""How far a search is, in words: trials, the best value of each objective, the feasible share, and the time left.

A pure function of the finished trials and the clock, so that every process of a study says the same. Time left is what
the last trials of each state took in the median, weighted by how often each state occurred among them: a design that
breaks a constraint takes milliseconds and one that is evaluated seconds, so a median over all of them would be one or
the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

import optuna
from optuna.trial import TrialState

from mxhw.passes.search.record import INFEASIBLE, finished_trials

__all__ = ["FinishedTrial", "SearchStatus", "duration_text", "search_status", "study_status"]

_WINDOW = 20  # last trials that the time left is estimated from
_MINUTE, _HOUR = 60.0, 3600.0


@dataclass(frozen=True)
class FinishedTrial:
    """What the status needs of a trial.

    Attributes
    ----------
    state : "complete", "infeasible" or "stopped"
    seconds : float
        That it took.
    values : tuple of float
        One an objective; empty unless it is complete.
    at : float
        When it ended, on the clock that :func:`search_status` is given.
    """

    state: Literal["complete", "infeasible", "stopped"]
    seconds: float
    values: tuple[float, ...] = ()
    at: float = 0.0


@dataclass(frozen=True)
class SearchStatus:
    """How far a search is.

    Attributes
    ----------
    done, total : int
        Trials.
    feasible : int
        Of those done.
    best : mapping
        Best value so far by objective; empty before the first complete trial.
    left : float or None
        Seconds, or None while nothing is known.
    """

    done: int
    total: int
    feasible: int
    best: Mapping[str, float] = field(default_factory=dict)
    left: float | None = None

    @property
    def note(self) -> str:
        """What stands beside a bar that counts trials."""
        parts = []
        if self.best:
            parts.append("best " + ", ".join(f"{name} {value:.5g}" for name, value in self.best.items()))
        elif self.done:
            parts.append("no complete design yet")
        if self.done:
            parts.append(f"{100 * self.feasible / self.done:.0f} % feasible")
        if self.left is not None and self.done < self.total:
            parts.append(f"{duration_text(self.left)} left")
        return "; ".join(parts)

    @property
    def text(self) -> str:
        """The same with the count, for a line of its own."""
        return "; ".join(part for part in (f"{self.done} of {self.total} trials", self.note) if part)


def search_status(
    trials: Sequence[FinishedTrial],
    total: int,
    objectives: Mapping[str, Literal["minimize", "maximize"]],
    *,
    workers: int = 1,
    now: float | None = None,
) -> SearchStatus:
    """Return the status of a study.

    Parameters
    ----------
    trials : sequence of FinishedTrial
        In the order in which they ended, those of other processes included.
    total : int
        Trials that the study shall have.
    objectives : mapping of name to direction, in the order of the trials' values
    workers : int
        Processes that try designs at once.
    now : float, optional
        The clock: what has passed since the last trial ended is taken off the time left. Without it nothing is.
    """
    complete = [trial for trial in trials if trial.state == "complete" and trial.values]
    best = {
        name: (min if direction == "minimize" else max)(trial.values[index] for trial in complete)
        for index, (name, direction) in enumerate(objectives.items())
        if complete
    }
    feasible = sum(trial.state != "infeasible" for trial in trials)
    left = _left(trials[-_WINDOW:], max(total - len(trials), 0), max(workers, 1), now)
    return SearchStatus(len(trials), total, feasible, best, left)


def study_status(
    study: optuna.Study,
    total: int,
    objectives: Mapping[str, Literal["minimize", "maximize"]],
    *,
    workers: int | None = None,
    now: float | None = None,
) -> SearchStatus:
    """Return the status of a study; see :func:`search_status`.

    Parameters
    ----------
    workers : int, optional
        By default as many as run trials now, and the process that asks.
    now : float, optional
        Seconds since the epoch.
    """
    trials = []
    for trial in finished_trials(study):
        start, end = trial.datetime_start, trial.datetime_complete
        state: Literal["complete", "infeasible", "stopped"] = "stopped"
        if INFEASIBLE in trial.user_attrs:
            state = "infeasible"
        elif trial.state == TrialState.COMPLETE:
            state = "complete"
        values = tuple(trial.values) if state == "complete" else ()
        seconds = (end - start).total_seconds() if start and end else 0.0
        trials.append(FinishedTrial(state, seconds, values, end.timestamp() if end else 0.0))
    trials.sort(key=lambda trial: trial.at)
    if workers is None:
        workers = 1 + len(study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))
    return search_status(trials, total, objectives, workers=workers, now=now)


def duration_text(seconds: float) -> str:
    """Return a time as people say it: "about 8 s", "about 12 min", "about 3.5 h"."""
    if seconds < _MINUTE:
        return f"about {seconds:.0f} s"
    if seconds < _HOUR:
        return f"about {seconds / _MINUTE:.0f} min"
    return f"about {seconds / _HOUR:.1f} h"


def _left(last: Sequence[FinishedTrial], remaining: int, workers: int, now: float | None) -> float | None:
    """Return seconds that so many trials will take, by the last ones."""
    if not last:
        return None
    each = 0.0
    for state in ("complete", "infeasible", "stopped"):
        if took := [trial.seconds for trial in last if trial.state == state]:
            each += median(took) * len(took) / len(last)
    waited = 0.0 if now is None else max(now - max(trial.at for trial in last), 0.0)
    return max(each * remaining / workers - min(waited, each), 0.0)
