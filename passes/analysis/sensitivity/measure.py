"""Measuring a table of sensitivities: what is on disk is read, the rest is measured and written as it is found."""

from collections.abc import Iterator, Sequence
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any, Protocol

from mxhw.errors import InputError
from mxhw.ir import Graph
from mxhw.passes.analysis.fingerprints import fingerprint_of_model
from mxhw.passes.analysis.quality import QualityEvaluator
from mxhw.passes.analysis.sensitivity.divergence import divergences
from mxhw.passes.analysis.sensitivity.entry import Entry
from mxhw.passes.analysis.sensitivity.gradients import expansions
from mxhw.passes.analysis.sensitivity.outputs import output_errors, weighted_errors
from mxhw.passes.analysis.sensitivity.store import EntryStore
from mxhw.passes.analysis.sensitivity.table import SensitivityTable, check_metric
from mxhw.passes.analysis.sensitivity.units import Unit, check_units
from mxhw.passes.transform.weights import WeightCache
from mxhw.progress import Progress, SilentProgress

__all__ = ["measure_sensitivity"]


class _Measure(Protocol):
    def __call__(
        self, graph: Graph, evaluator: QualityEvaluator, entries: Sequence[Entry], weights: WeightCache | None
    ) -> Iterator[tuple[Entry, float]]: ...


_MEASURES: dict[str, _Measure] = {
    "mse": output_errors,
    "hessian": weighted_errors,
    "taylor": partial(expansions, order=1),
    "fisher": partial(expansions, order=2),
}


def measure_sensitivity(
    graph: Graph,
    evaluator: QualityEvaluator,
    units: Sequence[Unit],
    metric: str = "kl",
    *,
    cache: Path | None = None,
    weights: WeightCache | None = None,
    progress: Progress | None = None,
) -> SensitivityTable:
    """Return the loss increase of every unit in every one of its candidates, all else in float.

    Entries are kept as they are found: after an interruption the same call goes on, and another set of candidates or
    units measures only what is new. Two processes may do that in one folder at once.

    Parameters
    ----------
    graph : Graph
        The float graph.
    evaluator : QualityEvaluator
        Of the same model; its windows are the text of every metric.
    units : sequence of Unit
    metric : one of :data:`METRICS`
        "kl" measures, the others estimate: :mod:`mxhw.passes.analysis.sensitivity` has their definitions and units.
    cache : Path, optional
        Folder of :class:`EntryStore`.
    weights : WeightCache, optional
        Shared, it keeps every weight in every candidate in memory; without it, what is rounded is dropped after use.

    Raises
    ------
    InputError
        If a unit does not fit the graph or the metric, the evaluator is of another model, a loss is not finite, or the
        folder cannot be written.
    """
    units = tuple(units)
    check_metric(metric)
    check_units(graph, units)
    _check_meaning(graph, units, metric)
    _check_same_model(graph, evaluator)
    entries = [Entry(unit, candidate) for unit in units for candidate in unit.candidates]
    store = EntryStore(graph, evaluator, metric, cache)
    with (progress or SilentProgress()).task(f"sensitivity ({metric})", len(entries)) as task:
        missing = [entry for entry in entries if store.get(entry) is None]
        task.advance(len(entries) - len(missing))
        for entry, loss in _measured(graph, evaluator, missing, metric, weights, store):
            if not isfinite(loss):
                raise InputError(
                    f"sensitivity {metric!r} of unit {entry.unit.name!r} in {entry.candidate!r} is {loss}: its "
                    "range is too small for this unit, or the model itself gives such values; leave the candidate out"
                )
            store.add(entry, loss)
            task.note(f"{entry.unit.name} {entry.candidate}")
            task.advance()
        losses: dict[str, dict[str, float]] = {unit.name: {} for unit in units}
        for entry in entries:
            loss_found = store.get(entry)
            assert loss_found is not None
            losses[entry.unit.name][entry.candidate] = loss_found
    return SensitivityTable(metric, units, losses)


def _measured(
    graph: Graph,
    evaluator: QualityEvaluator,
    entries: list[Entry],
    metric: str,
    weights: WeightCache | None,
    store: EntryStore,
) -> Iterator[tuple[Entry, float]]:
    if not entries:
        return iter(())
    if metric != "kl":
        return _MEASURES[metric](graph, evaluator, entries, weights)

    def wanted(entry: Entry) -> bool:
        store.refresh()
        return store.get(entry) is None

    return divergences(graph, evaluator, entries, weights, wanted)


def _check_meaning(graph: Graph, units: Sequence[Unit], metric: str) -> None:
    sites: dict[str, Any] = dict(graph.sites)
    for unit in units:
        for key in unit.sites:
            if metric == "hessian" and sites[key].operand != "weight":
                raise InputError(
                    f"metric 'hessian' weighs errors of weights by the inputs they meet; unit {unit.name!r} has "
                    f"{key!r}: measure it with mse, kl, taylor or fisher"
                )


def _check_same_model(graph: Graph, evaluator: QualityEvaluator) -> None:
    other = evaluator.graph
    if other is graph:
        return
    mine, its = graph.attributes, other.attributes
    same_tensors = mine.keys() == its.keys() and all(mine[path] is its[path] for path in mine)
    if not same_tensors and fingerprint_of_model(graph) != fingerprint_of_model(other):
        raise InputError(
            f"the evaluator compares with another model than the graph of {graph.signature.model} whose sensitivity "
            "is wanted; make the evaluator of the float graph itself"
        )
