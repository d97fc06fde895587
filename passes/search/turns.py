"""Which trials of a study count, which turn of the search each takes, and which have to be tried again.

All of it follows from the trials alone, in the order of their numbers, which the storage gives out one by one. So any
number of processes come to the same answers without talking to each other:

* A trial is fresh, or tries again one that failed. Fresh trials take turns 0, 1, 2 … by how many fresh ones were made
  before; a trial that tries again takes the turn, and the parameters, of the one that failed.
* Of several that try the same one again, the one with the lowest number does; the others are dropped.
* A trial is one too many if the finished ones and the running ones made before it fill the total; it is given back,
  to be tried again if the total grows or one of the others fails. Never more than the total can finish: of those that
  do, the one made last saw all others finished or running.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from mxhw.passes.search.record import counts

__all__ = ["AGAIN", "DROPPED", "ORDERLY", "again", "deaths", "is_dropped", "is_surplus", "known", "prescribed", "turn"]

AGAIN = "mxhw_again"  # user attribute: {"of": number, "turn": int, "deaths": int}, of a trial that tries one again
DROPPED = "mxhw_dropped"  # user attribute of a failed trial: another one tries its design
ORDERLY = "mxhw_orderly"  # user attribute of a failed trial: why; the design is not to blame


def turn(trials: Sequence[FrozenTrial], trial: FrozenTrial) -> int:
    """Return the turn of the search that a trial takes, from 0."""
    if AGAIN in trial.user_attrs:
        return int(trial.user_attrs[AGAIN]["turn"])
    return sum(t.number < trial.number and AGAIN not in t.user_attrs for t in trials)


def deaths(trial: FrozenTrial) -> int:
    """Return how many attempts at a trial's design have ended without an outcome, before it."""
    return int(trial.user_attrs.get(AGAIN, {}).get("deaths", 0))


def again(trials: Sequence[FrozenTrial]) -> dict[str, int] | None:
    """Return what a new trial has to try again (a value of :data:`AGAIN`), or None: it is fresh."""
    tried = {t.user_attrs[AGAIN]["of"] for t in trials if AGAIN in t.user_attrs}
    for t in trials:
        if t.state == TrialState.FAIL and t.number not in tried and DROPPED not in t.user_attrs and not counts(t):
            died = deaths(t) + (ORDERLY not in t.user_attrs)
            return {"of": t.number, "turn": turn(trials, t), "deaths": died}
    return None


def is_dropped(trials: Sequence[FrozenTrial], trial: FrozenTrial) -> bool:
    """Return whether another trial, made before, tries the same one again."""
    if AGAIN not in trial.user_attrs:
        return False
    of = int(trial.user_attrs[AGAIN]["of"])
    return any(t.number < trial.number and t.user_attrs.get(AGAIN, {}).get("of") == of for t in trials)


def is_surplus(trials: Sequence[FrozenTrial], trial: FrozenTrial, total: int) -> bool:
    """Return whether the others fill the total."""
    running = sum(t.state == TrialState.RUNNING and t.number < trial.number for t in trials)
    return bool(sum(counts(t) for t in trials) + running >= total)


def prescribed(
    trials: Sequence[FrozenTrial], trial: FrozenTrial, designs: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the parameters that a trial must take: of its turn's first design, and of the trials it tries again."""
    at = turn(trials, trial)
    design = designs[at] if at < len(designs) else {}
    return {**design, **known(trials, trial.user_attrs.get(AGAIN))["params"]}


def known(trials: Sequence[FrozenTrial], attempt: Mapping[str, int] | None) -> dict[str, dict[str, Any]]:
    """Return "params" and "distributions" of the trials that an attempt tries again, for Optuna's `create_trial`."""
    by_number = {t.number: t for t in trials}
    found: dict[str, dict[str, Any]] = {"params": {}, "distributions": {}}
    while attempt is not None:
        failed = by_number[attempt["of"]]
        found["params"] = {**failed.params, **found["params"]}
        found["distributions"] = {**failed.distributions, **found["distributions"]}
        attempt = failed.user_attrs.get(AGAIN)
    return found
