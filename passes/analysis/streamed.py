"""Quality and calibration of models whose weights are read block by block: the memory of two blocks and activations.

Loop order is block-outer: a part of the graph gets its weights, all windows run through it, float and quantized, and
the weights are dropped; every file is read once. A part's weights are quantized when it is loaded, so at most the float
and the rounded weights of one part are in memory. What is computed, and in which order it is summed, is that of
:class:`QualityEvaluator` and :class:`Calibrate`: the results are equal, difference 0.0.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mxhw.ir import Assignment, Graph, Part, SiteKey
from mxhw.ir.weightless import forget_tensors
from mxhw.models import StreamedModel
from mxhw.passes.analysis.calibrate import CalibrateConfig, SiteRecorder, calibrated
from mxhw.passes.analysis.quality import Quality, check_windows, comparison, log_probabilities, quality_of
from mxhw.passes.base import PassResult
from mxhw.passes.transform.quantize import Quantize, QuantizeConfig, mac_coverage
from mxhw.progress import Progress, SilentProgress, Task

__all__ = ["StreamedQualities", "streamed_calibration", "streamed_quality"]

_Values = dict[str, Tensor]  # what is alive between two parts, by node, for one chunk of windows


@dataclass(frozen=True)
class StreamedQualities:
    """What streaming a model once gives.

    Attributes
    ----------
    reference : Quality
        Of the float model.
    qualities : mapping of str to Quality
        Of every design, by the name that it was given.
    reports : mapping of str to mapping
        What the `quantize` pass says of it, over all parts.
    """

    reference: Quality
    qualities: Mapping[str, Quality]
    reports: Mapping[str, Mapping[str, Any]]


def streamed_quality(
    model: StreamedModel,
    windows: Tensor,
    designs: Mapping[str, QuantizeConfig],
    *,
    bytes_per_token: float | None = None,
    batch: int = 1,
    progress: Progress | None = None,
) -> StreamedQualities:
    """Score the float model and designs on `windows` (int64 [windows, tokens]) in one pass over the weights.

    Activations of all windows are in memory between two parts, once for the float model and once for every design:
    windows x tokens x hidden size numbers each, and the RoPE tables.

    Raises
    ------
    InputError
        If a design does not fit the graph, or a checkpoint lacks what a part reads.
    """
    check_windows(windows, batch)
    for config in designs.values():
        config.assignment.check(model.graph)
    run = _Run(model, torch.split(windows, batch), designs)
    shown = progress or SilentProgress()
    with torch.no_grad(), shown.task("stream", len(model.parts) * len(run.chunks) * (1 + len(designs))) as task:
        for part in model.parts[:-1]:
            run.advance(part, task)
        sums = run.finish(model.parts[-1], task)
    return StreamedQualities(
        reference=quality_of(sums[None], windows, bytes_per_token),
        qualities={name: quality_of(sums[name], windows, bytes_per_token) for name in designs},
        reports={name: _merged(run.reports[name], model.graph) for name in designs},
    )


def streamed_calibration(model: StreamedModel, config: CalibrateConfig, progress: Progress | None = None) -> PassResult:
    """Return what :class:`Calibrate` returns; the graph of the result has no weights.

    Raises
    ------
    InputError
        If a site sees a value that is not finite; the message names it.
    """
    first = model.parts[0].inputs[0]
    values: list[_Values] = [{first: window[None]} for window in config.windows]
    found: dict[SiteKey, dict[str, float]] = {}
    shown = progress or SilentProgress()
    with torch.no_grad(), shown.task("calibrate", len(model.parts) * len(values)) as task:
        for part in model.parts:
            with model.weights_of(part) as graph:
                recorder = SiteRecorder(graph.module)
                for index, before in enumerate(values):
                    outputs = recorder.run(*(before[name] for name in part.inputs))
                    values[index] = part.alive(before, outputs)
                    recorder.weights_done = True
                    task.advance()
                found |= recorder.summaries()
    return calibrated(model.graph, config.windows, found)


class _Run:
    """All windows on their way through the parts."""

    def __init__(self, model: StreamedModel, chunks: tuple[Tensor, ...], designs: Mapping[str, QuantizeConfig]) -> None:
        self.model, self.chunks, self.designs = model, chunks, designs
        first = model.parts[0].inputs[0]
        self.float: list[_Values] = [{first: chunk} for chunk in chunks]
        self.quantized: dict[str, list[_Values]] = {name: list(self.float) for name in designs}
        self.reports: dict[str, list[Mapping[str, Any]]] = {name: [] for name in designs}

    def advance(self, part: Part, task: Task) -> None:
        """Run all windows through a part, the float ones first, and forget its weights."""
        with self.model.weights_of(part) as weights:
            self._through(part, weights, self.float, task)
            for name in self.designs:
                with self._quantized(name, weights) as graph:
                    self._through(part, graph, self.quantized[name], task)

    def finish(self, part: Part, task: Task) -> dict[str | None, Tensor]:
        """Run the last part window by window and return the sums of every comparison; None stands for the float model.

        The logits of one chunk are in memory at a time, so for every design the float ones are computed again.
        """
        sums: dict[str | None, Tensor] = {}
        with self.model.weights_of(part) as weights:
            sums[None] = self._compared(part, weights, None, self.float, task)
            for name in self.designs:
                with self._quantized(name, weights) as graph:
                    sums[name] = self._compared(part, weights, graph, self.quantized[name], task)
        return sums

    def _compared(self, part: Part, weights: Graph, graph: Graph | None, values: list[_Values], task: Task) -> Tensor:
        sums = torch.zeros(3, dtype=torch.float64)
        (output,) = part.outputs
        for index, chunk in enumerate(self.chunks):
            reference = log_probabilities(part.run(self.float[index], weights)[output])
            own = reference
            if graph is not None:
                own = log_probabilities(part.run(values[index], graph)[output])
            sums += comparison(reference, own, chunk)
            task.advance()
        return sums

    def _through(self, part: Part, graph: Graph, values: list[_Values], task: Task) -> None:
        for index, before in enumerate(values):
            values[index] = part.run(before, graph)
            task.advance()

    @contextmanager
    def _quantized(self, name: str, weights: Graph) -> Iterator[Graph]:
        """Give a part as a design has it; its rounded weights are dropped at the end of the context."""
        config = self.designs[name]
        own = replace(config, assignment=_restricted(config.assignment, weights))
        result = Quantize(own)(weights)
        self.reports[name].append(result.report)
        try:
            yield result.graph
        finally:
            forget_tensors(result.graph.module)


def _restricted(assignment: Assignment, graph: Graph) -> Assignment:
    """Return the part of an assignment that is about the sites of `graph`."""
    sites = graph.sites.keys()
    formats = {key: name for key, name in assignment.formats.items() if key in sites}
    axes = {key: axis for key, axis in assignment.axes.items() if key in sites}
    return replace(assignment, formats=formats, axes=axes, arrays={})


def _merged(reports: list[Mapping[str, Any]], graph: Graph) -> dict[str, Any]:
    """Return the reports of the parts as one: counts and lists are added, and coverage is that of the whole graph."""
    merged: dict[str, Any] = {}
    for report in reports:
        for key, value in report.items():
            merged[key] = value if isinstance(value, str) or key not in merged else merged[key] + value
    if "mac_coverage" in merged:
        merged["mac_coverage"] = mac_coverage(graph, merged["nodes_in_hardware"])
    return merged
