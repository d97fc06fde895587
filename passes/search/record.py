"""A finished trial as the study file holds it: reports read these, nothing is computed again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from mxhw.ir import Assignment

__all__ = [
    "INDEX",
    "INFEASIBLE",
    "OUTCOME",
    "SEEDS",
    "TrialRecord",
    "finished_trials",
    "infeasible_trials",
    "read_records",
]

OUTCOME = "mxhw_outcome"  # user attribute: Outcome.to_json() and the seconds of the trial
INFEASIBLE = "mxhw_infeasible"  # user attribute: why the platform is too small
SEEDS = "mxhw_seed_designs"  # user attribute of the study: parameters of the first trials
INDEX = "mxhw_index"  # user attribute: position in the search, stale trials not counted


@dataclass(frozen=True)
class TrialRecord:
    """One evaluated design.

    Attributes
    ----------
    number : int
        Position in the search, from 0; trials that a killed process left behind are not counted.
    values : (quality, hardware)
        What the search minimizes.
    parameters : mapping
        What the sampler chose.
    outcome : mapping
        JSON: "assignment", "quality", "hardware", "ledger", "seconds".
    """

    number: int
    values: tuple[float, float]
    parameters: Mapping[str, Any]
    outcome: Mapping[str, Any]

    @property
    def assignment(self) -> Assignment:
        """The design, to evaluate, emit or save."""
        return Assignment.from_json(self.outcome["assignment"], f"trial {self.number}")

    @property
    def perplexity(self) -> float:
        """On the search text."""
        return float(self.outcome["quality"]["perplexity"])

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "number": self.number,
            "values": list(self.values),
            "parameters": dict(self.parameters),
            **dict(self.outcome),
        }


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that count, in order: evaluated ones and those that the platform is too small for."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL))
    return [t for t in trials if t.state == TrialState.COMPLETE or INFEASIBLE in t.user_attrs]


def infeasible_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that the platform is too small for."""
    return [trial for trial in finished_trials(study) if INFEASIBLE in trial.user_attrs]


def read_records(study: optuna.Study) -> list[TrialRecord]:
    """Return the evaluated trials in order."""
    return [
        TrialRecord(
            trial.user_attrs[INDEX], (trial.values[0], trial.values[1]), trial.params, trial.user_attrs[OUTCOME]
        )
        for trial in finished_trials(study)
        if trial.state == TrialState.COMPLETE and OUTCOME in trial.user_attrs
    ]
