"""The search: trials of quantize ▸ parallelize ▸ evaluate until a total, kept in a study file that can be continued."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import optuna
from optuna.trial import TrialState

from mxhw.errors import InputError
from mxhw.ir import Graph
from mxhw.passes.analysis.calibrate import outlier_ratios
from mxhw.passes.analysis.sensitivity import sensitivities
from mxhw.passes.base import Pass, PassResult, register_pass
from mxhw.passes.search.choose import Choice, choose
from mxhw.passes.search.front import pareto_front
from mxhw.passes.search.objective import Problem
from mxhw.passes.search.record import (
    INDEX,
    INFEASIBLE,
    OUTCOME,
    SEEDS,
    TrialRecord,
    finished_trials,
    infeasible_trials,
    read_records,
)
from mxhw.passes.search.samplers import SamplerName, make_sampler
from mxhw.passes.search.seeds import seed_designs
from mxhw.passes.search.space import EMULATED, SearchSpace
from mxhw.passes.search.study import fingerprint_of_format, fingerprint_of_graph, fingerprint_of_tensor, open_study
from mxhw.progress import Progress, SilentProgress

__all__ = ["Search", "SearchConfig", "SearchResult", "check_feasible", "search"]


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How to search.

    Attributes
    ----------
    trials : int
        Total, those that the study file already holds included.
    sampler : "tpe", "nsga2" or "random"
    seed : int
    max_perplexity_increase : float
        What the chosen design may lose against the float model, as a ratio.
    """

    trials: int = 40
    sampler: SamplerName = "tpe"
    seed: int = 0
    max_perplexity_increase: float = 0.02

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise InputError(f"trials must be at least 1, not {self.trials}")
        make_sampler(self.sampler, self.seed, 0)


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes
    ----------
    records : list of TrialRecord
        Every evaluated design in order.
    front : list of TrialRecord
        The Pareto front, cheapest first.
    choice : Choice
    infeasible : int
        Trials that the platform was too small for.
    """

    records: list[TrialRecord]
    front: list[TrialRecord]
    choice: Choice
    infeasible: int


def search(
    problem: Problem,
    space: SearchSpace,
    config: SearchConfig,
    *,
    path: Path | None = None,
    sensitivity: Mapping[str, float] | None = None,
    outliers: Mapping[str, float] | None = None,
    progress: Progress | None = None,
) -> SearchResult:
    """Run trials until the study holds `config.trials`, and return what was found.

    Every finished trial is on disk before the next one starts; after an interruption the same call continues.

    Parameters
    ----------
    problem : Problem
    space : SearchSpace
    config : SearchConfig
    path : Path, optional
        The study file; without one the study lives in memory.
    sensitivity : mapping of node to KL, optional
        For mixed designs among the first trials; a resumed study keeps those that it began with.
    outliers : mapping of node to outlier ratio, optional
        Likewise, for mixed formats of attention.
    progress : Progress, optional

    Raises
    ------
    InputError
        If the study file is not one, or of another search, or the platform is too small for every design.
    """
    check_feasible(problem, space)
    study = open_study(path, _fingerprint(problem, space, config))
    seeds = _seeds(study, seed_designs(space, sensitivity, outliers))
    shown = progress or SilentProgress()
    with shown.task("search", config.trials) as task:
        done = len(finished_trials(study))
        task.advance(min(done, config.trials))
        for index in range(done, config.trials):
            _run_trial(study, problem, space, config, seeds, index)
            task.advance()
            task.note(_best(read_records(study)))
    records = read_records(study)
    if not records:
        reasons = [trial.user_attrs[INFEASIBLE] for trial in infeasible_trials(study)]
        raise InputError(f"no trial of the search fits: {reasons[-1]}")
    reference = problem.evaluator.reference().perplexity
    return SearchResult(
        records,
        pareto_front(records, [record.values for record in records]),
        choose(records, reference, config.max_perplexity_increase),
        len(infeasible_trials(study)),
    )


@register_pass
class Search(Pass):
    """Search a space: graph → the same graph with the chosen formats; the report holds the front and the choice.

    Parameters
    ----------
    config : SearchConfig
    problem : Problem
    space : SearchSpace
    path : Path, optional
        The study file.
    """

    name = "search"
    description = "search formats per layer and operand and array shapes: quality against a hardware objective"
    requires = frozenset({"sites"})
    provides = frozenset({"formats"})

    def __init__(
        self,
        config: SearchConfig,
        problem: Problem,
        space: SearchSpace,
        path: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.config, self.problem, self.space = config, problem, space
        self.path, self.progress = path, progress or SilentProgress()

    def __call__(self, graph: Graph) -> PassResult:
        """Search; sensitivities and outliers are read from the graph's statistics. See :func:`search` for errors."""
        found = search(
            self.problem,
            self.space,
            self.config,
            path=self.path,
            sensitivity=sensitivities(graph),
            outliers=outlier_ratios(graph),
            progress=self.progress,
        )
        formats = found.choice.record.assignment.formats
        sites = {key: replace(site, format=formats.get(key, site.format)) for key, site in graph.sites.items()}
        report = {
            "trials": len(found.records),
            "infeasible": found.infeasible,
            "front": [record.to_json() for record in found.front],
            "chosen": found.choice.record.to_json(),
            "reason": found.choice.reason,
        }
        return PassResult(graph.with_sites(sites), report)


def _run_trial(
    study: optuna.Study,
    problem: Problem,
    space: SearchSpace,
    config: SearchConfig,
    seeds: Sequence[Mapping[str, Any]],
    index: int,
) -> None:
    """Ask for a design, evaluate it, tell; a failure of ours marks the trial and is raised."""
    started = perf_counter()
    study.sampler = make_sampler(config.sampler, config.seed, index)
    if index < len(seeds):
        study.enqueue_trial(dict(seeds[index]))
    trial = study.ask()
    try:
        design = space.suggest(trial)
        trial.set_user_attr(INDEX, index)
        try:
            planned = problem.plan(design)
        except InputError as error:
            trial.set_user_attr(INFEASIBLE, str(error))
            study.tell(trial, state=TrialState.FAIL)
            return
        outcome = problem.evaluate(planned).to_json()
        trial.set_user_attr(OUTCOME, {**outcome, "seconds": perf_counter() - started})
        study.tell(trial, problem.values(outcome))
    except BaseException:
        if study.trials[trial.number].state == TrialState.RUNNING:
            study.tell(trial, state=TrialState.FAIL)
        raise


def check_feasible(problem: Problem, space: SearchSpace) -> None:
    """Do nothing if one of the uniform designs fits the platform; otherwise raise what is wrong with the last one.

    Raise, too, if the space has designs without hardware and the objective is of hardware.
    """

    def plan(family: str, weights: str | None = None) -> None:
        parameters = space.parameters(family, min(space.config.rows), weights=weights)
        problem.plan(space.suggest(optuna.trial.FixedTrial(parameters)))

    if EMULATED in space.config.families:
        plan(EMULATED)
    reasons = []
    for family in space.config.families:
        for weights in space.config.weights(family):
            try:
                plan(family, weights)
                return
            except InputError as error:
                reasons.append(error)
    raise reasons[-1]


def _seeds(study: optuna.Study, designs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the designs to try first: those that the study began with, so that a resumed search keeps them."""
    if SEEDS not in study.user_attrs:
        study.set_user_attr(SEEDS, designs)
    return list(study.user_attrs[SEEDS])


def _fingerprint(problem: Problem, space: SearchSpace, config: SearchConfig) -> dict[str, Any]:
    return {
        "model": problem.graph.signature.model,
        "weights": fingerprint_of_graph(problem.graph),
        "text": fingerprint_of_tensor(problem.evaluator.windows),
        "space": space.config.to_json(),
        "platform": problem.platform.name,
        "budget": {name: quantity.value for name, quantity in problem.platform.budget.items()},
        "sequence": problem.sequence,
        "objective": problem.objective,
        "quality": problem.quality,
        "sampler": config.sampler,
        "seed": config.seed,
        **{f"format {name}": fingerprint_of_format(name) for name in space.config.formats()},
    }


def _best(records: Sequence[TrialRecord]) -> str:
    if not records:
        return "no design fits yet"
    best = min(records, key=lambda record: record.values)
    return f"best perplexity {best.perplexity:.4f}"
