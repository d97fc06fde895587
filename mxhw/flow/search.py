"""The search as a command runs it: the problem of a config, its study, what is written of it, and trials again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isclose
from pathlib import Path
from typing import Any

from mxhw.errors import InputError
from mxhw.files import cache_folder
from mxhw.flow.prepare import Prepared
from mxhw.passes.analysis import QualityEvaluator
from mxhw.passes.analysis.sensitivity.measure import measure_sensitivity
from mxhw.passes.analysis.sensitivity.table import SensitivityTable
from mxhw.passes.search import (
    FIGURES,
    Problem,
    SearchConfig,
    SearchResult,
    SearchSpace,
    TrialRecord,
    figure_of,
    hypervolume,
    search,
    searched_units,
)
from mxhw.passes.search.importance import parameter_importance
from mxhw.passes.search.record import read_records
from mxhw.passes.search.search import fingerprint, versions
from mxhw.passes.search.study import load_study, open_study
from mxhw.passes.transform import WeightCache
from mxhw.progress import Progress, SilentProgress
from mxhw.report.search import (
    SearchReport,
    save_search_report,
    search_report,
    write_search_pictures,
    write_search_report,
)

__all__ = [
    "Replay",
    "Searched",
    "problem_of",
    "replay",
    "replay_trial",
    "report_of",
    "run_search",
    "settings_of",
    "write_results",
]


@dataclass(frozen=True)
class Searched:
    """A search that ran, and its problem."""

    problem: Problem
    result: SearchResult


def problem_of(prepared: Prepared, cache: WeightCache | None = None, progress: Progress | None = None) -> Problem:
    """Return the problem that a config states."""
    config = prepared.config
    evaluator = QualityEvaluator(
        prepared.graph, prepared.search, bytes_per_token=prepared.loaded.bytes_per_token, progress=progress
    )
    return Problem(
        prepared.graph,
        evaluator,
        prepared.platform,
        config.platform.sequence,
        config.search.objectives,
        config.search.constraints,
        config.platform.decode,
        prepared.tasks,
        cache if cache is not None else WeightCache(),
    )


def settings_of(prepared: Prepared) -> SearchConfig:
    """Return how a config says to search."""
    config = prepared.config
    return SearchConfig(
        trials=config.search.trials,
        strategy=config.search.strategy,
        seed=config.seed,
        max_perplexity_increase=config.search.max_perplexity_increase,
        early_stop=config.search.early_stop,
    )


def run_search(
    prepared: Prepared,
    where: Path | str | None,
    *,
    name: str = "mxhw",
    cache: WeightCache | None = None,
    progress: Progress | None = None,
) -> Searched:
    """Search until the study holds the config's trials; see :func:`mxhw.passes.search.search`.

    Sensitivities are kept in the user's cache, by what they depend on.
    """
    shown = progress or SilentProgress()
    problem = problem_of(prepared, cache, shown)

    def table() -> SensitivityTable:
        return measure_sensitivity(
            prepared.graph,
            problem.evaluator,
            searched_units(prepared.space),
            prepared.config.search.sensitivity,
            cache=cache_folder("sensitivity"),
            weights=problem.cache,
            progress=shown,
        )

    settings = settings_of(prepared)
    found = search(problem, prepared.space, settings, where=where, name=name, table=table, progress=shown)
    return Searched(problem, found)


@dataclass(frozen=True)
class Replay:
    """A trial that was evaluated again.

    Attributes
    ----------
    stored, again : figures of the study, and of now, by name.
    """

    record: TrialRecord
    stored: Mapping[str, float]
    again: Mapping[str, float]

    @property
    def different(self) -> list[str]:
        """Names of figures that are not the same."""
        return [name for name, value in self.stored.items() if not _same(value, self.again.get(name))]


def write_results(prepared: Prepared, found: Searched, out: Path, *, command: str = "", seconds: float = 0.0) -> None:
    """Write search.json, its page and its pictures."""
    report = report_of(prepared, found, command=command, seconds=seconds)
    save_search_report(report, out)
    write_search_report(report, out / "search.html")
    write_search_pictures(report, out)


def report_of(prepared: Prepared, found: Searched, *, command: str = "", seconds: float = 0.0) -> SearchReport:
    """Return the record of a search."""
    problem, result = found.problem, found.result
    figures, constraints = problem.figures, problem.constraints
    losses = [problem.losses(record.values) for record in result.records]
    reference = tuple(max(column) for column in zip(*losses, strict=True))
    return search_report(
        model=prepared.config.model,
        objectives=[{"name": f.name, "direction": f.direction, "unit": f.unit} for f in figures],
        trials=[_trial(record) for record in result.trials],
        front=[record.number for record in result.front],
        chosen=(result.choice.record.number, result.choice.reason),
        command=command,
        config=prepared.config.model_dump(mode="json"),
        fingerprint=fingerprint(problem, prepared.space, settings_of(prepared)) | {"versions": versions()},
        constraints={n: (limit, ">=" if figure_of(n).maximize else "<=") for n, limit in constraints.items()},
        units={name: figure.unit for name, figure in FIGURES.items()},
        reference=[-v if f.maximize else v for v, f in zip(reference, figures, strict=True)],
        hypervolume=_hypervolumes(problem, result, reference),
        sensitivity=() if result.sensitivity is None else [_sensitivity(result.sensitivity)],
        importance={
            f.name: parameter_importance(result.records, i) for i, f in enumerate(figures) if len(result.records) > 1
        },
        seconds={"search": seconds} if seconds else None,
    )


def _hypervolumes(problem: Problem, result: SearchResult, reference: tuple[float, ...]) -> list[float]:
    """Return the hypervolume after each trial."""
    seen: list[tuple[float, ...]] = []
    found = []
    for record in result.trials:
        if record.state == "complete":
            seen.append(problem.losses(record.values))
        found.append(hypervolume(seen, reference))
    return found


def _trial(record: TrialRecord) -> dict[str, Any]:
    return {
        "number": record.number,
        "state": record.state,
        "source": record.source,
        "values": list(record.values),
        "parameters": dict(record.parameters),
        "figures": dict(record.outcome.get("figures", {})),
        "assignment": record.outcome.get("assignment"),
        "violations": dict(record.violations),
        "reason": record.reason,
        "seconds": record.outcome.get("seconds", 0.0),
    }


def _sensitivity(stored: Mapping[str, Any]) -> dict[str, Any]:
    table = SensitivityTable.from_json(stored)
    return {
        "metric": table.metric,
        "units": [unit.name for unit in table.units],
        "candidates": list(table.candidates),
        "losses": {name: dict(row) for name, row in table.losses.items()},
        "spearman": stored["spearman"],
        "kendall": stored["kendall"],
    }


def replay_trial(
    prepared: Prepared, where: Path | str, name: str, number: int, *, progress: Progress | None = None
) -> Replay:
    """Evaluate a trial of the config's study again; see :func:`replay`."""
    problem = problem_of(prepared, progress=progress)
    load_study(where, name)  # refuses a place without one, which the next line would make
    directions = [figure.direction for figure in problem.figures]
    expected = fingerprint(problem, prepared.space, settings_of(prepared))
    study = open_study(where, expected, directions=directions, name=name)
    return replay(problem, prepared.space, read_records(study), number)


def replay(problem: Problem, space: SearchSpace, records: list[TrialRecord], number: int) -> Replay:
    """Evaluate a trial of a study again, from the parameters that it chose.

    Raises
    ------
    InputError
        If the study has no such trial, or it was never run.
    """
    record = next((each for each in records if each.number == number), None)
    if record is None:
        raise InputError(f"the study has no finished trial {number}; it has {len(records)}, from 0")
    planned = problem.plan(space.design(record.parameters))
    if "figures" not in record.outcome:
        raise InputError(f"trial {number} was never run: {record.reason}")
    seen = len(record.outcome["windows"])
    for partial in problem.grow(planned):
        if len(partial.windows) == seen:
            break
    again = problem.outcome(planned, partial)
    return Replay(record, record.outcome["figures"], again.figures)


def _same(stored: float, again: float | None) -> bool:
    # Sums of float32 in another order, on another machine or with other threads, may differ in their last digits.
    return again is not None and isclose(stored, again, rel_tol=1e-6, abs_tol=1e-12)
