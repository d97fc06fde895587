"""Scores of a design beside those of the float model: on text, and on tasks of lm-eval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

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
from mxhw.passes.transform import Arithmetic, Quantize, QuantizeConfig, WeightCache
from mxhw.progress import Progress

__all__ = ["Arithmetics", "TaskScores", "TextScores", "score_streamed", "score_tasks", "score_text"]

Arithmetics = Literal["float", "hardware", "both"]
_FLOAT_MODEL = "float model"
_TITLES: Mapping[Arithmetic, str] = {"float": "float emulation", "hardware": "hardware arithmetic"}


@dataclass(frozen=True)
class TextScores:
    """A design on one text.

    Attributes
    ----------
    qualities : mapping of str to Quality
        "float model" first, then "float emulation", "hardware arithmetic" or both.
    evaluation : Evaluation
        Of the last of them; true bits and cost are the same in either arithmetic.
    coverage : float or None
        Share of the multiply-accumulates that ran in hardware arithmetic; None if that was not asked for.
    """

    qualities: Mapping[str, Quality]
    evaluation: Evaluation
    coverage: float | None

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
    platform: Platform | None = None,
    cache: WeightCache | None = None,
) -> TextScores:
    """Score the float graph of `evaluator` and the design on its windows.

    Parameters
    ----------
    arithmetic : "float", "hardware" or "both"
        How the design multiplies.
    platform : Platform, optional
        What cycles, area and energy are counted on.
    cache : WeightCache, optional
        Shared with others that round the same weights.

    Raises
    ------
    InputError
        If the assignment does not fit the graph.
    """
    cache = cache if cache is not None else WeightCache()
    qualities, coverage = {_FLOAT_MODEL: evaluator.reference()}, None
    for mode in _modes(arithmetic):
        config = EvaluateConfig(assignment=assignment, arithmetic=mode, platform=platform)
        found = Evaluate(config, evaluator, cache).evaluation(evaluator.graph)
        coverage = found.quantization.get("mac_coverage", coverage)
        qualities[_TITLES[mode]] = found.quality
    return TextScores(qualities, found, coverage)


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
    designs = {_TITLES[mode]: QuantizeConfig(assignment=assignment, arithmetic=mode) for mode in _modes(arithmetic)}
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
    for mode in _modes(arithmetic):
        graphs[_TITLES[mode]] = Quantize(QuantizeConfig(assignment=assignment, arithmetic=mode), cache)(graph).graph
    return TaskScores(
        {
            name: run_tasks(suite, loaded, scored, limit=limit, context=context, batch=batch, progress=progress)
            for name, scored in graphs.items()
        }
    )


def _modes(arithmetic: Arithmetics) -> tuple[Arithmetic, ...]:
    return ("float", "hardware") if arithmetic == "both" else (arithmetic,)
