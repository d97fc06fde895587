"""Curves of pictures: the front of a pair of objectives, and median and spread of strategies over their seeds."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from mxhw.passes.search import pareto_front
from mxhw.report.search.record import Curve, SearchReport, Strategy

__all__ = ["Band", "band", "front_of_pair", "value_at"]


@dataclass(frozen=True)
class Band:
    """Hypervolume of a strategy where any of its seeds changes: least, median and largest over the seeds."""

    name: str
    at: tuple[float, ...]
    low: tuple[float, ...]
    median: tuple[float, ...]
    high: tuple[float, ...]


def band(strategy: Strategy, axis: Literal["trials", "seconds"]) -> Band:
    """Return median and range over the seeds; a seed that ended keeps its last value, one without a trial has 0."""
    places = sorted({float(place) for curve in strategy.curves for place in _places(curve, axis)})
    rows: list[tuple[float, float, float, float]] = []
    for place in places:
        values = [value_at(curve, axis, place) for curve in strategy.curves]
        row = (place, min(values), median(values), max(values))
        if not rows or place == places[-1] or row[1:] != rows[-1][1:]:  # curves are steps: only where one changes
            rows.append(row)
    at, low, middle, high = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Band(strategy.name, at, low, middle, high)


def value_at(curve: Curve, axis: Literal["trials", "seconds"], place: float) -> float:
    """Return the hypervolume of one seed after so many trials or seconds; 0 before its first trial."""
    found = bisect_right(_places(curve, axis), place)
    return curve.hypervolume[found - 1] if found else 0.0


def front_of_pair(report: SearchReport, x: int, y: int) -> list[tuple[float, float]]:
    """Return (value of objective x, of objective y) of complete trials that no other beats in both, by rising x."""
    signs = [1.0 if objective.direction == "minimize" else -1.0 for objective in report.objectives]
    values = [report.signed(trial) for trial in report.complete]
    pairs = [(value[y], value[x]) for value in values]
    return sorted((signs[x] * right, signs[y] * left) for left, right in pareto_front(pairs, pairs))


def _places(curve: Curve, axis: Literal["trials", "seconds"]) -> Sequence[float]:
    return curve.trials if axis == "trials" else curve.seconds
