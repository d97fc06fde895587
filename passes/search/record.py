"""A finished trial as the study holds it: reports read these, nothing is computed again."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from mxhw.ir import Assignment

__all__ = [
    "INDEX",
    "INFEASIBLE",
    "OUTCOME",
    "SEEDS",
    "SOURCE",
    "STOPPED",
    "TrialRecord",
    "counts",
    "finished_trials",
    "infeasible_trials",
    "read_records",
]

OUTCOME = "mxhw_outcome"  # user attribute: Outcome.to_json() and the seconds of the trial
INFEASIBLE = "mxhw_infeasible"  # user attribute: why a design does not fit the platform or keep a bound
STOPPED = "mxhw_stopped"  # user attribute: values on the part of the text that was seen
SEEDS = "mxhw_seed_designs"  # user attribute of the study: parameters of the first trials
INDEX = "mxhw_index"  # user attribute: the turn of the search (see :mod:`.turns`)
SOURCE = "mxhw_source"  # user attribute: what proposed the design

State = Literal["complete", "infeasible", "stopped"]


@dataclass(frozen=True)
class TrialRecord:
    """One finished trial.

    Attributes
    ----------
    number : int
        Position in the search, from 0. Attempts that a killed process left behind have none of their own; a position
        is missing only where several workers ran and one trial was given back.
    values : (objectives,)
        In the study's order and units. Of a stopped trial, estimates or values on the part of the text that was seen;
        of an infeasible one, none.
    parameters : mapping
        What the sampler chose.
    outcome : mapping
        JSON: "assignment", "quality", "figures", "hardware", "ledger", "seconds"; may be empty if infeasible.
    state : str
        "complete"; "infeasible": does not fit the platform or keep a bound; "stopped": given up on a part of the text.
    reason : str
        Of an infeasible or stopped trial.
    violations : mapping of bound to excess
        Of an infeasible trial; positive where the bound is not kept.
    source : str
        What proposed the design.
    """

    number: int
    values: tuple[float, ...]
    parameters: Mapping[str, Any]
    outcome: Mapping[str, Any]
    state: State = "complete"
    reason: str = ""
    violations: Mapping[str, float] = field(default_factory=dict)
    source: str = ""

    @property
    def assignment(self) -> Assignment:
        """The design, to evaluate, emit or save."""
        return Assignment.from_json(self.outcome["assignment"], f"trial {self.number}")

    @property
    def perplexity(self) -> float:
        """On the search text."""
        return float(self.outcome["quality"]["perplexity"])

    @property
    def figures(self) -> Mapping[str, float]:
        """Every figure that was measured or computed, objectives among them, by name."""
        figures: Mapping[str, float] = self.outcome.get("figures", {})
        return figures

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        extra = {"reason": self.reason, "violations": dict(self.violations), "source": self.source}
        return {
            "number": self.number,
            "state": self.state,
            "values": list(self.values),
            "parameters": dict(self.parameters),
            **{key: value for key, value in extra.items() if value},
            **dict(self.outcome),
        }


def counts(trial: FrozenTrial) -> bool:
    """Return whether a trial is finished and counts: evaluated, stopped early, or infeasible."""
    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED) or (
        trial.state == TrialState.FAIL and INFEASIBLE in trial.user_attrs
    )


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that count, in order."""
    return [trial for trial in study.get_trials(deepcopy=False) if counts(trial)]


def infeasible_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that the platform is too small for, or that break a bound."""
    return [trial for trial in finished_trials(study) if INFEASIBLE in trial.user_attrs]


def read_records(study: optuna.Study) -> list[TrialRecord]:
    """Return the finished trials in order, of every state."""
    return [_record(trial) for trial in finished_trials(study)]


def _record(trial: FrozenTrial) -> TrialRecord:
    attributes = trial.user_attrs
    outcome = attributes.get(OUTCOME, {})
    values = tuple(trial.values or attributes.get(STOPPED, ()))
    state: State = "complete"
    if INFEASIBLE in attributes:
        state, values = "infeasible", ()
    elif STOPPED in attributes or outcome.get("stopped"):
        state = "stopped"
    return TrialRecord(
        number=attributes.get(INDEX, trial.number),
        values=values,
        parameters=trial.params,
        outcome=outcome,
        state=state,
        reason=str(attributes.get(INFEASIBLE) or outcome.get("stopped") or ""),
        violations=trial.constraints,
        source=attributes.get(SOURCE, ""),
    )
