"""When the beats of a stream pass: for each token a few starts, and for each start the same offsets of all its beats.

Units whose readers never hold them up are a (max, +) linear system: they wait for beats, and wait fixed times. So beat
k of token t passes at ``max over i of starts[i][t] + offsets[i][k]``, where the offsets follow from sizes alone and are
the same for all tokens. A unit that takes a beat a cycle changes the offsets; only where it is not done with a token
when the next one is there, another start is added: that of the token before.

Source: Baccelli, Cohen, Olsder, Quadrat, Synchronization and Linearity (1992), chapter 2 (linear systems over max, +).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "NEVER",
    "QUEUE_LATENCY",
    "Arrivals",
    "Beats",
    "IntArray",
    "Paces",
    "Rows",
    "Start",
    "accept",
    "arrive",
    "chain",
    "fifo_latency",
    "pruned",
    "steady",
    "with_carry",
]

IntArray = NDArray[np.int64]

NEVER = -(1 << 40)
"""An offset of beats that do not wait for a start."""

QUEUE_LATENCY = 2
"""Cycles in which a beat passes an empty queue of memory, or one without limit."""

_KEPT = 64  # sizes of vectors whose paces are kept
_REGISTERS = 2  # beats that a queue of registers holds; a beat passes it in a cycle


class Start:
    """A cycle of each token.

    Attributes
    ----------
    cycles : [tokens].
    """

    def __init__(self, cycles: IntArray) -> None:
        self.cycles = cycles

    @cached_property
    def apart(self) -> int:
        """The least cycles between tokens that follow each other."""
        if len(self.cycles) < 2:
            return -NEVER
        return int((self.cycles[1:] - self.cycles[:-1]).min())


@dataclass(frozen=True, eq=False)
class Beats:
    """Beats of vectors, a cycle or more apart.

    Attributes
    ----------
    starts : of the tokens.
    offsets : cycles [beats], one array a start.
    lanes : elements of a beat.
    """

    starts: tuple[Start, ...]
    offsets: tuple[IntArray, ...]
    lanes: int

    @property
    def last(self) -> IntArray:
        """Cycle of the last beat of each token [tokens]."""
        return self.at(-1)

    def at(self, beat: int) -> IntArray:
        """Return the cycle of a beat of each token [tokens]."""
        found: IntArray = self.starts[0].cycles + self.offsets[0][beat]
        for start, offsets in zip(self.starts[1:], self.offsets[1:], strict=True):
            found = np.maximum(found, start.cycles + offsets[beat])
        return found

    def later(self, cycles: int) -> "Beats":
        """Return the beats so many cycles later."""
        return Beats(self.starts, tuple(each + cycles for each in self.offsets), self.lanes) if cycles else self


@dataclass(frozen=True, eq=False)
class Rows:
    """Beats of rows, a row a head, as long as a token has keys.

    Attributes
    ----------
    first : cycle of the first beat of the first row [tokens].
    period : cycles from a row to the next one [tokens].
    length : beats of a row [tokens].
    pace : cycles from a beat to the next one of its row.
    heads : rows of a token.
    """

    first: IntArray
    period: IntArray
    length: IntArray
    pace: int
    heads: int

    @property
    def last(self) -> IntArray:
        """Cycle of the last beat of each token [tokens]."""
        return self.first + (self.heads - 1) * self.period + (self.length - 1) * self.pace

    def at(self, beat: int) -> IntArray:
        """Return the cycle of the first (0) or the last (-1) beat of each token [tokens]."""
        return self.last if beat == -1 else self.first

    def later(self, cycles: int) -> "Rows":
        """Return the rows so many cycles later."""
        return Rows(self.first + cycles, self.period, self.length, self.pace, self.heads)


@dataclass(frozen=True, eq=False)
class Paces:
    """Cycles that the beats of a port need after each other.

    Attributes
    ----------
    each : of a beat after the one before it [beats]; the first one after the last of the token before.
    elapsed : from a token's first beat to each [beats].
    """

    each: IntArray
    elapsed: IntArray

    @staticmethod
    def of(each: IntArray) -> "Paces":
        """Return those of cycles [beats]."""
        elapsed = np.cumsum(each) - each[0]
        for array in (each, elapsed):
            array.flags.writeable = False
        return Paces(each, elapsed)

    @property
    def gap(self) -> int:
        """Cycles from a token's last beat to the first one of the next token."""
        return int(self.each[0])

    @property
    def own(self) -> int:
        """Cycles from a token's first beat to its last."""
        return int(self.elapsed[-1])

    @property
    def period(self) -> int:
        """Cycles from a token to the next one."""
        return self.own + self.gap


@dataclass(frozen=True, eq=False)
class Arrivals:
    """When the beats of a port could be taken, were there nothing but what comes in front of it.

    Attributes
    ----------
    starts, offsets : as of :class:`Beats`, in beats of the port.
    paces : cycles that a beat needs after the one before it.
    lanes : elements of a beat of the port.
    kept : the offsets keep the paces: several beats of the port never come of one beat of the stream.
    """

    starts: tuple[Start, ...]
    offsets: tuple[IntArray, ...]
    paces: Paces
    lanes: int
    kept: bool = True

    @property
    def beats(self) -> int:
        """Beats of a token."""
        return len(self.paces.each)


def fifo_latency(depth: int | None) -> int:
    """Return the cycles in which a beat passes an empty queue of so many beats; None: one without limit."""
    return QUEUE_LATENCY if depth is None or depth > _REGISTERS else min(depth, 1)


def arrive(stream: Beats, lanes: int, latency: int) -> Arrivals:
    """Return what comes to a port of so many lanes behind a queue and, where lanes differ, a converter.

    A converter is one register of the port's beat. It takes the next beat of the stream in the cycle in which the last
    one that needs the register leaves, so that a beat of the port made of m new beats comes m cycles after the one
    before it.
    """
    starts, count = stream.starts, len(stream.offsets[0])
    if lanes == stream.lanes:
        return Arrivals(starts, stream.later(latency).offsets, steady(count), lanes)
    needed, paces = _converted(count, stream.lanes, lanes)
    # Beats are a cycle or more apart: of those that a beat of the port needs, its last one decides.
    offsets = tuple(each[needed] + (1 + latency) for each in stream.offsets)
    return Arrivals(starts, offsets, paces, lanes, kept=lanes > stream.lanes)


@lru_cache(maxsize=_KEPT)
def steady(beats: int) -> Paces:
    """Return the paces of a beat a cycle."""
    return Paces.of(np.ones(beats, dtype=np.int64))


@lru_cache(maxsize=_KEPT)
def _converted(count: int, given: int, lanes: int) -> tuple[IntArray, Paces]:
    """Return the last of ``count`` beats of ``given`` elements that each one of ``lanes`` needs, and the paces."""
    beats = count * given // lanes
    needed = -(-np.arange(1, beats + 1, dtype=np.int64) * lanes // given) - 1
    return needed, Paces.of(np.maximum(np.diff(needed, prepend=-1), 1))


def chain(ready: IntArray, period: IntArray | int) -> IntArray:
    """Return the least times with ``time[t] >= ready[t]`` and ``time[t] >= time[t - 1] + period[t - 1]`` [tokens]."""
    if isinstance(period, np.ndarray):
        before = np.cumsum(period) - period
    else:
        before = np.arange(len(ready), dtype=np.int64) * period
    found: IntArray = np.maximum.accumulate(ready - before) + before
    return found


def accept(arrivals: Sequence[Arrivals], zeros: int = 0) -> Beats:
    """Return when a unit takes its beats, all inputs together, if it takes one whenever it is there.

    ``zeros``: beats that the unit adds behind those of a token, one a cycle; they count as beats.
    """
    paces, kept = arrivals[0].paces, all(each.kept for each in arrivals)
    if any(each.paces is not paces for each in arrivals):
        paces, kept = Paces.of(np.maximum.reduce([each.paces.each for each in arrivals])), False
    if zeros:
        paces = _padded(paces, zeros)
    starts: list[Start] = []
    offsets: list[IntArray] = []
    for each in arrivals:
        for start, wanted in zip(each.starts, each.offsets, strict=True):
            if zeros:
                wanted = np.concatenate([wanted, wanted[-1] + np.arange(1, zeros + 1)])
            starts.append(start)
            offsets.append(wanted if kept else np.maximum.accumulate(wanted - paces.elapsed) + paces.elapsed)
    return with_carry(pruned(Beats(tuple(starts), tuple(offsets), arrivals[0].lanes)), paces)


def _padded(paces: Paces, zeros: int) -> Paces:
    """Return the paces with zeros behind; what the next token's first beat needs, comes meanwhile."""
    return Paces.of(np.concatenate([[max(1, paces.gap - zeros)], paces.each[1:], np.ones(zeros, dtype=np.int64)]))


def with_carry(taken: Beats, paces: Paces) -> Beats:
    """Return the beats where those of a token also wait for the token before."""
    if len(taken.starts) == 1:
        own = int(taken.offsets[0][-1] - taken.offsets[0][0])
        if taken.starts[0].apart >= own + paces.gap:
            return taken
    ends = chain(taken.last, paces.period)
    carried = np.empty_like(ends)
    carried[0] = NEVER
    carried[1:] = ends[:-1] + paces.gap
    # Offsets never grow slower than the unit's pace: who waits with a first beat does so with all.
    if (carried <= taken.at(0)).all():
        return taken
    return pruned(Beats((*taken.starts, Start(carried)), (*taken.offsets, paces.elapsed), taken.lanes))


def pruned(stream: Beats) -> Beats:
    """Return the beats without starts that never decide."""
    kept = list(range(len(stream.starts)))
    if len(kept) == 1:
        return stream
    for number in list(kept):
        for other in kept:
            if other != number and _decides(stream, other, number):
                kept.remove(number)
                break
    if len(kept) == len(stream.starts):
        return stream
    return Beats(tuple(stream.starts[i] for i in kept), tuple(stream.offsets[i] for i in kept), stream.lanes)


def _decides(stream: Beats, one: int, other: int) -> bool:
    """Return whether no beat waits longer for the other start."""
    if stream.starts[one] is stream.starts[other]:
        return bool((stream.offsets[one] >= stream.offsets[other]).all())
    later: Any = (stream.starts[other].cycles - stream.starts[one].cycles).max()
    return bool(later <= (stream.offsets[one] - stream.offsets[other]).min())
