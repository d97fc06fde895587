"""Cycles of designs that are held up at their ports, against the event simulator, which equals the RTL."""

import numpy as np
import pytest

from mxhw.arithmetic.dataflow import Linear
from mxhw.errors import InputError
from mxhw.hardware.cycles import design_cycles
from mxhw.hardware.cycles.stalls import PortStalls, stalled_cycles
from mxhw.hardware.structure import Design
from mxhw.passes.emit.dataflow.costed import design_of
from mxhw.passes.emit.dataflow.fifos import fifo_depths
from mxhw.passes.emit.dataflow.place import place_graph
from mxhw.passes.emit.dataflow.schedule import TimedGraph
from mxhw.sim.memory import Memory
from mxhw.sim.performance.stalls import Stalls
from tests.passes.emit.dataflow.blocks import BlockShape, decoder_block

TOKENS, OUTPUT = 16, "residual_2"


@pytest.fixture(scope="module", params=[{"lanes": 4, "columns": 2}, {"lanes": 8, "columns": 2, "rows": 2}])
def block(request: pytest.FixtureRequest) -> tuple[TimedGraph, Design]:
    graph = decoder_block(BlockShape())
    sizes = {name: request.param for name, step in graph.steps.items() if isinstance(step.operation, Linear)}
    placed = place_graph(graph, sizes)
    depths = fifo_depths(graph, placed)
    return TimedGraph(graph, placed, np.arange(TOKENS), depths), design_of(graph, placed, depths)


def test_without_stalls_nothing_is_added(block: tuple[TimedGraph, Design]) -> None:
    timed, design = block
    found = stalled_cycles(design, TOKENS, ports={"x": PortStalls(), OUTPUT: PortStalls()})
    assert found.total == found.free.total == timed.cycles
    assert found.deviation == 0


def test_geometric_pauses_are_within_two_percent(block: tuple[TimedGraph, Design]) -> None:
    timed, design = block
    ports = ["x", "positions", OUTPUT]
    for stall in (0.05, 0.3):
        cycles = [timed.under(Stalls(stall, seed, longest=1)).cycles for seed in range(6)]
        found = stalled_cycles(design, TOKENS, ports=dict.fromkeys(ports, PortStalls(stall)))
        assert found.total == pytest.approx(np.mean(cycles), rel=0.02)
        assert found.total > found.free.total


@pytest.mark.parametrize("port", ["x", OUTPUT])
def test_bandwidths_that_bound_are_within_two_percent(port: str, block: tuple[TimedGraph, Design]) -> None:
    timed, design = block
    interval = (design_cycles(design, TOKENS).ends[-1] - design_cycles(design, TOKENS).ends[0]) / (TOKENS - 1)
    for share in (0.3, 2.5):
        pace = share * interval / 32
        cycles = timed.under(Stalls(memories={port: Memory(24 / pace, latency=50)})).cycles
        found = stalled_cycles(design, TOKENS, ports={port: PortStalls(pace=pace, latency=50)})
        assert found.total == pytest.approx(cycles, rel=0.02)
    assert found.total > 1.5 * found.free.total


def test_what_cannot_be_is_refused(block: tuple[TimedGraph, Design]) -> None:
    for values in ({"stall": 1.0}, {"stall": -0.1}, {"longest": 0}, {"pace": 0}, {"latency": -1}):
        with pytest.raises(InputError, match=f"not {next(iter(values.values()))}"):
            PortStalls(**values)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="the design has no port 'residual'"):
        stalled_cycles(block[1], TOKENS, ports={"residual": PortStalls()})
