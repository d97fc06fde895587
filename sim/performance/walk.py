"""Exact times of a system of events, one event after the other.

A pipeline whose registers share one clock enable keeps its bubbles while it stands: what entered behind a bubble then
leaves later than if it had moved up. How much later depends on when both entered, so that this is no (max, +) equation,
and the times of :meth:`.events.Events.earliest`, which lacks it, are a lower bound. But what happens never depends on
what comes after it. Here an event's time is computed once those of all that it waits for are known: its series goes on
until one is missing, and is tried again when that one's series has come so far. Events that wait for each other, even
without delay, never happen here.

When a pipeline stands is known from what has left it, and from what is to leave next, as long as that is known to have
come to its end: :class:`_Pipeline`.
"""

from bisect import bisect_right
from dataclasses import dataclass, field

import numpy as np

from mxhw.sim.performance.events import DeadlockError, Events, Gate, Times, Wait

__all__ = ["exact_times"]

_NEVER = 1 << 62

# Cause, its times, delay; events k of the target that wait, from and up to; the number k - shift, or listed, of the
# event that each of them waits for.
_Cause = tuple[int, list[int], int, int, int, int, list[int] | None]
# Pipeline, cause, the event of it that each event of the target waits for, times that it moves, cycles after these.
_Move = tuple["_Pipeline", int, list[int], int, int]


def exact_times(events: Events) -> Times:
    """Return the time of every event; raises :class:`~.events.DeadlockError` if some cannot happen."""
    walk = _Walk(events)
    walk.run()
    times = walk.times
    stuck = {
        name: (len(found), count)
        for name, count, found in zip(events.names, events.counts, times, strict=True)
        if len(found) < count
    }
    if stuck:
        raise DeadlockError(stuck)
    return [np.asarray(found, dtype=np.int64) for found in times]


@dataclass(eq=False)
class _Pipeline:
    """A pipeline as far as it is known; it stands from ``begins`` up to, not including, ``ends``.

    Attributes
    ----------
    stood : cycles that it stood before the first that left, before the second, …
    left : how many had left when what leaves next entered.
    """

    gate: Gate
    enters: list[int]
    leaves: list[int]
    of: list[int]
    stood: list[int] = field(default_factory=lambda: [0])
    begins: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    left: int = 0

    def arrives(self) -> int:
        """Return when what leaves next comes to the end; never, if it is not known to have entered."""
        number = len(self.stood) - 1
        if number == len(self.of) or self.of[number] >= len(self.enters):
            return _NEVER
        entered, leaves, left = self.enters[self.of[number]], self.leaves, self.left
        while left < number and leaves[left] <= entered:
            left += 1
        self.left = left
        return entered + self.gate.latency + self.stood[number] - self.stood[left]

    def leave(self, arrived: int, time: int) -> None:
        """Note that what came to the end at a cycle leaves at another."""
        self.stood.append(self.stood[-1] + time - arrived)
        if time > arrived:
            self.begins.append(arrived)
            self.ends.append(time)

    def moves_at(self, cause: int) -> int:
        """Return the first cycle from ``cause`` on in which it moves."""
        number = bisect_right(self.ends, cause)
        return self.ends[number] if number < len(self.ends) and self.begins[number] <= cause else cause

    def moved(self, cause: int, moves: int) -> int:
        """Return the cycle in which it moves for the ``moves``-th time after ``cause``."""
        begins, ends = self.begins, self.ends
        number = bisect_right(ends, cause)
        if number < len(ends) and begins[number] <= cause:
            cause = ends[number] - 1
            number += 1
        time = cause + moves
        while number < len(ends) and begins[number] <= time:
            time += ends[number] - begins[number]
            number += 1
        return time


class _Walk:
    """See the module.

    Attributes
    ----------
    times : of every series, as far as they are known.
    """

    def __init__(self, events: Events) -> None:
        self.times: list[list[int]] = [[] for _ in events.names]
        self._counts = events.counts
        self._gaps = [np.diff(pace, prepend=0).tolist() for pace in events.paces]
        self._causes = [[self._cause(wait) for wait in waits] for waits in events.waits]
        self._pipelines = [
            _Pipeline(gate, self.times[gate.enters], self.times[gate.leaves], gate.of.tolist()) for gate in events.gates
        ]
        self._moving: list[list[_Move]] = [[] for _ in events.names]
        for each in events.moving:
            move = self._pipelines[each.gate], each.cause, each.of.tolist(), each.moves, each.delay - each.moves
            self._moving[each.target].append(move)
        self._into = {pipeline.gate.enters: pipeline for pipeline in self._pipelines}
        self._out_of = {pipeline.gate.leaves: pipeline for pipeline in self._pipelines}
        # A receiver of a forked series may take what has come to the end before it leaves.
        for series, branches in events.branches.items():
            if series in self._out_of:
                self._out_of |= dict.fromkeys(branches, self._out_of[series])
        self._holds = {series: hold.begin() for series, hold in events.holds.items()}
        self._needs = [0] * len(events.names)  # the event that a series waits for, of the one in whose set it is
        self._waiting: list[set[int]] = [set() for _ in events.names]

    def run(self) -> None:
        """Go on with every series until none can."""
        gated = {*self._into, *self._out_of, *self._holds}
        gated |= {series for series, moves in enumerate(self._moving) if moves}
        steps = [self._go_on_gated if series in gated else self._go_on for series in range(len(self.times))]
        # The last one first: so a series comes as far as it can before others look at it.
        todo = list(range(len(self.times)))
        while todo:
            series = todo.pop()
            found, waiting = self.times[series], self._waiting[series]
            before = len(found)
            missing = steps[series](series)
            if missing is not None:
                cause, self._needs[series] = missing
                self._waiting[cause].add(series)
            if waiting and len(found) > before:
                awake = [other for other in waiting if self._needs[other] < len(found)]
                waiting.difference_update(awake)
                todo += awake

    def _cause(self, wait: Wait) -> _Cause:
        first, last = wait.at.start, wait.at.stop
        times = self.times[wait.cause]
        if isinstance(wait.of, slice):
            return wait.cause, times, wait.delay, first, last, first - wait.of.start, None
        return wait.cause, times, wait.delay, first, last, first, wait.of.tolist()

    def _go_on(self, series: int) -> tuple[int, int] | None:
        """Add the times of events until there are all, or the event that is returned is missing."""
        found, gaps, causes = self.times[series], self._gaps[series], self._causes[series]
        time = found[-1] if found else 0
        for number in range(len(found), self._counts[series]):
            time += gaps[number]
            for cause, times, delay, first, last, shift, of in causes:
                if first <= number < last:
                    at = number - shift if of is None else of[number - shift]
                    if at >= len(times):
                        return cause, at
                    if times[at] + delay > time:
                        time = times[at] + delay
            found.append(time)
        return None

    def _go_on_gated(self, series: int) -> tuple[int, int] | None:
        """Do so where pipelines that stand, or the world outside, have a say."""
        found, gaps, causes = self.times[series], self._gaps[series], self._causes[series]
        into, out_of, moving = self._into.get(series), self._out_of.get(series), self._moving[series]
        hold = self._holds.get(series)
        time = found[-1] if found else 0
        for number in range(len(found), self._counts[series]):
            time += gaps[number]
            for cause, times, delay, first, last, shift, of in causes:
                if first <= number < last:
                    at = number - shift if of is None else of[number - shift]
                    if at >= len(times):
                        return cause, at
                    if times[at] + delay > time:
                        time = times[at] + delay
            for pipeline, cause, of, moves, more in moving:
                if of[number] >= 0:
                    moved = pipeline.moved(self.times[cause][of[number]], moves)
                    if pipeline.arrives() <= moved:
                        return pipeline.gate.leaves, len(pipeline.leaves)
                    time = max(time, moved + more)
            if into is not None:
                time = into.moves_at(time)
                if into.arrives() <= time:
                    return into.gate.leaves, len(into.leaves)
            if out_of is not None:
                arrived = out_of.arrives()
                time = max(time, arrived)
            if hold is not None:
                time = hold(found[-1] + 1 if found else 0, time)
            if out_of is not None and out_of.gate.leaves == series:
                out_of.leave(arrived, time)
            found.append(time)
        return None
