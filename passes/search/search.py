"""The search: trials of quantize ▸ parallelize ▸ evaluate until a total, kept in a study that can be continued."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import time
from typing import Any

import optuna
import torch

import mxhw
from mxhw.errors import InputError
from mxhw.ir import Graph
from mxhw.passes.analysis.fingerprints import fingerprint_of_format, fingerprint_of_model, fingerprint_of_tensor
from mxhw.passes.analysis.sensitivity.correlation import rank_correlation
from mxhw.passes.analysis.sensitivity.measure import measure_sensitivity
from mxhw.passes.analysis.sensitivity.table import SensitivityTable
from mxhw.passes.base import Pass, PassResult, register_pass
from mxhw.passes.search.choose import Choice, choose
from mxhw.passes.search.figures import figure_of
from mxhw.passes.search.front import pareto_front
from mxhw.passes.search.knowledge import Knowledge, learn, searched_units
from mxhw.passes.search.marks import mark_chosen
from mxhw.passes.search.objective import Problem
from mxhw.passes.search.record import INDEX, TrialRecord, finished_trials, read_records
from mxhw.passes.search.space import EMULATED, SearchSpace
from mxhw.passes.search.status import study_status
from mxhw.passes.search.strategies import Strategy, StrategyName, check_strategy, needs_knowledge
from mxhw.passes.search.study import check_study_file, open_study
from mxhw.passes.search.trial import TrialRunner
from mxhw.passes.search.worker import run_trials
from mxhw.progress import Progress, SilentProgress

__all__ = ["Search", "SearchConfig", "SearchResult", "check_feasible", "fingerprint", "result_of", "search"]

DESIGNS = "mxhw_designs"  # user attribute of the study: how many designs it began with
KNOWLEDGE = "mxhw_knowledge"
SENSITIVITY = "mxhw_sensitivity"
VERSIONS = "mxhw_versions"


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How to search.

    Attributes
    ----------
    trials : int
        Total, those that the study already holds included.
    strategy : one of :data:`.STRATEGIES`
    seed : int
    max_perplexity_increase : float
        What the chosen design may lose against the float model, as a ratio.
    early_stop : bool
        Whether a trial that is dominated on a part of the text sees no more of it.
    plain : bool
        Optuna's samplers without the uniform designs to start from.
    draws : int
        Assignments that sensitivities are compared with, to say how far to trust them; 0: they are not.
    """

    trials: int = 40
    strategy: StrategyName = "hybrid"
    seed: int = 0
    max_perplexity_increase: float = 0.02
    early_stop: bool = True
    plain: bool = False
    draws: int = 12

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise InputError(f"trials must be at least 1, not {self.trials}")
        check_strategy(self.strategy)


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes
    ----------
    trials : list of TrialRecord
        All that count, in order: complete, stopped early, infeasible.
    records : list of TrialRecord
        Those that were evaluated whole and keep every bound.
    front : list of TrialRecord
        The Pareto front of those.
    choice : Choice
    sensitivity : mapping, optional
        What the study began with: JSON of a :class:`.SensitivityTable`, with "spearman" and "kendall".
    """

    trials: list[TrialRecord]
    records: list[TrialRecord]
    front: list[TrialRecord]
    choice: Choice
    sensitivity: Mapping[str, Any] | None = None

    @property
    def infeasible(self) -> int:
        """Trials that do not fit the platform, or break a bound."""
        return sum(record.state == "infeasible" for record in self.trials)

    @property
    def stopped(self) -> int:
        """Trials that were dominated on a part of the text."""
        return sum(record.state == "stopped" for record in self.trials)


def search(
    problem: Problem,
    space: SearchSpace,
    config: SearchConfig,
    *,
    where: Path | str | None = None,
    name: str = "mxhw",
    table: Callable[[], SensitivityTable] | None = None,
    progress: Progress | None = None,
) -> SearchResult:
    """Run trials until the study holds `config.trials`, and return what was found.

    Every finished trial is stored before the next one starts; after an interruption the same call continues. Several
    processes that call this with the same storage share the trials.

    Parameters
    ----------
    problem : Problem
    space : SearchSpace
    config : SearchConfig
    where : Path or URL, optional
        The study's storage (:func:`.storage.open_storage`); without one the study lives in memory.
    name : str
        Of the study in its storage.
    table : callable, optional
        Gives the sensitivities of :func:`.searched_units`; called by the process that begins the study, if its
        strategy needs them. Without it they are measured.
    progress : Progress, optional

    Raises
    ------
    InputError
        If the storage cannot be used or the study is of another search, or no design fits the platform or keeps the
        bounds.
    """
    check_feasible(problem, space)
    if isinstance(where, Path):
        check_study_file(where)
    shown = progress or SilentProgress()

    def begin(study: optuna.Study) -> list[dict[str, Any]]:
        knowledge = Knowledge()
        if needs_knowledge(config.strategy) and searched_units(space):
            found = table() if table else _measured(problem, space, shown)
            knowledge = learn(problem, space, found)
            study.set_user_attr(SENSITIVITY, {**found.to_json(), **_correlation(problem, found, config, shown)})
        study.set_user_attr(KNOWLEDGE, knowledge.to_json())
        designs = _strategy(problem, space, config, knowledge).designs(config.trials)
        study.set_user_attr(DESIGNS, len(designs))
        study.set_user_attr(VERSIONS, versions())
        return designs

    directions = [figure.direction for figure in problem.figures]
    study = open_study(
        where, fingerprint(problem, space, config), directions=directions, begin=begin, name=name, progress=shown
    )
    knowledge = Knowledge.from_json(study.user_attrs[KNOWLEDGE], space)
    strategy = _strategy(problem, space, config, knowledge)
    runner = TrialRunner(study, problem, space, strategy, study.user_attrs[DESIGNS], config.early_stop)
    named = {figure.name: figure.direction for figure in problem.figures}

    def note(running: optuna.Study) -> str:
        return study_status(running, config.trials, named, now=time()).note

    run_trials(study, config.trials, runner, strategy.sampler, progress=shown, note=note)
    result = result_of(study, problem, config)
    _mark(study, result)
    return result


def _measured(problem: Problem, space: SearchSpace, progress: Progress) -> SensitivityTable:
    units = searched_units(space)
    return measure_sensitivity(problem.graph, problem.evaluator, units, weights=problem.cache, progress=progress)


def _correlation(
    problem: Problem, table: SensitivityTable, config: SearchConfig, progress: Progress
) -> dict[str, float | None]:
    """Return how far to trust a table; nothing where that cannot be said."""
    unknown: dict[str, float | None] = {"spearman": None, "kendall": None}
    if not config.draws:
        return unknown
    try:
        found = rank_correlation(
            table,
            problem.graph,
            problem.evaluator,
            draws=config.draws,
            seed=config.seed,
            weights=problem.cache,
            progress=progress,
        )
    except InputError:  # families cut a site into different units, or all draws have one loss
        return unknown
    return {"spearman": found.spearman, "kendall": found.kendall}


def _mark(study: optuna.Study, result: SearchResult) -> None:
    """Let other programs see the chosen design and the front; Optuna's numbers count attempts that failed, too."""
    complete = [trial for trial in finished_trials(study) if trial.state == optuna.trial.TrialState.COMPLETE]
    numbers = {trial.user_attrs[INDEX]: trial.number for trial in complete}
    front = [numbers[record.number] for record in result.front]
    mark_chosen(study, numbers[result.choice.record.number], result.choice.reason, front=front)


def result_of(study: optuna.Study, problem: Problem, config: SearchConfig) -> SearchResult:
    """Return what a study has found."""
    trials = read_records(study)
    records = [record for record in trials if record.state == "complete"]
    if not records:
        raise InputError(f"no trial of the search fits: {_nearest_miss(trials)}")
    reference = problem.evaluator.reference().perplexity
    return SearchResult(
        trials,
        records,
        pareto_front(records, [problem.losses(record.values) for record in records]),
        choose(records, reference, config.max_perplexity_increase, problem.figures),
        study.user_attrs.get(SENSITIVITY),
    )


@register_pass
class Search(Pass):
    """Search a space: graph → the same graph with the chosen formats; the report holds the front and the choice.

    Parameters
    ----------
    config : SearchConfig
    problem : Problem
    space : SearchSpace
    where : Path or URL, optional
        The study's storage.
    """

    name = "search"
    description = "search formats per unit and operand and array shapes: quality against costs of hardware"
    requires = frozenset({"sites"})
    provides = frozenset({"formats"})

    def __init__(
        self,
        config: SearchConfig,
        problem: Problem,
        space: SearchSpace,
        where: Path | str | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.config, self.problem, self.space = config, problem, space
        self.where, self.progress = where, progress or SilentProgress()

    def __call__(self, graph: Graph) -> PassResult:
        """Search. See :func:`search` for errors."""
        found = search(self.problem, self.space, self.config, where=self.where, progress=self.progress)
        formats = found.choice.record.assignment.formats
        sites = {key: replace(site, format=formats.get(key, site.format)) for key, site in graph.sites.items()}
        report = {
            "trials": len(found.trials),
            "infeasible": found.infeasible,
            "front": [record.to_json() for record in found.front],
            "chosen": found.choice.record.to_json(),
            "reason": found.choice.reason,
        }
        return PassResult(graph.with_sites(sites), report)


def check_feasible(problem: Problem, space: SearchSpace) -> None:
    """Do nothing if a uniform design fits the platform, and each bound known without running the model can be met.

    Otherwise raise what is wrong with the last design; or which bound cannot be met, and by how much. Raise, too,
    if the space has designs without hardware and an objective is of hardware.
    """
    if EMULATED in space.config.families:
        problem.plan(space.design({"family": EMULATED}))
    reason: InputError | None = None
    fitting: list[Mapping[str, float]] = []
    for figures in _uniform_figures(problem, space):
        if isinstance(figures, InputError):
            reason = figures
        else:
            fitting.append(figures)
    if not fitting:
        assert reason is not None
        raise reason
    for name in problem.constraints:
        # Of every uniform design; of mixed ones none is beyond all of them, but for the budget that they leave others.
        if all(name in problem.broken(figures) for figures in fitting):
            nearest = min(fitting, key=lambda figures: problem.broken(figures)[name])
            excess = problem.broken(nearest)[name]
            raise InputError(
                f"constraint {name!r} of {problem.constraints[name]:,.6g} {figure_of(name).unit} cannot be met: the "
                f"nearest uniform design has {nearest[name]:,.6g}, {100 * excess:.3g} % "
                f"{'too little' if figure_of(name).maximize else 'too much'}; relax it, or give a larger platform, "
                "other rows or narrower formats"
            )


def _uniform_figures(problem: Problem, space: SearchSpace) -> Any:
    """Yield figures of every family's uniform designs, or why there are none."""
    for family in space.config.families:
        for rows in space.config.rows if family != EMULATED else (None,):
            for weights in space.config.choices(family, "weights"):
                choice = space.uniform(family, "weight", weights)
                try:
                    yield problem.plan(space.design(space.all_parameters(family, rows, None, choice))).figures
                except InputError as error:
                    yield error


def _nearest_miss(trials: Sequence[TrialRecord]) -> str:
    """Return why the trial that came nearest to its bounds is infeasible."""
    refused = [record for record in trials if record.state == "infeasible"]
    if not refused:
        return "none has finished"
    return min(refused, key=lambda record: sum(record.violations.values())).reason


def _strategy(problem: Problem, space: SearchSpace, config: SearchConfig, knowledge: Knowledge) -> Strategy:
    return Strategy(config.strategy, config.seed, problem, space, knowledge, config.plain)


def versions() -> dict[str, str]:
    """Return the versions that numbers may depend on beside the fingerprint; a study says them, none is refused."""
    return {"mxhw": mxhw.__version__, "optuna": optuna.__version__, "torch": torch.__version__}


def fingerprint(problem: Problem, space: SearchSpace, config: SearchConfig) -> dict[str, Any]:
    """Return everything that a study's numbers depend on."""
    return {
        "model": problem.graph.signature.model,
        "weights": fingerprint_of_model(problem.graph),
        "text": fingerprint_of_tensor(problem.evaluator.windows),
        "space": space.config.to_json(),
        "platform": problem.platform.name,
        "budget": {name: quantity.value for name, quantity in problem.platform.budget.items()},
        "sequence": problem.sequence,
        "decode": problem.decode,
        "objectives": list(problem.objectives),
        "constraints": dict(problem.constraints),
        "strategy": config.strategy,
        "early_stop": config.early_stop,
        "seed": config.seed,
        **{f"format {name}": fingerprint_of_format(name) for name in space.config.formats()},
    }
