"""Parallelism under a budget: for every step one of its options, so that the slowest is as quick as there is room for.

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

__all__ = ["OptionTable", "smallest_interval", "smallest_need"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
_NOTHING = 1e-9  # a room that is as good as none
_MINOR = 1e-3  # weight of the other resources where one decides


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
    found = [choice for price in _prices(table, room) if (choice := _cheapest(table, price, room, bounds)) is not None]
    return min(found, key=lambda choice: max(table.interval(choice), least), default=None)


def smallest_need(table: OptionTable, room: Mapping[str, float]) -> dict[str, float]:
    """Return what the design takes whose options take the smallest shares of the room."""
    choice = _choose(table, next(_prices(table, room)), np.inf)
    return {name: float(table.take(name, choice).sum()) for name in room}


def _prices(table: OptionTable, room: Mapping[str, float]) -> Iterator[FloatArray]:
    """Yield what an option costs: the sum of its shares of the room; then mostly its share of one resource."""
    shares = {name: table.amounts[name] / max(amount, _NOTHING) for name, amount in room.items()}
    total: FloatArray = sum(shares.values(), np.zeros_like(table.intervals))
    yield total
    used = [share for share in shares.values() if share.any()]
    if len(used) > 1:
        yield from (share + _MINOR * total for share in used)


def _choose(table: OptionTable, price: FloatArray, bound: float) -> IntArray:
    """Return every step's cheapest option within a bound on the interval; of equal ones the last, slowest one."""
    within = np.where(np.isfinite(table.intervals) & (table.intervals <= bound), price, np.inf)
    last = within.shape[1] - 1
    return np.asarray(last - np.argmin(within[:, ::-1], axis=1), dtype=np.int64)


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
