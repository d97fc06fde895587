"""Depths of FIFOs: so many beats that nothing deadlocks and no rate is lost, and hardly more.

A FIFO is needed where paths that part meet again: a residual waits while its branch is computed, a product's operands
for the slower one, keys and values for their queries. How many beats wait there depends on when they come, and nobody
should come sooner than needed: with unlimited FIFOs all that is in front of the slowest component would run ahead of
it, and fill any memory.

1. The design with unlimited FIFOs is timed; its outputs' times are the best there are, and become deadlines.
2. Every beat is written as late as the deadlines allow, and read as soon as it is there and its reader has room.
3. A FIFO holds the most beats that are then between its writer and its reader.
4. Where a beat may as well wait in front of the writer, or behind the reader, the FIFO is shortened: depths are lowered
   as long as the timed design is hardly slower.

The schedule of step 2 keeps all deadlines and every FIFO within its depth. Hardware, which waits for nothing without
need, is never later than any schedule that is possible (its times are the least solution of the same system): so it
neither deadlocks nor loses a cycle. Whether it deadlocks does not depend on timing, so that stalls from outside cannot
bring it to do so.

Source: the argument is that of buffer sizing for marked graphs (Baccelli et al., Synchronization and Linearity, 1992).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from mxhw.arithmetic.dataflow import IntegerGraph, KeyWeights, Scores
from mxhw.passes.emit.dataflow.events import IntArray
from mxhw.passes.emit.dataflow.place import Placed
from mxhw.passes.emit.dataflow.schedule import TimedGraph
from mxhw.passes.emit.dataflow.top import DEFAULT_FIFO

__all__ = ["fifo_depths", "sizing_positions"]

_TOKENS = 12
"""Tokens at each end of the longest sequence that FIFOs are sized for: more than a design has in the works."""


_STREAMING = 3
_SHORT = 8  # beats that are not worth a search
_TOLERANCE = 0.005  # of the cycles of a run


def fifo_depths(
    graph: IntegerGraph, placed: Mapping[str, Placed], positions: Sequence[int] | None = None
) -> dict[tuple[str, str], int]:
    """Return the depth of every FIFO: (input or step, step that reads it) → beats.

    Parameters
    ----------
    graph, placed : the design.
    positions : of the tokens that it is sized for; by default those of :func:`sizing_positions`.
    """
    run = np.asarray(sizing_positions(graph, placed) if positions is None else positions, dtype=np.int64)
    timed = TimedGraph(graph, placed, run)
    best = timed.events.earliest()
    latest = timed.events.latest({series: best[series] for series in timed.outputs.values()})
    writes = {series for series, _ in timed.fifos.values()} | set(timed.outputs.values())
    times = timed.events.earliest({series: latest[series] for series in writes})
    depths = {edge: _held(times[written], times[read]) for edge, (written, read) in timed.fifos.items()}
    most = int(timed.span(best) * (1 + _TOLERANCE))

    def works(edges: Iterable[tuple[str, str]], depth: Callable[[int], int]) -> bool:
        tried = depths | {edge: depth(depths[edge]) for edge in edges}
        found: bool = TimedGraph(graph, placed, run, tried).finishes(most)
        if found:
            depths.update(tried)
        return found

    for edge in _stubborn([edge for edge, depth in depths.items() if depth > DEFAULT_FIFO], works):
        while depths[edge] > _SHORT and works([edge], lambda depth: depth * 3 // 4):
            pass
    return depths


def _stubborn(edges: list[tuple[str, str]], works: Callable[..., bool]) -> list[tuple[str, str]]:
    """Make FIFOs as short as any, all those that can be; return those that cannot."""
    if not edges or works(edges, lambda _: DEFAULT_FIFO):
        return []
    half = len(edges) // 2
    return edges if not half else _stubborn(edges[:half], works) + _stubborn(edges[half:], works)


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
    held = int((np.arange(len(written)) - before + 1).max(initial=0))
    # Three is what a stream of one beat a cycle has in an unlimited FIFO; registers are quicker and have two.
    return held if held > _STREAMING else DEFAULT_FIFO
