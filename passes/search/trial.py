"""One trial: a design is planned, and if it keeps every bound, run on more and more of the text until all is seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import optuna

from mxhw.errors import InputError
from mxhw.passes.analysis.quality import Partial, Quality
from mxhw.passes.search.objective import Outcome, Planned, Problem
from mxhw.passes.search.record import OUTCOME, SOURCE, TrialRecord, read_records
from mxhw.passes.search.space import SearchSpace
from mxhw.passes.search.stopping import Stop, stop_of
from mxhw.passes.search.strategies import Strategy
from mxhw.passes.search.worker import Evaluated, Infeasible

__all__ = ["TrialRunner"]


@dataclass
class TrialRunner:
    """What a worker calls for every trial.

    Attributes
    ----------
    designs : int
        How many designs the study began with.
    early_stop : bool
        See :mod:`.stopping`; it needs exactly one objective of quality, and no task.
    """

    study: optuna.Study
    problem: Problem
    space: SearchSpace
    strategy: Strategy
    designs: int
    early_stop: bool = True

    def __call__(self, trial: optuna.Trial, index: int) -> Evaluated:
        """Return the outcome of trial `index`.

        Raises
        ------
        Infeasible
            If the design does not fit the platform, or breaks a bound.
        """
        started = perf_counter()
        trial.set_user_attr(SOURCE, self.strategy.source(index, self.designs))
        design = self.space.suggest(trial)
        try:
            planned = self.problem.plan(design)
        except InputError as error:
            raise Infeasible(str(error), {"fits the platform": 1.0}) from None
        self._check(planned.figures)
        outcome, stop = self._run(planned)
        found = {**outcome.to_json(), "seconds": perf_counter() - started}
        if stop is not None and stop.dominated_by is None:
            trial.set_user_attr(OUTCOME, {**found, "stopped": stop.reason})
            raise Infeasible(stop.reason, self.problem.broken(outcome.figures) or {"quality": 1.0})
        if stop is not None:
            values = self._estimated(outcome.figures, stop)
            return Evaluated(values, {**found, "stopped": stop.reason})
        broken = self.problem.broken(outcome.figures)
        if broken:
            trial.set_user_attr(OUTCOME, found)
            self._check(outcome.figures)
        return Evaluated(self.problem.values(found), found)

    def _check(self, figures: Mapping[str, float]) -> None:
        """Raise what bounds are broken."""
        broken = self.problem.broken(figures)
        if broken:
            raise Infeasible("; ".join(self._excess(name, figures[name]) for name in broken), broken)

    def _excess(self, name: str, value: float) -> str:
        return f"{name} is {value:.6g}, the bound {self.problem.constraints[name]:.6g}"

    def _run(self, planned: Planned) -> tuple[Outcome, Stop | None]:
        """Return the outcome on what was seen of the text, and why no more was."""
        qualities = [f for f in self.problem.figures if f.stage in ("quality", "task")]
        records = [record for record in read_records(self.study) if record.state == "complete"]
        for record in records:
            if record.outcome["assignment"]["formats"] == planned.assignment.formats:
                return self.problem.outcome(planned, _known(record)), None  # arrays change no number of the model
        family = planned.assignment.notes["family"]  # the best of every family is of interest
        records = [record for record in records if record.outcome["assignment"]["notes"]["family"] == family]
        rules = self.early_stop and len(qualities) == 1 and qualities[0].name in ("kl", "perplexity")
        at = [i for i, figure in enumerate(self.problem.figures) if figure not in qualities]
        costs = [[self.problem.losses(record.values)[i] for i in at] for record in records]
        for seen in self.problem.grow(planned):
            stop = self._stop(planned, seen, qualities[0].name, records, costs) if rules else None
            if stop is not None or seen.complete:
                break
        return self.problem.outcome(planned, seen), stop

    def _stop(
        self,
        planned: Planned,
        seen: Partial,
        measure: str,
        records: Sequence[TrialRecord],
        costs: Sequence[Sequence[float]],
    ) -> Stop | None:
        figures = self.problem.figures
        others = [
            -planned.figures[f.name] if f.maximize else planned.figures[f.name] for f in figures if f.name != measure
        ]
        batches = -(-len(self.problem.evaluator.windows) // self.problem.evaluator.batch)
        return stop_of(seen, batches, measure, others, records, costs, self.problem.constraints)

    def _estimated(self, figures: Mapping[str, float], stop: Stop) -> tuple[float, ...]:
        return tuple(stop.quality if f.stage == "quality" else figures[f.name] for f in self.problem.figures)


def _known(record: TrialRecord) -> Partial:
    """Return the quality that a trial found."""
    windows = tuple((loss, kl) for loss, kl in record.outcome["windows"])
    return Partial(Quality(**record.outcome["quality"]), windows, complete=True)
