"""The options with the smallest interval that fit: :func:`mxhw.hardware.balance.smallest_interval` for steps alike.

The rule is the one that is defined there. It is followed for distinct shapes, and for all prices of the resources side
by side. Whether a choice fits is first asked of counts times amounts; where that is too close to the room to tell it
from a sum over the steps, in whose order numbers are rounded, it is asked of that sum.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mxhw.hardware.balance import OptionTable, prices

__all__ = ["Shapes", "cheapest", "least_need", "quickest"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
_ANY = float(np.finfo(np.float64).max)  # a bound that is none
_CLOSE = 1e-9  # of the room; sums of some 10^4 numbers differ by 10^-12 at most


@dataclass(frozen=True, eq=False)
class Shapes:
    """Distinct shapes of a design.

    Attributes
    ----------
    table : their options, quickest first.
    counts : steps of each [shapes].
    index : the shape of every step [steps].
    """

    table: OptionTable
    counts: IntArray
    index: IntArray

    def need(self, name: str, choice: IntArray) -> float:
        """Return what the steps take of a resource, added step by step."""
        return float(self.table.take(name, choice)[self.index].sum())

    def fits(self, choice: IntArray, room: Mapping[str, float]) -> bool:
        """Return whether a choice fits."""
        return all(self.need(name, choice) <= amount for name, amount in room.items())


def quickest(shapes: Shapes, room: Mapping[str, float]) -> IntArray | None:
    """Return the option of every shape [shapes]; None if no choice fits."""
    if min(room.values(), default=0.0) < 0:
        return None
    intervals = shapes.table.intervals
    bounds = np.unique(intervals[np.isfinite(intervals)])
    bounds = bounds[bounds >= intervals[:, 0].max()]
    if not len(bounds):
        return None
    search = _Search(shapes, room, np.array(list(prices(shapes.table, room))))
    low, high = np.zeros(len(search.cheapest), dtype=np.int64), np.full(len(search.cheapest), len(bounds) - 1)
    possible = search.fit(bounds[high])
    low[~possible] = high[~possible]
    while (low < high).any():
        middle = (low + high) // 2
        fits = search.fit(bounds[middle])
        still = low < high
        high, low = np.where(still & fits, middle, high), np.where(still & ~fits, middle + 1, low)
    found = search.choices(bounds[high])[possible]
    return min(found, key=shapes.table.interval, default=None)


def least_need(shapes: Shapes, room: Mapping[str, float]) -> dict[str, float]:
    """Return what the design takes whose options take the smallest shares of the room."""
    search = _Search(shapes, room, next(prices(shapes.table, room))[None])
    choice = search.choices(np.array([_ANY]))[0]
    return {name: shapes.need(name, choice) for name in room}


def cheapest(shapes: Shapes, room: Mapping[str, float], bound: float) -> IntArray | None:
    """Return of every shape the option within a bound that takes the smallest share of the room; None if one has none.

    ``bound``: cycles a token, finite.
    """
    if shapes.table.intervals[:, 0].max() > bound:
        return None
    search = _Search(shapes, room, next(prices(shapes.table, room))[None])
    return np.asarray(search.choices(np.array([bound]))[0])


class _Search:
    """Choices within bounds, for several prices.

    Attributes
    ----------
    cheapest : of the options up to one, the cheapest, and of equal ones the slowest [prices, shapes, options].
    """

    def __init__(self, shapes: Shapes, room: Mapping[str, float], price: FloatArray) -> None:
        self._shapes, self._room = shapes, room
        self._intervals = shapes.table.intervals
        self._all = np.arange(len(self._intervals))
        self._each = np.arange(len(price))[:, None]
        self._amounts = np.array([shapes.table.amounts[name] for name in room])
        self._limits = np.array(list(room.values()))
        self._slack = np.abs(self._limits) * _CLOSE
        self.cheapest = _running(price, self._intervals)

    def choices(self, bounds: FloatArray) -> IntArray:
        """Return the options within a finite bound a price [prices, shapes]."""
        within = (self._intervals <= bounds[:, None, None]).sum(axis=2)
        return np.asarray(self.cheapest[self._each, self._all, np.maximum(within - 1, 0)])

    def fit(self, bounds: FloatArray) -> NDArray[np.bool_]:
        """Return whether the choice within a bound fits [prices]."""
        choice = self.choices(bounds)
        taken = (self._amounts[:, self._all, choice] @ self._shapes.counts).T  # [prices, resources]
        fits = np.asarray((taken <= self._limits).all(axis=1))
        close = (np.abs(taken - self._limits) <= self._slack).any(axis=1)
        for each in np.flatnonzero(close):
            fits[each] = self._shapes.fits(choice[each], self._room)
        return fits


def _running(price: FloatArray, intervals: FloatArray) -> IntArray:
    """Return the cheapest of the options up to each one; of equal ones the slowest, of those the first."""
    least = np.minimum.accumulate(price, axis=2)[:, :, :-1]
    there, later = np.isfinite(intervals)[:, 1:], price[:, :, 1:]
    found = np.zeros(price.shape, dtype=np.int64)
    if not (there & (later == least)).any():  # as it is nearly always
        found[:, :, 1:] = np.where(there & (later < least), np.arange(1, price.shape[2]), 0)
        return np.asarray(np.maximum.accumulate(found, axis=2))
    best, pace = price[:, :, 0].copy(), np.broadcast_to(intervals[:, 0], price.shape[:2]).copy()
    at = found[:, :, 0].copy()
    for option in range(1, price.shape[2]):
        own, slower = price[:, :, option], intervals[:, option]
        better = np.isfinite(slower) & ((own < best) | ((own == best) & (slower > pace)))
        at = np.where(better, option, at)
        best, pace = np.where(better, own, best), np.where(better, slower, pace)
        found[:, :, option] = at
    return found
