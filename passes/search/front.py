"""The Pareto front of any number of values, all to be small, and the volume that it dominates.

The hypervolume is exact, by the WFG algorithm (While, Bradstreet and Barone, A fast way of calculating exact
hypervolumes, IEEE Transactions on Evolutionary Computation 16, 2012): what a point dominates alone is its box less the
volume of the other points, limited to this box. Two values are a sweep.
"""

import math
from collections.abc import Sequence
from typing import TypeVar

from mxhw.errors import InputError

__all__ = ["hypervolume", "hypervolume_curve", "pareto_front"]

_Item = TypeVar("_Item")
_Point = Sequence[float]


def pareto_front(items: Sequence[_Item], values: Sequence[_Point]) -> list[_Item]:
    """Return the items that no other one is at least as good as in all values, by rising last value.

    Of items with equal values the first stays; one with a value that is not a number is left out.

    Raises
    ------
    InputError
        If items have different numbers of values.
    """
    _lengths(values)
    if len(items) != len(values):
        raise InputError(f"a front needs values for each of {len(items)} items, not {len(values)}")
    numbers = [i for i, point in enumerate(values) if not any(math.isnan(value) for value in point)]
    # What beats a point comes before it in this order.
    order = sorted(numbers, key=lambda i: (values[i][-1], *values[i][:-1], i))
    return [items[i] for i in _unbeaten(order, values)]


def _unbeaten(order: Sequence[int], values: Sequence[_Point]) -> list[int]:
    front: list[int] = []
    if order and len(values[order[0]]) <= 2:
        for i in order:
            if not front or values[i][0] < values[front[-1]][0]:
                front.append(i)
        return front
    for i in order:
        if not any(all(a <= b for a, b in zip(values[j], values[i], strict=True)) for j in front):
            front.append(i)
    return front


def hypervolume(values: Sequence[_Point], reference: _Point) -> float:
    """Return the volume between a reference point and the front of `values`.

    Points that are not below the reference in all values add nothing.

    Raises
    ------
    InputError
        If a point and the reference have different numbers of values, or there are none.
    """
    _lengths([reference, *values])
    inside = [tuple(point) for point in values if all(a < b for a, b in zip(point, reference, strict=True))]
    return _volume(pareto_front(inside, inside), reference)


def hypervolume_curve(values: Sequence[_Point], reference: _Point) -> list[float]:
    """Return the hypervolume of the first point, of the first two, and so on: each adds what it dominates alone."""
    _lengths([reference, *values])
    curve: list[float] = []
    front: list[_Point] = []
    total = 0.0
    for point in values:
        if all(a < b for a, b in zip(point, reference, strict=True)) and not any(_covers(p, point) for p in front):
            total += _alone(point, front, reference)
            front = [p for p in front if not _covers(point, p)] + [point]
        curve.append(total)
    return curve


def _volume(front: Sequence[_Point], reference: _Point) -> float:
    """Return the volume of points that are below the reference and do not beat each other, by rising last value."""
    if not front:
        return 0.0
    if len(reference) == 1:
        return reference[0] - front[0][0]
    if len(reference) == 2:
        volume, previous = 0.0, reference[0]
        for first, second in front:
            volume += (previous - first) * (reference[1] - second)
            previous = first
        return volume
    # The points before have the smaller last value, so that limited to a later point's box they all end in its floor.
    return math.fsum(_alone(point, front[:i], reference) for i, point in enumerate(front))


def _alone(point: _Point, others: Sequence[_Point], reference: _Point) -> float:
    """Return the volume that a point dominates and the others do not."""
    box = math.prod(b - a for a, b in zip(point, reference, strict=True))
    limited = [tuple(map(max, point, other)) for other in others]
    if all(p[-1] == point[-1] for p in limited):  # one dimension less: they share the height above the point
        flat = [p[:-1] for p in limited]
        return box - (reference[-1] - point[-1]) * _volume(pareto_front(flat, flat), reference[:-1]) if flat else box
    return box - _volume(pareto_front(limited, limited), reference)


def _covers(a: _Point, b: _Point) -> bool:
    return all(x <= y for x, y in zip(a, b, strict=True))


def _lengths(points: Sequence[_Point]) -> None:
    if len(lengths := {len(point) for point in points}) > 1:
        raise InputError(f"points must have the same number of values, not {', '.join(map(str, sorted(lengths)))}")
    if 0 in lengths:
        raise InputError("a point needs at least one value")
