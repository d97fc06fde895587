"""Depths of FIFOs: so many beats that nothing deadlocks and no output is late, and hardly more.

A FIFO is needed where paths that part meet again: a residual waits while its branch is computed, a product's operands
for the slower one, keys and values for their queries. How many beats wait there depends on when they come, and nobody
should come sooner than needed: with unlimited FIFOs all that is in front of the slowest component would run ahead of
it, and fill any memory.

1. The design with unlimited FIFOs is timed; its outputs' times are the best there are, and become deadlines.
2. Every beat is written as late as the deadlines allow, and read as soon as it is there and its reader has room.
3. A FIFO holds the most beats that are then between its writer and its reader.
4. Where a beat may as well wait in front of the writer, or behind the reader, the FIFO is shortened: depths are lowered
   as long as every token leaves the timed design when it would with FIFOs that are never full.
5. Pipelines that stand with bubbles in them lose cycles that the timed design of step 4 does not know. Where exact
   times are late for that, FIFOs are made longer again, those that have to be.

The schedule of step 2 keeps all deadlines and every FIFO within its depth. Hardware, which waits for nothing without
need, is never later than any schedule that is possible (its times are the least solution of the same system): so it
neither deadlocks nor loses a cycle. Whether it deadlocks does not depend on timing, so that stalls from outside cannot
bring it to do so. What a token meets does not depend on those behind it: a shorter run is on time, too.

Source: the argument is that of buffer sizing for marked graphs (Baccelli et al., Synchronization and Linearity, 1992).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mxhw.arithmetic.dataflow import IntegerGraph, KeyWeights, Scores
from mxhw.passes.emit.dataflow.place import Placed
from mxhw.passes.emit.dataflow.schedule import TimedGraph
from mxhw.passes.emit.dataflow.timing import stream_beats
from mxhw.passes.emit.dataflow.top import DEFAULT_FIFO
from mxhw.sim.performance.events import DeadlockError, IntArray, LateError

__all__ = ["fifo_depths", "sizing_positions"]

_TOKENS = 12
"""Tokens at each end of the longest sequence that FIFOs are sized for: more than a design has in the works."""


_SHORT = 8  # beats that are not worth a search
_LONGER = (1, 2, 4, 8)  # times that FIFOs are made longer where pipelines stand
_MARGIN = 8  # beats that they get beside

Edge = tuple[str, str]


def fifo_depths(
    graph: IntegerGraph, placed: Mapping[str, Placed], positions: Sequence[int] | None = None
) -> dict[Edge, int]:
    """Return the depth of every FIFO: (input or step, step that reads it) → beats.

    Parameters
    ----------
    graph, placed : the design.
    positions : of the tokens that it is sized for; by default those of :func:`sizing_positions`.
    """
    run = np.asarray(sizing_positions(graph, placed) if positions is None else positions, dtype=np.int64)
    sizing = _Sizing(graph, placed, run, _most_held(graph, placed, run))
    held = dict(sizing.depths)
    sizing.shorten([edge for edge, depth in held.items() if depth > DEFAULT_FIFO], dict.fromkeys(held, DEFAULT_FIFO))
    if sizing.on_time(sizing.depths, exact=True):
        return sizing.depths
    short = dict(sizing.depths)
    for times in _LONGER:
        sizing.depths = {edge: max(depth, held[edge]) * times + _MARGIN for edge, depth in short.items()}
        if sizing.on_time(sizing.depths, exact=True):
            sizing.shorten(list(short), short, exact=True)
            return sizing.depths
    return short


@dataclass
class _Sizing:
    """Depths that are changed as long as all tokens leave on time."""

    graph: IntegerGraph
    placed: Mapping[str, Placed]
    run: IntArray
    depths: dict[Edge, int]

    def on_time(self, depths: Mapping[Edge, int], exact: bool = False) -> bool:
        """Return whether every token leaves as soon as it would with FIFOs that are never full."""
        roomy = TimedGraph(self.graph, self.placed, self.run, depths, room=False)
        due = roomy.events.earliest()
        timed = TimedGraph(self.graph, self.placed, self.run, depths)
        try:
            end = max(int(due[series][-1]) for series in roomy.outputs.values())
            times = timed.earliest() if exact else timed.events.earliest(end=end)
        except (DeadlockError, LateError):
            return False
        for name, series in timed.outputs.items():
            output = self.placed[name].output
            lasts = np.cumsum(stream_beats(output.type, output.lanes, self.run)) - 1
            if (times[series][lasts] > due[roomy.outputs[name]][lasts]).any():
                return False
        return True

    def shorten(self, edges: list[Edge], least: Mapping[Edge, int], exact: bool = False) -> None:
        """Make FIFOs as short as ``least`` where they can be, and others by a quarter as often as they can be."""

        def works(chosen: Iterable[Edge], depth: Callable[[Edge], int]) -> bool:
            tried = self.depths | {edge: depth(edge) for edge in chosen}
            found = self.on_time(tried, exact)
            if found:
                self.depths = tried
            return found

        def stubborn(chosen: list[Edge]) -> list[Edge]:
            if not chosen or works(chosen, least.__getitem__):
                return []
            half = len(chosen) // 2
            return chosen if not half else stubborn(chosen[:half]) + stubborn(chosen[half:])

        def three_quarters(edge: Edge) -> int:
            return max(least[edge], self.depths[edge] * 3 // 4)

        for edge in stubborn(edges):
            while self.depths[edge] > max(_SHORT, least[edge]) and works([edge], three_quarters):
                pass


def _most_held(graph: IntegerGraph, placed: Mapping[str, Placed], run: IntArray) -> dict[Edge, int]:
    """Return the most beats that are in each FIFO if all come as late as the outputs allow."""
    timed = TimedGraph(graph, placed, run)
    best = timed.events.earliest()
    latest = timed.events.latest({series: best[series] for series in timed.outputs.values()})
    writes = {series for series, _ in timed.fifos.values()} | set(timed.outputs.values())
    times = timed.events.earliest({series: latest[series] for series in writes})
    return {edge: _held(times[written], times[read]) for edge, (written, read) in timed.fifos.items()}


def sizing_positions(graph: IntegerGraph, placed: Mapping[str, Placed]) -> list[int]:
    """Return the positions of tokens that show all that a run can: the first ones of a sequence, and the last ones.

    Whole row tiles of every product, filled with the start of another sequence; without attention in the graph, which
    alone does more for later tokens, tokens of position 0.
    """
    rows = int(np.lcm.reduce([step.parallelism.get("rows", 1) for step in placed.values()]))
    tokens = -(-_TOKENS // rows) * rows
    keys = [kind.keys for kind in graph.types.values() if isinstance(kind, Scores | KeyWeights)]
    if not keys:
        return [0] * tokens
    count = min(keys)
    found = list(range(count)) if count <= 2 * tokens else [*range(tokens), *range(count - tokens, count)]
    return [found[i % len(found)] for i in range(-(-len(found) // rows) * rows)]


def _held(written: IntArray, read: IntArray) -> int:
    """Return the depth that lets every beat be written when it is: a place is free in the cycle after its read."""
    before = np.searchsorted(read, written - 1, side="right")
    return max(DEFAULT_FIFO, int((np.arange(len(written)) - before + 1).max(initial=0)))
