"""Fit the prices of features to measured points: `python -m mxhw.synthesis.fit`, and the end of every `table` run.

Non-negative least squares on relative errors, a group of units and a resource at a time: what is built costs
something, and ten percent of a small unit count as much as those of a large one. A feature that is no part of any
measured point of its group has no price. Held-out points take no part; the largest error over them is stored beside
that of the fit.
"""

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.optimize import nnls

from mxhw.hardware.sizes.features import FABRICS, Fabric, Features, features_of
from mxhw.synthesis.grid import Point, all_points
from mxhw.synthesis.points import SizeFile

__all__ = ["fit_file", "fit_group", "fit_library", "main"]

_DIGITS = 5
_NOTHING = 1e-9  # a price that only rounding makes


def fit_library(library: str, measured: Mapping[str, Any]) -> dict[str, Any]:
    """Return the prices of a library or family: group → resource → {"prices", "fitted", "held_out"}."""
    fabric = FABRICS.get(library, Fabric())
    groups: dict[str, list[tuple[Point, Features]]] = {}
    for point in all_points():
        if point.label in measured:
            features = features_of(point.unit, fabric)
            assert features is not None, f"{point.label} has features"
            groups.setdefault(features.group, []).append((point, features))
    resources = ("area", "ff") if fabric.dsp is None else ("lut", "ff", "dsp")
    return {
        group: {name: fit_group(points, name, measured) for name in resources} | {"range": _ranges(points)}
        for group, points in groups.items()
    }


def _ranges(points: list[tuple[Point, Features]]) -> dict[str, list[float]]:
    """Return the least and the most of each feature among the points of a fit."""
    fitted = [features.of_resource("area") for point, features in points if not point.held_out]
    names = sorted({name for amounts in fitted for name in amounts})
    seen = {name: [float(amounts.get(name, 0.0)) for amounts in fitted] for name in names}
    return {name: [min(amounts), max(amounts)] for name, amounts in seen.items()}


def fit_group(points: list[tuple[Point, Features]], resource: str, measured: Mapping[str, Any]) -> dict[str, Any]:
    """Fit one resource of a group; errors are relative to what was measured."""
    amounts = [features.of_resource(resource) for _, features in points]
    sizes = np.array([float(measured[point.label][resource]) for point, _ in points])
    fits = np.array([not point.held_out for point, _ in points])
    names = sorted({name for each, fitted in zip(amounts, fits, strict=True) for name in each if fitted and each[name]})
    matrix = np.array([[float(each.get(name, 0.0)) for name in names] for each in amounts]).reshape(len(points), -1)
    weights = 1 / np.maximum(sizes, 1.0)
    prices = np.zeros(len(names))
    if names and fits.any():
        scaled = matrix[fits] * weights[fits, None]
        norms = np.linalg.norm(scaled, axis=0)
        prices = nnls(scaled / norms, sizes[fits] * weights[fits])[0] / norms
    errors = (matrix @ prices - sizes) * weights if names else -np.minimum(sizes, 1.0)

    def largest(chosen: Any) -> float:
        return round(float(np.abs(errors[chosen]).max()), 4) if chosen.any() else 0.0

    kept = {name: float(f"{price:.{_DIGITS}g}") for name, price in zip(names, prices, strict=True) if price > _NOTHING}
    return {"prices": kept, "fitted": largest(fits), "held_out": largest(~fits)}


def fit_file(table: SizeFile) -> None:
    """Fit all libraries of a file."""
    for name, part in table.content["libraries"].items():
        part["groups"] = fit_library(name, part["measured"])


def main() -> int:
    """Fit, and write the file."""
    table = SizeFile()
    fit_file(table)
    table.write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
