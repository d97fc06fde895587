"""Beats of a design in Verilator against those that are simulated as events: what stall tests and benches compare."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mxhw.arithmetic.dataflow import IntegerGraph
from mxhw.passes.emit.dataflow.emit import emit_dataflow
from mxhw.passes.emit.dataflow.fifos import fifo_depths
from mxhw.passes.emit.dataflow.names import stream_names
from mxhw.passes.emit.dataflow.place import Parallelism, place_graph
from mxhw.passes.emit.dataflow.schedule import TimedGraph
from mxhw.passes.emit.dataflow.top import Depths
from mxhw.sim.dataflow import DataflowSimulation
from mxhw.sim.library import Run
from mxhw.sim.memory import Memory
from mxhw.sim.performance.simulate import Simulated
from mxhw.sim.performance.stalls import Stalls
from tests.passes.emit.dataflow.graphs import drawn

__all__ = ["Difference", "Pair", "differences", "drawn_memories", "emitted_pair"]


@dataclass(frozen=True)
class Difference:
    """A stream whose beats pass in other cycles: the first of them, when in RTL, and when it was simulated."""

    cycle: int
    stream: str
    beat: int
    simulated: int


@dataclass(frozen=True, eq=False)
class Pair:
    """A design in Verilator, and as events."""

    rtl: DataflowSimulation
    timed: TimedGraph

    def under(self, stalls: Stalls) -> tuple[Run, Simulated, list[Difference]]:
        """Run both, and compare every beat of every port and step."""
        run = self.rtl.run_bulk(
            stall=stalls.stall, seed=stalls.seed, longest=stalls.longest, memories=stalls.memories, times=True
        )
        assert all(found.equal for found in run.compared.values()), "values are the software's"
        found = self.timed.under(stalls)
        names = stream_names([*self.timed.graph.inputs, *self.timed.graph.steps])
        steps = {f"tap_{names[step]}": found.times[each.output] for step, each in self.timed.components.items()}
        return run, found, list(differences(run, {**found.inputs, **found.outputs, **steps}))


def differences(run: Run, times: Mapping[str, np.ndarray]) -> Iterator[Difference]:
    """Compare the cycles of beats; streams of which one beat has another cycle are told."""
    for name, simulated in times.items():
        cycles = run.times[name].astype(np.int64)
        assert cycles.shape == simulated.shape, name
        if (wrong := np.flatnonzero(cycles != simulated)).size:
            yield Difference(int(cycles[wrong[0]]), name, int(wrong[0]), int(simulated[wrong[0]]))


def emitted_pair(
    graph: IntegerGraph, folder: Path, tokens: int, sizes: Parallelism, depths: Depths | None = None, batch: int = 1
) -> Pair:
    """Emit a graph with drawn values, and build it."""
    placed = place_graph(graph, sizes)
    depths = fifo_depths(graph, placed) if depths is None else depths
    emit_dataflow(graph, drawn(graph, tokens, batch), folder, name="stalled", parallelism=sizes, fifos=depths)
    timed = TimedGraph(graph, placed, np.tile(np.arange(tokens), batch), depths)
    return Pair(DataflowSimulation(folder), timed)


def drawn_memories(widths: Mapping[str, int], seed: int, paces: Sequence[float]) -> dict[str, Memory]:
    """Memories behind half of the ports, of the bits of so many beats a cycle; half of them refresh themselves."""
    rng, found = np.random.default_rng(seed), {}
    for name in sorted(widths):
        pace, latency, period = float(rng.choice(paces)), int(rng.integers(0, 90)), int(rng.choice([0, 150]))
        if rng.random() < 0.5:
            found[name] = Memory(widths[name] * pace, latency, period=period, pause=20 if period else 0)
    return found
