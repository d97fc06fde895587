"""Prefill and decoding of a whole model, from the times of chunks in its parts.

Folded: a chunk of tokens goes through layer after layer; from a layer to the next it takes ``inner``, from its last one
to the next chunk's first ``steady`` (:class:`.passes.Times`), and all its layers together no less than the port.
Unfolded: tokens follow each other through all layers.

Prefill ends with the token that follows the last prompt:

    front + first load + chunks (each: layers - 1 times inner, then steady) + the last row tile's way out + back

A step of decoding gives a token to every sequence. The next step waits for the arg-max of the first sequence; so a step
is the longest of: its chunks' cycles; the way of its first tile through all layers, back and front; all that it asks of
the port; the work of front and of back. The first layer of the first step is loaded while the prefill ends.
"""

from dataclasses import dataclass

import numpy as np

from mxhw.hardware.machine.passes import Part, Times
from mxhw.hardware.machine.positions import FloatArray, chunk_starts
from mxhw.hardware.machine.stages import stages
from mxhw.hardware.machine.traffic import Tokens

__all__ = ["BOUNDS", "Pipeline", "Span"]

BOUNDS = ("compute", "memory", "latency")
"""What holds a design up: its slowest step; the port; the way of a token through units that wait for it."""
Shares = dict[str, FloatArray]


@dataclass(frozen=True, eq=False, kw_only=True)
class Span:
    """A phase.

    Attributes
    ----------
    cycles : of it.
    bounds : cycles by what holds the design up, see :data:`BOUNDS`.
    groups : those tokens, in chunks.
    wanted : tokens whose logits are asked for, in chunks.
    steps : cycles of each step of decoding; of the prefill as a whole [steps].
    idle : cycles of a prefill in which the port has nothing to do.
    """

    cycles: float
    bounds: dict[str, float]
    groups: Tokens
    wanted: Tokens
    steps: FloatArray
    idle: float

    @property
    def tokens(self) -> int:
        """Tokens that go through the layers, of all sequences."""
        return len(self.groups.positions)


@dataclass(frozen=True, eq=False)
class _Chunks:
    """Of every chunk, in all layers [chunks]: cycles to the next chunk, also without the port's bound; its first tile's
    way; the port; what bounds."""

    cycles: FloatArray
    free: FloatArray
    way: FloatArray
    port: FloatArray
    bounds: Shares


@dataclass(frozen=True, eq=False, kw_only=True)
class Pipeline:
    """A model's parts in time.

    Attributes
    ----------
    front, back : ends.
    blocks : of the layers; the last one has the last layer.
    folded : chunks go through layer after layer.
    chunk : the most tokens of one.
    """

    front: Part
    blocks: tuple[Part, ...]
    back: Part
    folded: bool
    chunk: int

    def prefill(self, tokens: int, batch: int) -> Span:
        """Return the prefill of ``batch`` prompts of ``tokens`` tokens, to the token that follows the last one."""
        positions = np.tile(np.arange(tokens), batch)
        groups = Tokens(positions, chunk_starts(len(positions), self.chunk))
        wanted = Tokens(np.full(batch, tokens - 1), chunk_starts(batch, self.chunk))
        if not tokens:
            return _nothing(groups)
        chunks = self._chunks(groups)
        total = self._total(chunks, groups, wanted)
        port = float(chunks.port.sum()) + self._ends_port(groups, wanted).sum()
        bounds = {name: float(each.sum()) for name, each in chunks.bounds.items()}
        cycles = max(total, port)
        others = cycles - sum(bounds.values())  # ends; or loads that the ends lie within
        bounds["latency" if others > 0 else max(bounds, key=lambda name: bounds[name])] += others
        return Span(
            cycles=cycles,
            bounds=bounds,
            groups=groups,
            wanted=wanted,
            steps=np.asarray([cycles]),
            idle=cycles - port,
        )

    def decode(self, start: int, steps: int, batch: int, idle: float = 0.0) -> Span:
        """Return steps of decoding ``batch`` sequences that have ``start`` tokens before the first step.

        ``idle``: cycles before, in which the port could load the first layer.
        """
        positions = np.repeat(np.arange(start, start + steps), batch)
        inside = chunk_starts(batch, self.chunk)
        starts = (np.arange(steps)[:, None] * batch + inside).ravel()
        groups = Tokens(positions, starts)
        if not steps:
            return _nothing(groups)
        chunks = self._chunks(groups)
        by_step = (steps, len(inside))
        cycles = chunks.cycles.reshape(by_step).sum(axis=1)
        way = (chunks.way + sum(self._ends(groups, groups))).reshape(by_step)[:, 0]
        port = (chunks.port + self._ends_port(groups, groups)).reshape(by_step).sum(axis=1)
        busy = np.maximum(self.front.times(groups).busy, self.back.times(groups).busy).reshape(by_step).sum(axis=1)
        found = np.maximum.reduce([cycles, way, port, busy])
        free = np.maximum.reduce([chunks.free.reshape(by_step).sum(axis=1), way, busy])
        # Of what the port was idle before, a step's own end, in which its last load is worked through, gains nothing.
        tail = float(self.blocks[-1].times(groups).latency[0] + self._ends(groups, groups)[1][0]) - self._last_arrival()
        loads = float(self.blocks[0].times(groups).loads.max(initial=0.0))
        early = min(max(0.0, idle - tail), loads, float((found - free).sum()))
        bounds = {name: float(each.sum()) for name, each in chunks.bounds.items()}
        bounds["latency"] += float(np.maximum(0, np.maximum(way, busy) - cycles).sum())
        bounds["memory"] += float(np.maximum(0, found - np.maximum.reduce([cycles, way, busy])).sum()) - early
        return Span(
            cycles=float(found.sum()) - early, bounds=bounds, groups=groups, wanted=groups, steps=found, idle=0.0
        )

    def _chunks(self, groups: Tokens) -> _Chunks:
        times = [part.times(groups) for part in self.blocks]
        return self._folded(times) if self.folded else _unfolded(times)

    def _folded(self, times: list[Times]) -> _Chunks:
        counts, last = [part.layers for part in self.blocks], times[-1]
        whole = sum((n * each.inner for n, each in zip(counts, times, strict=True)), np.zeros(1)) - last.inner
        port = sum((n * each.port for n, each in zip(counts, times, strict=True)), np.zeros(1))
        free = whole + last.steady
        bounds: Shares = {name: np.zeros(len(free)) for name in BOUNDS}
        for n, each in zip([*counts[:-1], counts[-1] - 1], times, strict=True):
            for name, share in _inner_bounds(each).items():
                bounds[name] = bounds[name] + n * share
        for name, share in _steady_bounds(last).items():
            bounds[name] = bounds[name] + share
        bounds["memory"] = bounds["memory"] + np.maximum(0, port - free)
        return _Chunks(np.maximum(free, port), free, whole + last.latency, port, bounds)

    def _total(self, chunks: _Chunks, groups: Tokens, wanted: Tokens) -> float:
        """Return the cycles of a prefill, from the first token to the one behind the last prompt.

        Where the port is the bound, what is loaded last still has to be worked through.
        """
        chunk = _chunk(groups, -1)
        kept = (int(chunk.counts[0]) - 1) % self.blocks[-1].rows + 1
        tile = Tokens(chunk.positions[-kept:], chunk.starts)
        ones, wholes = ([part.times(tokens) for part in self.blocks] for tokens in (tile, chunk))
        one, whole = ones[-1], wholes[-1]
        front, back = (float(each[0]) for each in self._ends(_chunk(groups, 0), _chunk(wanted, -1)))
        if not self.folded:
            found = _unfolded(ones)
            return front + float(chunks.cycles.sum()) + float((found.way - found.cycles)[-1]) + back
        latency = self._late(groups, one)
        rest = float((latency - one.flow + whole.flow)[-1])
        free = front + self._first_load(front) + rest - float(whole.steady[-1]) + back
        port = rest - self._last_arrival() + back
        ends = min(free, port)
        sums = (float(each.sum()) for each in (chunks.free, chunks.port, chunks.cycles))
        return max(each + end for each, end in zip(sums, (free, port, ends), strict=True))

    def _late(self, groups: Tokens, one: Times) -> FloatArray:
        """Return the way of the tile that ends a prefill, of which the last one (``one``) is known.

        Tiles follow each other through the slowest step. If it stands behind attention and never waits, what later
        tiles take longer in attention is hidden: they are as late as the first one was.
        """
        block = self.blocks[-1]
        whole = block.times(_chunk(groups, -1))
        if not block.slow_behind_attention or whole.latency[-1] > whole.steady[-1]:
            return one.latency
        first = Tokens(groups.positions[: block.rows], np.zeros(1, dtype=np.int64))
        return block.times(first).latency

    def _ends(self, front: Tokens, back: Tokens) -> tuple[FloatArray, FloatArray]:
        """Return the way of the first tile of each chunk through front, and through back."""
        return self.front.times(front).latency, self.back.times(back).latency

    def _ends_port(self, groups: Tokens, wanted: Tokens) -> FloatArray:
        front, back = self.front.times(groups).port, self.back.times(wanted).port
        return front + back if len(front) == len(back) else np.asarray([front.sum() + back.sum()])

    def _first_load(self, front: float) -> float:
        """Return what the first chunk waits for in its first layer, ``front`` cycles after the port begins.

        Each step of a stage begins when its tile and its share are there, those in front of it loaded before. What one
        waits for while another step of its stage still works is not waited for.
        """
        first = self.blocks[0]
        if first.port is None or not first.moves:
            return 0.0
        loaded, there = float(first.port.latency), {}
        for move in first.moves:
            if move.every == "chunk" and not move.is_chosen:
                loaded += first.port.after_each_other([move.load])
                there[move.step] = loaded - front
        waits = 0.0
        for names in stages(first.design):
            tiles = {name: (first.arrival(name), float(first.intervals[name][0]) * first.rows) for name in names}
            ends = [max(arrives + waits, there.get(name, 0.0)) + works for name, (arrives, works) in tiles.items()]
            waits = max(ends) - max(arrives + works for arrives, works in tiles.values())
        return waits

    def _last_arrival(self) -> float:
        """Return how far a tile's way through a layer lies before the step that is loaded last."""
        loads = [move.step for move in self.blocks[-1].moves if move.every == "chunk" and not move.is_chosen]
        return self.blocks[-1].arrival(loads[-1]) if loads else 0.0


def _nothing(groups: Tokens) -> Span:
    bounds = dict.fromkeys(BOUNDS, 0.0)
    return Span(cycles=0.0, bounds=bounds, groups=groups, wanted=groups, steps=np.zeros(0), idle=0.0)


def _chunk(groups: Tokens, number: int) -> Tokens:
    """Return one chunk."""
    ends = np.append(groups.starts[1:], len(groups.positions))
    return Tokens(groups.positions[groups.starts[number] : ends[number]], np.zeros(1, dtype=np.int64))


def _unfolded(times: list[Times]) -> _Chunks:
    busy = np.maximum.reduce([each.busy for each in times])
    port = sum((each.port for each in times), np.zeros(1))
    way = sum((each.latency for each in times), np.zeros(1))
    memory = port > busy
    bounds = {
        "compute": np.where(memory, 0.0, busy),
        "memory": np.where(memory, port, 0.0),
        "latency": np.zeros(len(busy)),
    }
    found = np.maximum(busy, port)
    return _Chunks(found, found, way, port, bounds)


def _steady_bounds(times: Times) -> Shares:
    """Return what a chunk's steady time is made of."""
    port = np.maximum(times.share, times.streams)
    memory = port > times.busy
    return {
        "compute": np.where(memory, 0.0, times.busy),
        "memory": np.where(memory, port, 0.0) + times.chosen,
    }


def _inner_bounds(times: Times) -> Shares:
    """Return what a chunk's inner time is made of; of a latency that is waited for what memory adds to it."""
    late = times.latency > times.steady
    steady = _steady_bounds(times)
    return {
        "compute": np.where(late, 0.0, steady["compute"]),
        "memory": np.where(late, times.waits + times.chosen, steady["memory"]),
        "latency": np.where(late, times.through, 0.0),
    }
