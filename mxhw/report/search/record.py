"""What a search found: the record `search.json` that its page, its pictures and later runs read.

Everything in it was measured or decided by the search that wrote it; reading it needs no model. Numbers are finite:
what is unknown is absent (or None in `values`), never NaN or infinity. A record that contradicts itself cannot be made:
a chosen or front design is a complete trial, and no complete trial dominates a design of the front.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from mxhw.report.records import load_record, save_record

__all__ = [
    "SEARCH_FILE",
    "Chosen",
    "Comparison",
    "Constraint",
    "Curve",
    "Objective",
    "SearchReport",
    "Sensitivity",
    "Strategy",
    "Trial",
    "load_search_report",
    "save_search_report",
]

SEARCH_FILE = "search.json"
Direction = Literal["minimize", "maximize"]
State = Literal["complete", "infeasible", "stopped"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Objective(_Record):
    """What is searched for: a name such as "kl" or "edp", whether it shall be small or large, and its unit."""

    name: str
    direction: Direction = "minimize"
    unit: str = ""


class Constraint(_Record):
    """A hard limit on a figure: `sense` "<=" is an upper bound, ">=" a lower one; the unit is the figure's."""

    limit: float
    sense: Literal["<=", ">="] = "<="


class Trial(_Record):
    """One design that was tried.

    Attributes
    ----------
    number : int
        Its name in the study.
    state : "complete", "infeasible" or "stopped"
        Evaluated on all of the search text; breaks a constraint (`reason` and `violations` say which); given up on part
        of the text (its values are of that part).
    source : str
        Who proposed it: "uniform", "milp", "tpe" …
    values : tuple of float or None
        One a objective, in order. None where a trial that is not complete has no value; empty if it has none at all.
    parameters : dict
        What the sampler chose.
    figures : dict of str to float
        All that is known of the design: quality, bits, cycles, area …, by name.
    formats : dict of str to str
        Format by site ("node:operand"); may be left empty for designs that are not on the front.
    bits : dict of str to float
        True bits an element by site, metadata and padding included, where they were counted.
    assignment : dict, optional
        JSON of :class:`mxhw.ir.Assignment`, for what can be downloaded from the page.
    violations : dict of str to float
        By how much of its limit a constraint is broken, as a share: 0.25 is 25 % beyond.
    """

    number: int
    state: State
    source: str = ""
    values: tuple[float | None, ...] = ()
    parameters: dict[str, Any] = {}
    figures: dict[str, float] = {}
    formats: dict[str, str] = {}
    bits: dict[str, float] = {}
    assignment: dict[str, Any] | None = None
    violations: dict[str, float] = {}
    reason: str = ""
    seconds: float = 0.0
    worker: str = ""


class Chosen(_Record):
    """The design that a stated rule took, and the rule in words."""

    number: int
    reason: str


class Sensitivity(_Record):
    """Loss by unit and candidate in one metric; rank correlations with the true loss of drawn assignments, if any."""

    metric: str
    units: tuple[str, ...]
    candidates: tuple[str, ...]
    losses: dict[str, dict[str, float]]
    spearman: float | None = None
    kendall: float | None = None


class Curve(_Record):
    """One seed of a strategy: hypervolume after so many trials and so many seconds, equally long, both rising.

    ``best`` is the best value under the budget that this seed ended with; None if it found no feasible design.
    """

    seed: int
    trials: tuple[int, ...]
    seconds: tuple[float, ...]
    hypervolume: tuple[float, ...]
    best: float | None = None

    @model_validator(mode="after")
    def _check(self) -> Curve:
        if not len(self.trials) == len(self.seconds) == len(self.hypervolume):
            raise ValueError(f"seed {self.seed}: trials, seconds and hypervolume differ in length")
        if any(list(axis) != sorted(axis) for axis in (self.trials, self.seconds)):
            raise ValueError(f"seed {self.seed}: trials and seconds must rise")
        return self


class Strategy(_Record):
    """A way to search: "random", "tpe", "nsga2", "greedy", "milp", "hybrid"; one curve a seed."""

    name: str
    curves: tuple[Curve, ...]


class Comparison(_Record):
    """Strategies on one problem. ``best_of`` says what :attr:`Curve.best` is, with its budget."""

    strategies: tuple[Strategy, ...]
    best_of: str = "best value"
    direction: Direction = "minimize"


class SearchReport(_Record):
    """The whole search; made by :func:`mxhw.report.search.search_report`.

    Attributes
    ----------
    fingerprint : dict
        What the study is of: model, weights, text, space, versions.
    units : dict of str to str
        Units of figures, for tables.
    format_bits : dict of str to float
        Bits an element of a 128 × 128 tensor by format name: the colour of a site whose true bits were not counted.
    front : tuple of int
        Numbers of the trials on the Pareto front.
    reference : tuple of float
        The point that the hypervolume is measured from; empty if it is not.
    hypervolume : tuple of float
        After each of `trials`, in their order; empty if it was not measured.
    importance : dict
        Objective to parameter to its share of the objective's variance.
    seconds : dict of str to float
        By stage.
    """

    mxhw: str
    command: str = ""
    config: dict[str, Any] = {}
    model: str
    fingerprint: dict[str, Any] = {}
    objectives: tuple[Objective, ...]
    constraints: dict[str, Constraint] = {}
    units: dict[str, str] = {}
    trials: tuple[Trial, ...]
    format_bits: dict[str, float] = {}
    front: tuple[int, ...]
    chosen: Chosen | None = None
    reference: tuple[float, ...] = ()
    hypervolume: tuple[float, ...] = ()
    sensitivity: tuple[Sensitivity, ...] = ()
    importance: dict[str, dict[str, float]] = {}
    comparison: Comparison | None = None
    seconds: dict[str, float] = {}

    def trial(self, number: int) -> Trial:
        """Return the trial of that number; KeyError if there is none."""
        for trial in self.trials:
            if trial.number == number:
                return trial
        raise KeyError(number)

    def count(self, state: State) -> int:
        """Return how many trials ended so."""
        return sum(trial.state == state for trial in self.trials)

    def known(self, trial: Trial) -> dict[str, float]:
        """Return a trial's figures and values by name."""
        values = zip(self.objectives, trial.values, strict=False)
        return trial.figures | {objective.name: value for objective, value in values if value is not None}

    def signed(self, trial: Trial) -> tuple[float, ...]:
        """Return a complete trial's values, those to be large negated: all to be small."""
        return tuple(
            value if objective.direction == "minimize" else -value
            for objective, value in zip(self.objectives, trial.values, strict=True)
            if value is not None
        )

    @property
    def complete(self) -> list[Trial]:
        """The trials that were evaluated on all of the text, in order."""
        return [trial for trial in self.trials if trial.state == "complete"]

    @model_validator(mode="after")
    def _check(self) -> SearchReport:
        trials = {trial.number: trial for trial in self.trials}
        if len(trials) != len(self.trials):
            raise ValueError("two trials have the same number")
        width = len(self.objectives)
        for trial in self.trials:
            known = [value for value in trial.values if value is not None]
            if len(trial.values) not in ((width,) if trial.state == "complete" else (0, width)):
                raise ValueError(f"trial {trial.number} has {len(trial.values)} values of {width} objectives")
            if trial.state == "complete" and len(known) != width:
                raise ValueError(f"trial {trial.number} is complete and lacks a value")
        if len(self.hypervolume) not in (0, len(trials)):
            raise ValueError(f"{len(self.hypervolume)} hypervolumes of {len(trials)} trials")
        if len(self.reference) not in (0, width):
            raise ValueError(f"the reference point has {len(self.reference)} values of {width} objectives")
        picked = [*self.front, *([] if self.chosen is None else [self.chosen.number])]
        for number in picked:
            if number not in trials or trials[number].state != "complete":
                raise ValueError(f"design {number} is on the front or chosen, and is no complete trial")
            self._check_constraints(trials[number])
        values = {trial.number: self.signed(trial) for trial in self.complete}
        for number in self.front:
            for other, theirs in values.items():
                if theirs != values[number] and all(a <= b for a, b in zip(theirs, values[number], strict=True)):
                    raise ValueError(f"trial {other} dominates trial {number} of the front")
        return self

    def _check_constraints(self, trial: Trial) -> None:
        """Raise a ValueError if what is known of a picked design breaks a limit."""
        known = self.known(trial)
        for name, constraint in self.constraints.items():
            value = known.get(name)
            if value is not None and (
                value > constraint.limit if constraint.sense == "<=" else value < constraint.limit
            ):
                raise ValueError(
                    f"design {trial.number} is on the front or chosen with {name} {value:.6g}, "
                    f"which must be {constraint.sense} {constraint.limit:.6g}"
                )


def save_search_report(report: SearchReport, folder: Path) -> Path:
    """Write ``search.json`` in one step; return its path."""
    return save_record(report, folder / SEARCH_FILE)


def load_search_report(folder: Path) -> SearchReport:
    """Read ``search.json`` of a folder that `mxhw search` made; see :func:`.records.load_record` for errors."""
    return load_record(SearchReport, folder / SEARCH_FILE, "search")
