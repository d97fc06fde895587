"""When things happen: series of events that wait for each other, solved for their earliest and latest times.

A series is all transfers of one port, or all moves of one register: event ``k`` of it happens at a clock cycle. What it
waits for is an event of the same or of another series, a number of cycles ago: a system of (max, +) equations, whose
least solution is what hardware does that never waits without need. Series are arrays; the recurrence inside a series is
a running maximum; waits that lead backward (a FIFO is full) are met by repeating until nothing changes.

Source: Baccelli, Cohen, Olsder, Quadrat, Synchronization and Linearity (1992), section 2.5: timed event graphs.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import networkx as nx
import numpy as np
from numpy.typing import NDArray

__all__ = ["DeadlockError", "Events", "Gate", "Hold", "IntArray", "LateError", "Moving", "Times", "Wait", "spread"]

IntArray = NDArray[np.int64]
Times = list[IntArray]


class DeadlockError(RuntimeError):
    """Some events can never happen; ``stuck`` has the series that stop early and how far each comes."""

    def __init__(self, stuck: Mapping[str, tuple[int, int]]) -> None:
        self.stuck = dict(stuck)
        said = ", ".join(f"{name} after {done} of {count}" for name, (done, count) in self.stuck.items())
        super().__init__(f"deadlock: {said}")


class LateError(RuntimeError):
    """An event happens later than was asked for, or never."""


@dataclass(frozen=True, eq=False)
class Wait:
    """``target[at] >= cause[of] + delay``; ``of`` is as long as ``at``, and does not fall."""

    cause: int
    delay: int
    at: slice
    of: slice | IntArray


@dataclass(frozen=True, eq=False)
class Gate:
    """A pipeline whose registers all stand still while what is to leave waits, bubbles between them, too.

    Attributes
    ----------
    enters, leaves : series. Nothing enters while the pipeline stands.
    latency : cycles from entering to leaving in which it moves.
    of : the event that each one that leaves has entered as [leaves].
    """

    enters: int
    leaves: int
    latency: int
    of: IntArray


@dataclass(frozen=True, eq=False)
class Moving:
    """``target[k]`` follows ``cause[of[k]]`` after ``delay`` cycles, in the first ``moves`` of which a gate moves."""

    gate: int
    target: int
    cause: int
    of: IntArray
    moves: int
    delay: int


class Hold(Protocol):
    """What holds up the events of a series from outside, as a bench does that pauses at random."""

    def begin(self) -> Callable[[int, int], int]:
        """Return what is asked once for every event, in order, when it happens.

        It is told the first cycle after the event before (0 for the first one), and the cycle from which on the event
        could happen.
        """


@dataclass(eq=False)
class Events:
    """Series of events, and what they wait for.

    Attributes
    ----------
    names, counts : of every series.
    patience : passes over all series before it is asked whether the system can finish at all.
    """

    names: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    patience: int = 60
    paces: list[IntArray] = field(default_factory=list)  # cycle of each event if it waits for the one before only
    waits: list[list[Wait]] = field(default_factory=list)
    _forward: list[tuple[int, int]] = field(default_factory=list)
    branches: dict[int, set[int]] = field(default_factory=dict)
    gates: list[Gate] = field(default_factory=list)
    moving: list[Moving] = field(default_factory=list)
    holds: dict[int, Hold] = field(default_factory=dict)

    def copy(self) -> "Events":
        """Return a system of its own with the same series, to which more can be added."""
        return replace(
            self,
            names=list(self.names),
            counts=list(self.counts),
            paces=list(self.paces),
            waits=[list(waits) for waits in self.waits],
            _forward=list(self._forward),
            branches={series: set(others) for series, others in self.branches.items()},
            gates=list(self.gates),
            moving=list(self.moving),
            holds=dict(self.holds),
        )

    def hold(self, series: int, hold: Hold) -> None:
        """Say what holds a series up from outside; like :meth:`gate` it is met by :func:`.walk.exact_times` only."""
        assert series not in self.holds, f"{self.names[series]} is held up already"
        self.holds[series] = hold

    def series(self, name: str, count: int, pace: int = 1) -> int:
        """Add ``count`` events, at least ``pace`` cycles apart; return their number."""
        self.names.append(name)
        self.counts.append(int(count))
        self.paces.append(np.arange(count, dtype=np.int64) * pace)
        self.waits.append([])
        return len(self.names) - 1

    def gaps(self, series: int, gaps: IntArray) -> None:
        """Let event k follow event k - 1 after at least ``gaps[k]`` cycles (``gaps[0]`` is not read)."""
        self.paces[series] = np.concatenate([[0], np.cumsum(gaps[1:])]).astype(np.int64)

    def after(self, target: int, cause: int, delay: int, *, lag: int = 0, of: Any = None, back: bool = False) -> None:
        """Let event k of ``target`` follow event ``of[k]``, or ``k - lag``, of ``cause`` after ``delay`` cycles.

        ``of`` does not fall; where it, or ``k - lag``, is negative there is nothing to wait for. ``back`` marks waits
        for room: they are what closes cycles.
        """
        assert target != cause, "a series waits for itself by its pace only"
        count, available = self.counts[target], self.counts[cause]
        if of is None:
            first, last = max(0, lag), min(count, available + lag)
            if last > first:
                wait = Wait(cause, delay, slice(first, last), slice(first - lag, last - lag))
                self.waits[target].append(wait)
        else:
            index = np.asarray(of, dtype=np.int64)
            assert len(index) == count and (not count or index[-1] < available), "an event for every event"
            first = int(np.searchsorted(index, 0))
            if first < count:
                self.waits[target].append(Wait(cause, delay, slice(first, count), index[first:]))
        if not back:
            self._forward.append((cause, target))

    def gate(self, enters: int, leaves: int, latency: int, of: Any = None) -> int:
        """Say that two series are the ends of a pipeline that stands as a whole; return its number.

        It adds no wait: what is told here is met by :func:`.walk.exact_times` only.
        """
        entered = np.arange(self.counts[leaves]) if of is None else np.asarray(of, dtype=np.int64)
        self.gates.append(Gate(enters, leaves, latency, entered))
        return len(self.gates) - 1

    def moves(
        self, gate: int, target: int, cause: int, delay: int, *, moves: int | None = None, lag: int = 0, of: Any = None
    ) -> None:
        """Say that in the first ``moves`` cycles of a wait (all by default) a gate moves; it adds no wait."""
        index = np.arange(self.counts[target]) - lag if of is None else np.asarray(of, dtype=np.int64)
        index = np.minimum(index, self.counts[cause] - 1)
        self.moving.append(Moving(gate, target, cause, index, delay if moves is None else moves, delay))

    def branch(self, series: int, name: str) -> int:
        """Add one of several receivers of a forked series, which may take an event before the others do.

        All that the series waits for must be known by now; for its other receivers a receiver does not wait.
        """
        others = self.branches.setdefault(series, set())
        taken = self.series(name, self.counts[series])
        self.paces[taken] = self.paces[series]
        self.waits[taken] = [wait for wait in self.waits[series] if wait.cause not in others]
        self._forward += [(c, taken) for c, target in self._forward if target == series and c not in others]
        self.after(series, taken, 0)
        self.after(taken, series, 1, lag=1, back=True)
        others.add(taken)
        return taken

    def earliest(self, fixed: Mapping[int, IntArray] | None = None, *, end: int | None = None) -> Times:
        """Return the first cycle of every event; those of series in ``fixed`` are given, and not checked.

        Pipelines are taken to squeeze their bubbles out while they stand; :func:`.walk.exact_times` knows better.

        Raises
        ------
        DeadlockError
            If some events cannot happen.
        LateError
            If an event does not happen up to cycle ``end``; this is found sooner than all times are.
        """
        fixed = fixed or {}
        times = [fixed[i] if i in fixed else pace.copy() for i, pace in enumerate(self.paces)]
        order = self._order()
        readers: list[set[int]] = [set() for _ in self.names]
        for target, waits in enumerate(self.waits):
            for wait in waits:
                readers[wait.cause].add(target)
        stale = set(range(len(times))) - set(fixed)
        passes = 0
        while stale:
            if passes == self.patience:
                self._check_progress()
            # Waits for room lead against the order, so that every second pass goes that way.
            for series in order if passes % 2 == 0 else reversed(order):
                if series in stale:
                    stale.discard(series)
                    found = self._solve(series, times)
                    if end is not None and len(found) and found[-1] > end:
                        raise LateError(f"{self.names[series]} is later than cycle {end}")
                    if not np.array_equal(found, times[series]):
                        times[series] = found
                        stale |= readers[series] - set(fixed)
            passes += 1
        return times

    def latest(self, deadlines: Mapping[int, IntArray]) -> Times:
        """Return the last cycle of every event with which the series in ``deadlines`` still meet theirs.

        Series that nothing with a deadline waits for get the largest of all deadlines.
        """
        mirror, end = self._mirrored(), max(int(times.max(initial=0)) for times in deadlines.values())
        for series, times in deadlines.items():
            start = mirror.series(f"{self.names[series]} due", len(times), 0)
            # A series of given times: what the end comes after it.
            mirror.paces[start] = end - times[::-1]
            mirror.after(series, start, 0)
        return [end - times[::-1] for times in mirror.earliest()[: len(self.names)]]

    def progress(self) -> IntArray:
        """Return how many events of each series can happen, whatever the delays are."""
        done, order = [0] * len(self.names), self._order()
        while True:
            reached = [self._reach(series, done, lambda wait: wait.delay > 0) for series in range(len(done))]
            # Events that wait for each other without delay happen together: what one may do, the others let it.
            falling = True
            while falling:
                falling = False
                for series in order:
                    possible = min(reached[series], self._reach(series, reached, lambda wait: wait.delay <= 0))
                    falling |= possible < reached[series]
                    reached[series] = possible
            if reached == done:
                return np.asarray(done, dtype=np.int64)
            done = reached

    def _solve(self, series: int, times: Times) -> IntArray:
        """Return the times of one series from those of all."""
        pace = self.paces[series]
        found = times[series].copy()
        for wait in self.waits[series]:
            np.maximum(found[wait.at], times[wait.cause][wait.of] + wait.delay, out=found[wait.at])
        found -= pace
        np.maximum.accumulate(found, out=found)
        found += pace
        return found

    def _reach(self, series: int, done: list[int], counts: Callable[[Wait], bool]) -> int:
        """Return how many events of a series can happen once ``done`` of all have, by those waits that count."""
        reach = self.counts[series]
        for wait in filter(counts, self.waits[series]):
            if isinstance(wait.of, slice):
                possible = wait.at.start + max(0, done[wait.cause] - wait.of.start)
            else:
                possible = wait.at.start + int(np.searchsorted(wait.of, done[wait.cause]))
            if possible < wait.at.stop:
                reach = min(reach, possible)
        return reach

    def _check_progress(self) -> None:
        done = self.progress()
        stuck = {
            name: (int(reached), count)
            for name, reached, count in zip(self.names, done, self.counts, strict=True)
            if reached < count
        }
        if stuck:
            raise DeadlockError(stuck)

    def _order(self) -> list[int]:
        """Series so that causes come first, except for waits for room."""
        graph: Any = nx.DiGraph()
        graph.add_nodes_from(range(len(self.names)))
        graph.add_edges_from(self._forward)
        return list(nx.lexicographical_topological_sort(graph))

    def _mirrored(self) -> "Events":
        """Return the system with time and all series reversed: its earliest times are the latest ones of this."""
        mirror = Events(list(self.names), list(self.counts), self.patience)
        for pace in self.paces:
            mirror.paces.append((pace[-1] - pace[::-1]) if len(pace) else pace)
            mirror.waits.append([])
        forward = set(self._forward)
        for target, waits in enumerate(self.waits):
            for wait in waits:
                last, ends = self.counts[wait.cause] - 1, self.counts[target] - 1
                of = np.arange(wait.of.start, wait.of.stop) if isinstance(wait.of, slice) else wait.of
                # Of the events that wait for the same one, the first is the strictest.
                causes, first = np.unique(of, return_index=True)
                index = np.full(last + 1, -1, dtype=np.int64)
                index[last - causes] = ends - (wait.at.start + first)
                index = np.maximum.accumulate(index)
                mirror.after(wait.cause, target, wait.delay, of=index, back=(wait.cause, target) not in forward)
        return mirror


def spread(starts: Iterable[int], counts: Iterable[int]) -> IntArray:
    """Return ``starts`` repeated ``counts`` times each."""
    return np.repeat(np.asarray(starts, dtype=np.int64), np.asarray(counts, dtype=np.int64))
