"""Scores of a design beside those of the float model: on text, and on tasks of lm-eval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from mxhw.errors import InputError
from mxhw.flow.harness import TaskResult, TaskSuite, run_tasks
from mxhw.hardware import Platform
from mxhw.ir import Assignment, Graph
from mxhw.models import LoadedModel, StreamedModel
from mxhw.passes.analysis import (
    Evaluate,
    EvaluateConfig,
    Evaluation,
    Quality,
    QualityEvaluator,
    design_cost,
    ledger,
    streamed_quality,
)
from mxhw.passes.analysis.evaluate import AnyArithmetic
from mxhw.passes.transform import Arithmetic, Quantize, QuantizeConfig, WeightCache
from mxhw.passes.transform.lower import calibrate
from mxhw.progress import Progress

__all__ = [
    "Arithmetics",
    "TaskScores",
    "TextScores",
    "graph_arithmetics",
    "score_streamed",
    "score_tasks",
    "score_text",
]

Arithmetics = Literal["float", "hardware", "both", "integer", "all"]
_FLOAT_MODEL = "float model"
_TITLES: Mapping[AnyArithmetic, str] = {
    "float": "float emulation",
    "hardware": "hardware arithmetic",
    "integer": "integer arithmetic",
}


@dataclass(frozen=True)
class TextScores:
    """A design on one text.

    Attributes
    ----------
    qualities : mapping of str to Quality
        "float model" first, then "float emulation", "hardware arithmetic", "integer arithmetic" or several of them.
    evaluation : Evaluation
        Of the last of them; true bits and cost are the same in either arithmetic.
    coverage : float or None
        Share of the multiply-accumulates that ran in hardware arithmetic; None if that was not asked for.
    saturated : float or None
        Share of the elements of integer streams that reached their limit; None without "integer arithmetic".
    """

    qualities: Mapping[str, Quality]
    evaluation: Evaluation
    coverage: float | None
    saturated: float | None = None

    @property
    def baseline(self) -> float:
        """The perplexity of the float model."""
        return self.qualities[_FLOAT_MODEL].perplexity

    @property
    def predictions(self) -> int:
        """How many tokens were predicted."""
        return self.qualities[_FLOAT_MODEL].tokens

    def to_json(self) -> dict[str, Any]:
        """Return the scores, each with its perplexity's difference and ratio to the float model's, and the cost."""
        hardware = self.evaluation.hardware
        return {
            "scores": {
                name: {
                    **quality.to_json(),
                    "perplexity_difference": quality.perplexity - self.baseline,
                    "perplexity_ratio": quality.perplexity / self.baseline,
                }
                for name, quality in self.qualities.items()
            },
            "hardware_mac_coverage": self.coverage,
            "integer_saturated": self.saturated,
            "hardware": None if hardware is None else hardware.totals(),
        }


@dataclass(frozen=True)
class TaskScores:
    """A design on tasks of lm-eval.

    Attributes
    ----------
    results : mapping of str to (mapping of str to TaskResult)
        By task for the "float model", then for "float emulation", "hardware arithmetic" or both.
    """

    results: Mapping[str, Mapping[str, TaskResult]]

    @property
    def names(self) -> list[str]:
        """What was scored, the float model first."""
        return list(self.results)

    def rows(self) -> Iterator[tuple[str, int, str, dict[str, float]]]:
        """Yield task, documents, metric, and the values by what was scored."""
        for task, result in self.results[_FLOAT_MODEL].items():
            for metric in result.metrics:
                values = {name: found[task].metrics[metric] for name, found in self.results.items()}
                yield task, result.documents, metric, values

    def to_json(self) -> dict[str, Any]:
        """Return the results as a JSON object."""
        return {
            name: {task: result.to_json() for task, result in found.items()} for name, found in self.results.items()
        }


def score_text(
    evaluator: QualityEvaluator,
    assignment: Assignment,
    arithmetic: Arithmetics,
    *,
    calibration: Tensor | None = None,
    platform: Platform | None = None,
    cache: WeightCache | None = None,
) -> TextScores:
    """Score the float graph of `evaluator` and the design on its windows.

    Parameters
    ----------
    arithmetic : "float", "hardware", "both" of these, "integer" or "all"
        How the design computes.
    calibration : int64 [windows, tokens], optional
        Held-in text that integer streams get their exponents from; "integer" and "all" need it.
    platform : Platform, optional
        What cycles, area and energy are counted on.
    cache : WeightCache, optional
        Shared with others that round the same weights.

    Raises
    ------
    InputError
        If the assignment does not fit the graph, or a node has no integers.
    """
    cache = cache if cache is not None else WeightCache()
    ranges = None if calibration is None else calibrate(evaluator.graph, calibration, evaluator.progress)
    qualities, coverage, saturated = {_FLOAT_MODEL: evaluator.reference()}, None, None
    for mode in _text_modes(arithmetic):
        config = EvaluateConfig(assignment=assignment, arithmetic=mode, ranges=ranges, platform=platform)
        found = Evaluate(config, evaluator, cache).evaluation(evaluator.graph)
        coverage = found.quantization.get("mac_coverage", coverage)
        if mode == "integer":
            saturated = found.quantization["saturated"] / found.quantization["elements"]
        qualities[_TITLES[mode]] = found.quality
    return TextScores(qualities, found, coverage, saturated)


def score_streamed(
    model: StreamedModel,
    windows: Tensor,
    assignment: Assignment,
    arithmetic: Arithmetics,
    *,
    batch: int = 1,
    platform: Platform | None = None,
    progress: Progress | None = None,
) -> TextScores:
    """Return what :func:`score_text` returns, with one block of weights in memory at a time."""
    designs = {
        _TITLES[mode]: QuantizeConfig(assignment=assignment, arithmetic=mode) for mode in graph_arithmetics(arithmetic)
    }
    known = model.loaded.bytes_per_token
    found = streamed_quality(model, windows, designs, bytes_per_token=known, batch=batch, progress=progress)
    sequence, last = windows.shape[1], list(designs)[-1]
    evaluation = Evaluation(
        found.qualities[last],
        ledger(model.graph, assignment, sequence=sequence),
        found.reports[last],
        None if platform is None else design_cost(model.graph, assignment, platform, sequence),
    )
    coverage = evaluation.quantization.get("mac_coverage")
    return TextScores({_FLOAT_MODEL: found.reference, **found.qualities}, evaluation, coverage)


def score_tasks(
    loaded: LoadedModel,
    graph: Graph,
    suite: TaskSuite,
    assignment: Assignment,
    arithmetic: Arithmetics,
    *,
    limit: int | None = None,
    context: int | None = None,
    batch: int = 1,
    cache: WeightCache | None = None,
    progress: Progress | None = None,
) -> TaskScores:
    """Score the float graph and the design on a suite of tasks; see :func:`mxhw.flow.harness.run_tasks`."""
    cache = cache if cache is not None else WeightCache()
    graphs = {_FLOAT_MODEL: graph}
    for mode in graph_arithmetics(arithmetic):
        graphs[_TITLES[mode]] = Quantize(QuantizeConfig(assignment=assignment, arithmetic=mode), cache)(graph).graph
    return TaskScores(
        {
            name: run_tasks(suite, loaded, scored, limit=limit, context=context, batch=batch, progress=progress)
            for name, scored in graphs.items()
        }
    )


def graph_arithmetics(arithmetic: Arithmetics) -> tuple[Arithmetic, ...]:
    """Return the arithmetics that a graph is rewritten for."""
    if arithmetic == "integer" or arithmetic == "all":
        raise InputError("integer arithmetic scores a text, with all weights in memory; here: float, hardware or both")
    return ("float", "hardware") if arithmetic == "both" else (arithmetic,)


def _text_modes(arithmetic: Arithmetics) -> tuple[AnyArithmetic, ...]:
    if arithmetic == "integer":
        return ("integer",)
    return ("float", "hardware", "integer") if arithmetic == "all" else graph_arithmetics(arithmetic)
