"""Strategies of search against each other: hypervolume and the best design under a budget, at equal trials and times.

    python bench/search.py [--model demo] [--text FILE] [--trials 100] [--most 400] [--seeds 5] [--windows 2] [--json F]

Every strategy searches the same space on the same text with the same seeds. All begin with nothing but what they are:
Optuna's samplers without designs to start from, allocations (greedy, MILP, hybrid) with one table of sensitivities,
whose measurement is added to the times of each. Early stop is the hybrid's alone. `--most` trials are run of random,
TPE and NSGA-II, `--trials` of the others.

Hypervolume is that of (KL, cost) up to a reference of the worst values among uniform designs, over the whole box from
(0, least cost seen). Numbers are medians over the seeds, and their range.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mxhw.errors import InputError  # noqa: E402
from mxhw.files import write_text  # noqa: E402
from mxhw.flow.config import Config, load_config  # noqa: E402
from mxhw.flow.prepare import Prepared, prepare  # noqa: E402
from mxhw.flow.search import problem_of  # noqa: E402
from mxhw.passes.analysis.sensitivity.measure import measure_sensitivity  # noqa: E402
from mxhw.passes.search import Problem, SearchConfig, hypervolume, search, searched_units  # noqa: E402
from mxhw.passes.search.proposals import uniform_designs  # noqa: E402
from mxhw.progress import SilentProgress  # noqa: E402
from mxhw.report.search import search_report, write_comparison  # noqa: E402
from mxhw.report.search.record import Comparison, Curve, Strategy  # noqa: E402

LONG = ("random", "tpe", "nsga2")
SHORT = ("greedy", "milp", "hybrid")


@dataclass
class Run:
    """One search: of every trial that was evaluated, its losses, and seconds since the start."""

    strategy: str
    seed: int
    losses: list[tuple[float, float] | None]  # None: infeasible or stopped
    seconds: list[float]
    proposing: float  # seconds beside trials
    spent: float  # seconds in all, sensitivities not counted

    def volumes(self, reference: tuple[float, float], best: tuple[float, float]) -> list[float]:
        """Return the hypervolume after each trial, of the box 1."""
        box = (reference[0] - best[0]) * (reference[1] - best[1])
        seen: list[tuple[float, float]] = []
        found = []
        for loss in self.losses:
            if loss is not None:
                seen.append(loss)
            found.append(hypervolume(seen, reference) / box)
        return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--text", help="a text of a model that brings none")
    parser.add_argument("--config", type=Path, default=ROOT / "examples" / "demo.toml")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--most", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--windows", type=int, default=2)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--only", nargs="*", default=[*LONG, *SHORT])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    prepared = prepare(_config(given), SilentProgress(), simulate=False)
    problem = problem_of(prepared)
    started = perf_counter()
    table = measure_sensitivity(problem.graph, problem.evaluator, searched_units(prepared.space), "kl")
    spent = perf_counter() - started
    print(f"{given.model}: {len(searched_units(prepared.space))} units, sensitivities {spent:.1f} s", file=sys.stderr)
    runs = []
    for seed in range(given.seeds):
        for strategy in given.only:
            trials = given.most if strategy in LONG else given.trials
            run = _run(prepared, problem, table, strategy, seed, trials, spent if strategy in SHORT else 0.0)
            runs.append(run)
            print(f"{strategy:8} seed {seed}: {len(run.losses)} trials, {run.seconds[-1]:.1f} s", file=sys.stderr)
    found = _compare(runs, prepared, problem)
    marks = sorted({given.trials // 4, given.trials, given.most})
    print(_table(found, tuple(mark for mark in marks if mark)))
    print(_overhead(runs))
    for path in (given.json, given.plot):
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
    if given.json:
        write_text(given.json, found.model_dump_json(indent=1) + "\n")
    if given.plot:
        objectives = [{"name": f.name, "direction": f.direction, "unit": f.unit} for f in problem.figures]
        report = search_report(
            model=given.model, objectives=objectives, trials=(), front=(), chosen=None, comparison=found.model_dump()
        )
        write_comparison(report, given.plot)
    return 0


def _config(given: argparse.Namespace) -> Config:
    config = load_config(given.config)
    changed = {"search_windows": given.windows, "context": given.context}
    if given.text:
        changed |= dict.fromkeys(("calibration", "search", "test"), given.text) | {"test_windows": 1}
    data = config.data.model_copy(update=changed)
    return config.model_copy(update={"model": given.model, "data": data})


def _run(prepared: Prepared, problem: Problem, table: Any, strategy: str, seed: int, trials: int, spent: float) -> Run:
    settings = SearchConfig(
        trials=trials,
        strategy=strategy,
        seed=seed,
        early_stop=strategy == "hybrid",
        draws=0,
        plain=True,  # type: ignore[arg-type]
    )
    started = perf_counter()
    clock: list[float] = []
    found = search(problem, prepared.space, settings, table=lambda: table, progress=_Clock(clock))
    total = perf_counter() - started
    losses = [problem.losses(r.values)[:2] if r.state == "complete" else None for r in found.trials]
    running = sum(record.outcome.get("seconds", 0.0) for record in found.trials)
    return Run(strategy, seed, losses, [spent + at - started for at in clock[: len(losses)]], total - running, total)


class _Clock(SilentProgress):
    """Notes when trials finish."""

    def __init__(self, times: list[float]) -> None:
        self._times = times

    def task(self, description: str, total: float) -> Any:
        return nullcontext(self)

    def advance(self, steps: float = 1) -> None:
        self._times += [perf_counter()] * int(steps)

    def note(self, text: str) -> None:
        pass


def _compare(runs: list[Run], prepared: Prepared, problem: Problem) -> Comparison:
    """Return the runs as the record that reports show."""
    uniform = list(_uniforms(problem, prepared))
    reference = max(loss for loss, _ in uniform), max(cost for _, cost in uniform)
    cheapest = min(loss[1] for run in runs for loss in run.losses if loss)
    budget = (cheapest + reference[1]) / 2
    strategies = []
    for name in dict.fromkeys(run.strategy for run in runs):
        curves = []
        for run in runs:
            if run.strategy == name:
                volumes = run.volumes(reference, (0.0, cheapest))
                under = [loss[0] for loss in run.losses if loss and loss[1] <= budget]
                numbers = tuple(range(1, len(volumes) + 1))
                best = min(under, default=None)
                curves.append(
                    Curve(
                        seed=run.seed, trials=numbers, seconds=tuple(run.seconds), hypervolume=tuple(volumes), best=best
                    )
                )
        strategies.append(Strategy(name=name, curves=tuple(curves)))
    what, cost = problem.objectives
    return Comparison(strategies=tuple(strategies), best_of=f"{what} with {cost} up to {budget:.4g}")


def _uniforms(problem: Problem, prepared: Prepared) -> Iterator[tuple[float, float]]:
    """Yield losses of the uniform designs that fit."""
    space = prepared.space
    for parameters in uniform_designs(space):
        try:
            planned = problem.plan(space.design(parameters))
        except InputError:
            continue
        loss, cost = problem.losses(problem.values(problem.evaluate(planned).to_json()))
        yield loss, cost


def _overhead(runs: list[Run]) -> str:
    """Return the share of time that goes into proposals and the study, not into trials."""
    said = []
    for name in dict.fromkeys(run.strategy for run in runs):
        shares = [run.proposing / run.spent for run in runs if run.strategy == name]
        said.append(f"{name} {100 * median(shares):.1f} %")
    return "time beside trials: " + ", ".join(said)


def _table(found: Comparison, marks: tuple[int, ...]) -> str:
    """Return medians over the seeds, with their range, at some numbers of trials and at one time for all."""
    ends = [median(curve.seconds[-1] for curve in each.curves) for each in found.strategies]
    time = min(ends)
    head = ["strategy", *(f"after {n} trials" for n in marks), f"after {time:.0f} s", found.best_of, "seconds"]
    rows = [head, ["---"] * len(head)]
    for each, end in zip(found.strategies, ends, strict=True):
        cells = [each.name]
        for mark in marks:
            cells.append(_spread([c.hypervolume[mark - 1] for c in each.curves if len(c.hypervolume) >= mark]))
        cells.append(_spread([_at(curve, time) for curve in each.curves]))
        cells.append(_spread([curve.best for curve in each.curves if curve.best is not None]))
        rows.append([*cells, f"{end:.0f}"])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _at(curve: Curve, seconds: float) -> float:
    return max((v for v, at in zip(curve.hypervolume, curve.seconds, strict=True) if at <= seconds), default=0.0)


def _spread(values: list[float]) -> str:
    return f"{median(values):.4f} ({min(values):.4f} to {max(values):.4f})" if values else "–"


if __name__ == "__main__":
    sys.exit(main())
