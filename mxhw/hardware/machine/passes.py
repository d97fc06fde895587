"""How long a chunk of tokens is in a part of a model: what its steps, the port and its way through ask for.

Times of a chunk in one layer, in cycles:

busy     of the slowest step: its cycles a token, summed over the chunk at the tokens' positions. Chunks are padded to
         whole row tiles, which pass every unit; a row tile meets all experts that any of its tokens chooses.
loads    of the port, for what comes once a chunk: weights and constants of a layer.
share    of the port, for the step that loads the most of them.
streams  of the port, for what comes for each row tile, token or key (:mod:`.traffic`).
through  of the first row tile, from its last beat in to its last beat out, all that it needs being there.
waits    of the first row tile for what its stages have asked for, beyond what they work themselves.
chosen   of the port, for experts that are loaded once a chunk: nothing hides them, since a router chooses them.

What overlaps: steps of a dataflow work on successive tokens at the same time, so that busy and streams are hidden
behind each other. Of a layer that is kept each step loads its share while it works for the layer before; the port is
shared, so that all loads together bound the layers of a chunk as a whole. Weights that come by tiles, experts among
them, keys and values are loaded while their own stage works, two tiles ahead: what takes longer than the stage is
waited for, and experts wait for the latency of memory, too.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mxhw.hardware.machine.port import Port
from mxhw.hardware.machine.positions import FloatArray
from mxhw.hardware.machine.stages import stages
from mxhw.hardware.machine.tables import Tables
from mxhw.hardware.machine.traffic import Move, Tokens, moves
from mxhw.hardware.structure import Design, Embedding, Product, Unit, Values

__all__ = ["Part", "Times"]

IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False, kw_only=True)
class Times:
    """Of every chunk [chunks], in cycles, as the module says."""

    busy: FloatArray
    loads: FloatArray
    share: FloatArray
    streams: FloatArray
    through: FloatArray
    waits: FloatArray
    chosen: FloatArray

    @property
    def port(self) -> FloatArray:
        """All that the port is needed for."""
        return self.loads + self.streams + self.chosen

    @property
    def latency(self) -> FloatArray:
        """From the first row tile's last beat in to its last beat out."""
        return self.through + self.waits + self.chosen

    @property
    def flow(self) -> FloatArray:
        """Of the chunk, when what is loaded once is there."""
        return np.maximum(self.busy, self.streams) + self.chosen

    @property
    def steady(self) -> FloatArray:
        """From a chunk's last layer to the next chunk's first one, which does not wait for its result."""
        return np.maximum(np.maximum(self.busy, self.streams), self.share) + self.chosen

    @property
    def inner(self) -> FloatArray:
        """From a layer to the next one of the same chunk, whose first token waits for its result."""
        return np.maximum(self.steady, self.latency)


@dataclass(frozen=True, eq=False, kw_only=True)
class Part:
    """A part of a model, placed: a block that serves layers, or one end.

    Attributes
    ----------
    name : "front", "block 0" and so on, "back".
    design : with its memories where they lie.
    tables : of the design, or of one that is built alike.
    port : to memory outside; None where there is none.
    layers : that it serves.
    constants : layers whose constants are kept while they are loaded; 0: all.
    loop : cycles from its last beat to the first unit of what follows.
    """

    name: str
    design: Design
    tables: Tables
    port: Port | None
    layers: int = 1
    constants: int = 0
    loop: int = 0

    @property
    def rows(self) -> int:
        """Tokens of a tile that is whole for every product."""
        return self.tables.rows

    @cached_property
    def moves(self) -> tuple[Move, ...]:
        """What moves through the port."""
        return () if self.port is None else tuple(moves(self.design, self.port, constants=self.constants))

    @cached_property
    def intervals(self) -> dict[str, FloatArray]:
        """Cycles a token of every step in its steady state: [positions], or [1] where they are the same for all."""
        return dict(zip(self.design.steps, self.tables.intervals, strict=True))

    def arrival(self, step: str) -> float:
        """Return the cycles from a first row tile's first beat in until it is there for a step."""
        return self.tables.arrivals.get(list(self.design.steps).index(step), 0.0)

    @cached_property
    def slow_behind_attention(self) -> bool:
        """Whether the slowest step stands behind attention, so that no later token's attention is waited for."""
        slowest = max(self.intervals, key=lambda name: float(self.intervals[name].max()))
        behind: set[str] = set()
        for name, step in self.design.steps.items():
            if isinstance(step.unit, Values) or behind.intersection(step.inputs):
                behind.add(name)
        return slowest in behind and not isinstance(self.design.steps[slowest].unit, Values)

    def busy(self, tokens: Tokens) -> dict[str, FloatArray]:
        """Return the cycles that each step works on every chunk [chunks]; a short chunk is padded."""
        if not len(tokens.starts):
            return dict.fromkeys(self.intervals, np.zeros(0))
        whole = -(-tokens.counts // self.rows) * self.rows
        last = tokens.positions[np.append(tokens.starts[1:], len(tokens.positions)) - 1]
        found = {}
        for name, each in self.intervals.items():
            if len(each) == 1:
                found[name] = whole * each[0] * _met(self.design.steps[name].unit, tokens.counts)
            else:
                found[name] = tokens.sums(each[tokens.positions]) + (whole - tokens.counts) * each[last]
        return found

    def times(self, tokens: Tokens) -> Times:
        """Return the times of every chunk in one layer."""
        nothing = np.zeros(len(tokens.starts))
        first = tokens.positions[tokens.starts] if len(tokens.starts) else tokens.starts
        chosen = [move for move in self.moves if move.every == "chunk" and move.is_chosen]
        loads = [move for move in self.moves if move.every == "chunk" and not move.is_chosen]
        return Times(
            busy=np.max([nothing, *self.busy(tokens).values()], axis=0),
            loads=self._cycles(loads, tokens),
            share=np.max([nothing, *(self._cycles([move], tokens) for move in loads)], axis=0),
            streams=self._cycles([move for move in self.moves if move.every != "chunk"], tokens),
            through=_at(self.tables.through, first) + self.loop + self._more_experts(tokens),
            waits=self._waits(tokens, first),
            chosen=self._cycles(chosen, tokens) + self._delay * bool(chosen),
        )

    def _more_experts(self, tokens: Tokens) -> FloatArray:
        """Return what the first row tile of every chunk works for experts that its other tokens choose."""
        more = np.zeros(len(tokens.starts))
        for names, _ in self._stages:
            stage = np.zeros(len(more))
            for name in names:
                unit = self.design.steps[name].unit
                if isinstance(unit, Product) and unit.experts > 1:
                    tile = self.intervals[name][0] * unit.rows * _met(unit, tokens.counts)
                    alone = unit.active_experts / unit.experts_met(unit.rows)
                    stage = np.maximum(stage, tile - self.intervals[name][0] * unit.rows * alone)
            more += stage
        return more

    def _cycles(self, found: Iterable[Move], tokens: Tokens) -> FloatArray:
        """Return the cycles of the port for moves of every chunk.

        Those of a chunk go through one way into the memories, after each other; others side by side.
        """
        if self.port is None:
            return np.zeros(len(tokens.starts))
        cycles = np.zeros(len(tokens.starts))
        bits, ways = cycles.copy(), cycles.copy()
        for move in found:
            times = move.times(tokens)
            if move.every == "chunk":
                cycles += times * self.port.after_each_other([move.load])
            else:
                bits += times * move.load.bits
                ways = np.maximum(ways, times * move.load.cycles)
        return cycles + np.maximum(bits / self.port.rate, ways)

    def _waits(self, tokens: Tokens, first: IntArray) -> FloatArray:
        """Return what the first row tile of every chunk waits for beyond what its stages work."""
        waits = np.zeros(len(tokens.starts))
        if all(move.every == "chunk" for move in self.moves):
            return waits
        tile = tokens.first(self.rows)
        for names, works in self._stages:
            asked = [move for move in self.moves if move.step in names and move.every != "chunk"]
            if asked:
                late = self._delay if any(move.is_chosen for move in asked) else 0
                waits += np.maximum(0, self._cycles(asked, tile) + late - _at(works, first))
        rows = [move for move in self.moves if isinstance(move.unit, Embedding)]
        return waits + (self._cycles(rows, tile) + self._delay if rows else 0)

    @cached_property
    def _stages(self) -> list[tuple[tuple[str, ...], FloatArray]]:
        """Stages by the names of this part's steps."""
        return list(zip(stages(self.design), self.tables.works, strict=True))

    @property
    def _delay(self) -> float:
        return 0.0 if self.port is None else float(self.port.latency)


def _met(unit: Unit, counts: IntArray) -> FloatArray:
    """Return the experts that the row tiles of chunks meet, for each one that full tiles do [chunks]; 1 without."""
    if not isinstance(unit, Product) or unit.experts == 1:
        return np.ones(len(counts))
    whole = unit.experts_met(unit.rows)
    return np.asarray([unit.experts_met(min(count, unit.rows)) / whole for count in counts.tolist()])


def _at(values: FloatArray, positions: IntArray) -> FloatArray:
    """Return values at positions, of a table or of one number for all."""
    return values[positions] if len(values) > 1 else np.full(len(positions), values[0])
