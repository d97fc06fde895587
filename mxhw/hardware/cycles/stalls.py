"""Cycles of a design whose ports are held up: expected ones under random pauses, and under bandwidths.

A design is three servers in a line: its inputs, its slowest step, its outputs. A port needs for a beat the cycles that
its memory does, and pauses; the slowest step needs for a token what it needs without stalls. Between them lies what
the queues and buffers hold beyond what is on its way anyway, ``slack`` tokens: who is that far ahead waits. Tokens pass
as in any line of servers with little room between them (Baccelli, Cohen, Olsder, Quadrat, Synchronization and
Linearity, 1992, section 2.5), and of an output's token the beats do.

What pauses are is one law with those of the benches (`sim/native/bench.h`): at a probability ``p`` a beat pauses
geometrically, ``p / (1 - p)`` cycles in the mean, but one pause in sixteen is anything up to ``longest``; at an output
one in four is cut short, since ready comes and goes in it. Where only bandwidths bound, nothing is drawn; else the mean
is over drawn pauses, always the same ones.

Not described: where inside a design pauses are felt. Where a port is nearly as slow as the slowest step, queues of two
registers lose some cycles that are not counted here; the room between ports and the slowest step is one constant, not
derived from the design's buffers. A queue around other steps (of a residual), as deep as inputs need that are always
there, can hold up one that comes slowly: up to a fifth of the cycles. `bench/validation/stalls.py` measures all this.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from mxhw.errors import InputError, nearest
from mxhw.hardware.cycles.compose import DesignCycles, design_cycles, design_streams
from mxhw.hardware.cycles.rules import Run, Stream
from mxhw.hardware.cycles.streams import IntArray, Rows
from mxhw.hardware.structure import Design, Product

__all__ = ["SLACK", "PortStalls", "StalledCycles", "stalled_cycles"]

SLACK = 1.5
"""Tokens that fit between a port and the slowest step beyond those on their way; between 0.5 and 2.5 as measured."""

_LONG_PAUSES = 1 / 16
_FICKLE = 1 / 4
_DRAWS = 256
_KNOWN = 9  # row tiles whose latency is computed
_Array = NDArray[np.float64]


@dataclass(frozen=True)
class PortStalls:
    """What holds a port up.

    Attributes
    ----------
    stall : probability a cycle of a pause.
    longest : cycles of a pause that is no geometric one; 1 for next to none of them.
    pace : cycles a beat that the memory behind it needs: bits of a beat / bits a cycle.
    latency : cycles before the memory's first bits.
    """

    stall: float = 0.0
    longest: int = 1
    pace: float = 1.0
    latency: int = 0

    def __post_init__(self) -> None:
        """Raise InputError for what cannot be."""
        if not 0 <= self.stall <= 0.95:
            raise InputError(f"the stall probability of a port must be 0 to 0.95, not {self.stall!r}")
        if self.longest < 1:
            raise InputError(f"the longest pause of a port must be 1 cycle or more, not {self.longest!r}")
        if not 0 < self.pace < float("inf"):
            raise InputError(f"a port needs more than 0 cycles a beat, not {self.pace!r}")
        if self.latency < 0:
            raise InputError(f"the latency of a port must be 0 cycles or more, not {self.latency!r}")

    def gaps(self, rng: np.random.Generator, shape: tuple[int, ...], *, is_output: bool) -> _Array:
        """Return cycles from each beat to the next one, if nothing else holds them up."""
        if not self.stall:
            return np.full(shape, max(1.0, self.pace))
        pauses = rng.geometric(1 - self.stall, size=shape) - 1
        long = (pauses > 0) & (rng.random(shape) < _LONG_PAUSES)
        pauses = np.where(long, rng.integers(1, self.longest + 1, size=shape), pauses)
        if is_output:
            cut = np.minimum(pauses, rng.geometric(0.5, size=shape) - 1)
            pauses = np.where(rng.random(shape) < _FICKLE, cut, pauses)
        found: _Array = np.maximum(1.0 + pauses, self.pace)
        return found


@dataclass(frozen=True, eq=False)
class StalledCycles:
    """Cycles from the first beat in to the last beat out, both counted.

    Attributes
    ----------
    total : expected.
    deviation : standard deviation of a single run; 0 where nothing is random.
    free : without stalls.
    """

    total: float
    deviation: float
    free: DesignCycles


def stalled_cycles(
    design: Design, tokens: int, start: int = 0, *, ports: Mapping[str, PortStalls], slack: float = SLACK
) -> StalledCycles:
    """Return the cycles of tokens of one sequence, the first at position ``start``.

    Parameters
    ----------
    ports : input, or step whose stream leaves the design → what holds it up; others are free.
    slack : see :data:`SLACK`.

    Raises
    ------
    InputError
        For a port that the design has not, or what :func:`.compose.design_cycles` refuses.
    """
    known = [*design.inputs, *design.outputs]
    for name in ports:
        if name not in known:
            raise InputError(f"the design has no port {name!r}{nearest(name, known)}; it has {', '.join(known)}")
    free = design_cycles(design, tokens, start)
    streams = design_streams(design, Run(np.arange(start, start + tokens, dtype=np.int64)))
    random = any(port.stall for port in ports.values())
    line = _Line(design, free, streams, ports, slack, _DRAWS if random else 1)
    totals = line.run()
    return StalledCycles(float(totals.mean()), float(totals.std()), free)


class _Line:
    """Tokens on their way from the inputs to the outputs, in all draws at once."""

    def __init__(
        self,
        design: Design,
        free: DesignCycles,
        streams: Mapping[str, Stream],
        ports: Mapping[str, PortStalls],
        slack: float,
        draws: int,
    ) -> None:
        self._ends, self._draws, rng = free.ends, draws, np.random.default_rng(0)
        self._tile = max([1, *(step.unit.rows for step in design.steps.values() if isinstance(step.unit, Product))])
        self._room_in, self._room_out = slack + self._tile - 1, slack
        nothing = PortStalls()
        # Of every input: last beats of tokens without stalls, cycles between beats, cycles before the first.
        self._inputs: list[tuple[IntArray, list[_Array], int]] = []
        for name in design.inputs:
            if name in streams:
                port, lasts = ports.get(name, nothing), streams[name].last
                counts = np.diff(lasts, prepend=-1)
                gaps = [port.gaps(rng, (draws, int(count)), is_output=False) for count in counts]
                self._inputs.append((lasts, gaps, port.latency))
        self._latency = self._latencies(design, free)
        # Of every output: cycles between beats, how long before the token's end a beat is there, cycles before them.
        self._outputs: list[tuple[list[_Array], list[_Array], int]] = []
        for name in design.outputs:
            port, times = ports.get(name, nothing), _beat_times(streams[name])
            gaps = [port.gaps(rng, (draws, len(beats)), is_output=True) for beats in times]
            early = [(self._ends[number] - beats).astype(np.float64) for number, beats in enumerate(times)]
            self._outputs.append((gaps, early, port.latency))

    def _latencies(self, design: Design, free: DesignCycles) -> _Array:
        """Return the cycles from the last beat in of each token's row tile to its own end, if nothing runs before.

        They grow with positions; those of a few row tiles are computed, and what lies between is on lines.
        """
        tiles = len(free.ends) // self._tile
        known = np.unique(np.linspace(0, tiles - 1, _KNOWN).astype(np.int64))
        start = free.position + 1 - len(free.ends)
        last = max(int(lasts[self._tile - 1]) for lasts, _, _ in self._inputs)
        ends = np.stack([design_cycles(design, self._tile, start + int(tile) * self._tile).ends for tile in known])
        found = [np.interp(np.arange(tiles), known, column) for column in (ends - last).T]
        return np.stack(found, axis=1).ravel()

    def run(self) -> _Array:
        """Return the cycles of every draw."""
        came: list[list[_Array]] = [[] for _ in self._inputs]  # last beats of tokens
        done: list[_Array] = []  # when the slowest step would let a token's last beat leave
        left: list[_Array] = []
        last = [np.full(self._draws, latency - 1.0) for _, _, latency in self._outputs]
        count = len(self._ends)
        for first in range(0, count, self._tile):
            tile = range(first, min(first + self._tile, count))
            for number in tile:
                for index, (_, gaps, latency) in enumerate(self._inputs):
                    before = came[index][-1] if number else np.full(self._draws, latency - 1.0)
                    # The slowest step must have begun with one that is so far ahead.
                    room = _at(done, number - self._room_in) - self._latency[number]
                    came[index].append(np.maximum(before, room) + gaps[number].sum(axis=1))
            for number in tile:
                times = [each[tile[-1]] + self._latency[number] for each in came]
                times.append(_at(left, number - self._room_out))
                if done:
                    times.append(done[-1] + (self._ends[number] - self._ends[number - 1]))
                done.append(reduce(np.maximum, times))
                last = [self._leave(number, done[-1], *each) for each in zip(self._outputs, last, strict=True)]
                left.append(reduce(np.maximum, last))
        begins = [latency - 1 + gaps[0][:, 0] for _, gaps, latency in self._inputs]
        return left[-1] + 1 - reduce(np.minimum, begins)

    def _leave(self, number: int, done: _Array, output: tuple[list[_Array], list[_Array], int], last: _Array) -> _Array:
        """Return when the last beat of a token has left an output; ``last``: when that of the one before had."""
        gaps, early = output[0][number], output[1][number]
        before = np.cumsum(gaps, axis=1) - gaps
        offered = done[:, None] - early - before
        begins: _Array = np.maximum(offered.max(axis=1), last + 1)
        return begins + before[:, -1] + gaps[:, -1] - 1


def _at(times: list[_Array], number: float) -> _Array:
    """Return the times of a token, or between two; long ago for one before the first."""
    if number < 0 or not times:
        return np.full(1, -np.inf)
    whole = min(int(number), len(times) - 1)
    part = min(number - whole, 1.0) if whole + 1 < len(times) else 0.0
    return times[whole] if not part else (1 - part) * times[whole] + part * times[whole + 1]


def _beat_times(stream: Stream) -> list[IntArray]:
    """Return the cycles of the beats of each token."""
    if isinstance(stream, Rows):
        return [
            np.add.outer(np.arange(stream.heads) * period, np.arange(length) * stream.pace).ravel() + first
            for first, period, length in zip(stream.first, stream.period, stream.length, strict=True)
        ]
    return list(np.stack([stream.at(beat) for beat in range(len(stream.offsets[0]))], axis=1))
