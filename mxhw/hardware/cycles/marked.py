"""Marked graphs: events that wait for each other a number of cycles, solved for many draws of random waits at once.

A series is the beats of one port, or the moves of one register; event ``k`` of it waits for the one before it, and for
events of other series. The least times are those of a (max, +) linear system: each event happens when the last one of
all that it waits for did, and its delay has passed since. In what order they become known depends on who waits for whom
only, never on delays: so all draws are computed in one walk, a vector of them at each event.

Source: Baccelli, Cohen, Olsder, Quadrat, Synchronization and Linearity (1992), section 2.5: timed event graphs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MarkedGraph", "StuckError", "Times"]

Times = NDArray[np.float64]

# Cause; delay; number of what is drawn beside it, or -1; events from and up to which there is a wait; of each of them
# the event of the cause less its own number, or, one by one, the event, -1 for none.
_Wait = tuple[int, int, int, int, int, int, list[int] | None]


class StuckError(RuntimeError):
    """Some events can never happen."""


@dataclass(eq=False)
class MarkedGraph:
    """Series of events, and what they wait for.

    Attributes
    ----------
    counts : events of each series.
    """

    counts: list[int] = field(default_factory=list)
    _gaps: list[list[int]] = field(default_factory=list)
    _waits: list[list[_Wait]] = field(default_factory=list)
    _paused: dict[int, int] = field(default_factory=dict)  # series → what is drawn beside the gaps between its events

    def series(self, count: int, pace: int = 1) -> int:
        """Add events ``pace`` cycles apart, or more; return the number of the series."""
        return self.paced([0] + [pace] * (count - 1))

    def paced(self, gaps: Sequence[int]) -> int:
        """Add events each of which comes so many cycles after the one before, or later."""
        self.counts.append(len(gaps))
        self._gaps.append(list(gaps))
        self._waits.append([])
        return len(self.counts) - 1

    def after(self, target: int, cause: int, delay: int, *, lag: int = 0, of: Any = None, drawn: int = -1) -> None:
        """Let event k of ``target`` follow event ``of[k]``, or ``k - lag``, of ``cause`` after ``delay`` cycles.

        ``of`` does not fall; where it, or ``k - lag``, is negative there is nothing to wait for. ``drawn``: number of
        the cycles that are added, see :meth:`solve`.
        """
        assert target != cause, "a series waits for itself by its gaps only"
        count, listed = self.counts[target], None
        first, last = max(0, lag), count
        if of is not None:
            index = np.asarray(of, dtype=np.int64)
            assert len(index) == count, "an event for every event"
            first = int(np.searchsorted(index, 0))
            # Who follows one that waits for the same event waits for it, too.
            if drawn < 0:
                index = np.where(np.diff(index, prepend=-1) > 0, index, -1)
            listed = index.tolist()
        if first < last:
            self._waits[target].append((cause, delay, drawn, first, last, lag, listed))

    def pause(self, series: int, drawn: int) -> None:
        """Add drawn cycles to the gap in front of each event of a series; see :meth:`solve`."""
        self._paused[series] = drawn

    def solve(self, drawn: Sequence[Times] = ()) -> list[list[Any]]:
        """Return the times of the events of every series: numbers, or vectors of as many as there are draws.

        ``drawn``: by their number, cycles that are added to waits [events of the target, draws].

        Raises
        ------
        StuckError
            If some events can never happen.
        """
        go_on = _together(drawn, self._paused) if drawn else _alone
        times: list[list[Any]] = [[] for _ in self.counts]
        waits = [[(times[wait[0]], *wait) for wait in waits] for waits in self._waits]
        waiting: list[set[int]] = [set() for _ in times]
        needs = [0] * len(times)
        # The last one first: so a series comes as far as it can before others look at it.
        todo = list(range(len(times)))
        while todo:
            series = todo.pop()
            found = times[series]
            before = len(found)
            missing = go_on(series, found, self._gaps[series], waits[series])
            if missing is not None:
                cause, needs[series] = missing
                waiting[cause].add(series)
            if waiting[series] and len(found) > before:
                awake = [other for other in waiting[series] if needs[other] < len(found)]
                waiting[series].difference_update(awake)
                todo += awake
        known = sum(map(len, times))
        if known < sum(self.counts):
            raise StuckError(f"{sum(self.counts) - known} events of {sum(self.counts)} can never happen")
        return times


_Waits = list[tuple[list[Any], int, int, int, int, int, int, list[int] | None]]


def _alone(series: int, found: list[int], gaps: list[int], waits: _Waits) -> tuple[int, int] | None:
    """Add the times of events until there are all, or the event that is returned is missing."""
    time = found[-1] if found else 0
    for number in range(len(found), len(gaps)):
        time += gaps[number]
        for times, cause, delay, _, first, last, lag, listed in waits:
            if first <= number < last:
                at = number - lag if listed is None else listed[number]
                if at >= len(times):
                    return cause, at
                if at >= 0 and times[at] + delay > time:
                    time = times[at] + delay
        found.append(time)
    return None


def _together(drawn: Sequence[Times], paused: dict[int, int]) -> Any:
    """Return a function that does so for all draws."""
    draws = drawn[0].shape[1]

    def go_on(series: int, found: list[Times], gaps: list[int], waits: _Waits) -> tuple[int, int] | None:
        pauses = drawn[paused[series]] if series in paused else None
        for number in range(len(found), len(gaps)):
            came = []
            for times, cause, delay, chance, first, last, lag, listed in waits:
                if first <= number < last:
                    at = number - lag if listed is None else listed[number]
                    if at >= len(times):
                        return cause, at
                    if at >= 0:
                        came.append((times[at], delay if chance < 0 else drawn[chance][number] + delay))
            time = found[-1] + gaps[number] if found else np.full(draws, float(gaps[number]))
            if pauses is not None:
                time += pauses[number]
            for each, delay in came:
                np.maximum(time, each + delay, out=time)
            found.append(time)
        return None

    return go_on
