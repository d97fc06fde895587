"""The Pareto front of (quality, hardware), both to be small, and the area that it dominates."""

from collections.abc import Sequence
from typing import TypeVar

__all__ = ["hypervolume", "pareto_front"]

_Item = TypeVar("_Item")


def pareto_front(items: Sequence[_Item], values: Sequence[tuple[float, float]]) -> list[_Item]:
    """Return the items that no other one beats in both values, by rising second value.

    Of items with equal values the first stays.
    """
    order = sorted(range(len(items)), key=lambda i: (values[i][1], values[i][0], i))
    front: list[_Item] = []
    best = float("inf")
    for index in order:
        if values[index][0] < best:
            best = values[index][0]
            front.append(items[index])
    return front


def hypervolume(values: Sequence[tuple[float, float]], reference: tuple[float, float]) -> float:
    """Return the area between a reference point and the front of `values`; points beyond the reference add nothing."""
    inside = [point for point in values if point[0] < reference[0] and point[1] < reference[1]]
    volume, previous = 0.0, reference[0]
    for quality, cost in pareto_front(inside, inside):
        volume += (previous - quality) * (reference[1] - cost)
        previous = quality
    return volume
