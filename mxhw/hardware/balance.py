"""Parallelism under a budget: for every step one of its options, so that the slowest, or all, are as quick as possible.

All steps of a design work at the same time on successive tokens, so that the slowest one sets the interval. For a bound
on the interval every step takes its cheapest option within the bound; the smallest bound whose total fits the room is
found by bisection over the intervals that occur: nothing between them exists. With one resource (ASIC area) that is the
optimum. With several (LUTs, DSP blocks, block memories) an option's price is the sum of its shares of the room, or
mostly its share of one of them, whichever ends with the smaller interval.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["OptionTable", "prices", "smallest_interval", "smallest_need", "smallest_sum"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
_NOTHING = 1e-9  # a room that is as good as none
_MINOR = 1e-3  # weight of the other resources where one decides
_HIGHEST = 1e6  # price of the whole room, as a multiple of all cycles
_BISECTIONS = 60
_STEP = 1e3  # by which a price falls as long as everything fits


@dataclass(frozen=True, eq=False)
class OptionTable:
    """What steps may be built as.

    Attributes
    ----------
    intervals : cycles a token [steps, options], infinite where a step has fewer options.
    amounts : resource → what an option takes of it [steps, options].
    """

    intervals: FloatArray
    amounts: Mapping[str, FloatArray]

    @staticmethod
    def of(options: Sequence[Sequence[tuple[float, Mapping[str, float]]]], resources: Sequence[str]) -> "OptionTable":
        """Return the table of (interval, amounts) of every option of every step."""
        columns = [
            (
                np.array([interval for interval, _ in each]),
                {name: np.array([taken.get(name, 0.0) for _, taken in each]) for name in resources},
            )
            for each in options
        ]
        return OptionTable.stacked(columns, resources)

    @staticmethod
    def stacked(
        options: Sequence[tuple[FloatArray, Mapping[str, FloatArray]]], resources: Sequence[str]
    ) -> "OptionTable":
        """Return the table of (intervals, amounts) of every step, each an array of its options."""
        most = max((len(intervals) for intervals, _ in options), default=0)
        intervals = np.full((len(options), most), np.inf)
        amounts = {name: np.zeros((len(options), most)) for name in resources}
        for step, (own, taken) in enumerate(options):
            intervals[step, : len(own)] = own
            for name, array in amounts.items():
                array[step, : len(own)] = taken[name]
        return OptionTable(intervals, amounts)

    def take(self, name: str, choice: IntArray) -> FloatArray:
        """Return what chosen options take of a resource [steps]."""
        return np.take_along_axis(self.amounts[name], choice[:, None], axis=1)[:, 0]

    def interval(self, choice: IntArray) -> float:
        """Return the cycles a token of the slowest of chosen options."""
        return float(np.take_along_axis(self.intervals, choice[:, None], axis=1).max())


def smallest_interval(table: OptionTable, room: Mapping[str, float], *, least: float = 0.0) -> IntArray | None:
    """Return the option of every step [steps]; None if no choice fits the room.

    Parameters
    ----------
    table : OptionTable
    room : resource → amount that there is; resources that are not named are free.
    least : cycles a token that something else takes anyway.
    """
    if min(room.values(), default=0.0) < 0:
        return None
    bounds = np.unique(np.maximum(table.intervals[np.isfinite(table.intervals)], least))
    bounds = bounds[bounds >= table.intervals.min(axis=1).max()]  # below it some step has no option
    found = [choice for price in prices(table, room) if (choice := _cheapest(table, price, room, bounds)) is not None]
    return min(found, key=lambda choice: max(table.interval(choice), least), default=None)


def smallest_sum(table: OptionTable, room: Mapping[str, float]) -> IntArray | None:
    """Return the option of every step [steps] with a small sum of intervals that fits the room; None if none does.

    Where steps wait for each other, as for one token after another, their cycles add up. Every step takes the option
    with the least interval plus its price, which is raised until all fit (Lagrange; the gap to the optimum is less than
    what the next option of one step gains).
    """
    if min(room.values(), default=0.0) < 0:
        return None
    found = [choice for price in prices(table, room) if (choice := _priced(table, price, room)) is not None]
    return min(found, key=lambda choice: _sum(table, choice), default=None)


def _sum(table: OptionTable, choice: IntArray) -> float:
    return float(np.take_along_axis(table.intervals, choice[:, None], axis=1).sum())


def _priced(table: OptionTable, price: FloatArray, room: Mapping[str, float]) -> IntArray | None:
    """Return the choice at the lowest price of a share of the room, in cycles, at which everything fits."""

    def choose(cycles: float) -> IntArray:
        return np.asarray(np.argmin(table.intervals + cycles * price, axis=1), dtype=np.int64)

    def fits(choice: IntArray) -> bool:
        return all(float(table.take(name, choice).sum()) <= amount for name, amount in room.items())

    if fits(choose(0.0)):
        return choose(0.0)
    low, high = 0.0, _HIGHEST * float(table.intervals[np.isfinite(table.intervals)].sum())
    if not fits(choose(high)):
        return None
    for _ in range(_BISECTIONS):
        middle = (low * high) ** 0.5 if low else high / _STEP
        low, high = (low, middle) if fits(choose(middle)) else (middle, high)
    return choose(high)


def smallest_need(table: OptionTable, room: Mapping[str, float]) -> dict[str, float]:
    """Return what the design takes whose options take the smallest shares of the room."""
    choice = _choose(table, next(prices(table, room)), np.inf)
    return {name: float(table.take(name, choice).sum()) for name in room}


def prices(table: OptionTable, room: Mapping[str, float]) -> Iterator[FloatArray]:
    """Yield what an option costs: the sum of its shares of the room; then mostly its share of one resource."""
    shares = {name: table.amounts[name] / max(amount, _NOTHING) for name, amount in room.items()}
    total: FloatArray = sum(shares.values(), np.zeros_like(table.intervals))
    yield total
    used = [share for share in shares.values() if share.any()]
    if len(used) > 1:
        yield from (share + _MINOR * total for share in used)


def _choose(table: OptionTable, price: FloatArray, bound: float) -> IntArray:
    """Return every step's cheapest option within a bound on the interval; of equal ones the slowest."""
    within = np.where(np.isfinite(table.intervals) & (table.intervals <= bound), price, np.inf)
    cheapest = within == within.min(axis=1, keepdims=True)
    return np.asarray(np.argmax(np.where(cheapest, table.intervals, -np.inf), axis=1), dtype=np.int64)


def _cheapest(table: OptionTable, price: FloatArray, room: Mapping[str, float], bounds: FloatArray) -> IntArray | None:
    """Return the choice within the smallest bound that fits."""

    def fits(bound: float) -> bool:
        choice = _choose(table, price, bound)
        return all(float(table.take(name, choice).sum()) <= amount for name, amount in room.items())

    if not len(bounds) or not fits(bounds[-1]):
        return None
    low, high = 0, len(bounds) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(bounds[middle]) else (middle + 1, high)
    return _choose(table, price, float(bounds[high]))
