"""Timed graphs, and the depths of FIFOs that are computed on them."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mxhw.arithmetic.dataflow import IntegerGraph
from mxhw.passes.emit.dataflow.emit import emit_dataflow
from mxhw.passes.emit.dataflow.fifos import fifo_depths, sizing_positions
from mxhw.passes.emit.dataflow.place import Parallelism, Placed, place_graph
from mxhw.passes.emit.dataflow.schedule import TimedGraph
from mxhw.sim.dataflow import run_dataflow
from mxhw.sim.performance.events import DeadlockError
from tests.passes.emit.dataflow.blocks import DEMO, BlockShape, decoder_block
from tests.passes.emit.dataflow.graphs import drawn, mlp

RESIDUALS = ("x", "residual_1"), ("residual_1", "residual_2")
# Converters in both directions and between numbers that do not divide each other; forks to readers of other widths.
UNEVEN: Parallelism = {
    "norm": {"lanes": 4},
    "mlp.gate_proj": {"columns": 4},
    "mlp.up_proj": {"columns": 6, "lanes": 8},
    "mlp.up_proj.requantize": {"lanes": 4},
    "mlp.down_proj": {"columns": 4, "lanes": 8},
}


@pytest.fixture(scope="module")
def block() -> tuple[IntegerGraph, Mapping[str, Placed]]:
    graph = decoder_block(BlockShape())
    return graph, place_graph(graph)


def simulated(graph: IntegerGraph, sizes: Parallelism, tokens: int, folder: Path) -> tuple[int, int | None]:
    """Predicted cycles, and those of the emitted design, whose every beat must be right."""
    placed = place_graph(graph, sizes)
    depths = fifo_depths(graph, placed)
    emit_dataflow(graph, drawn(graph, tokens), folder / "design", name="timed", parallelism=sizes, fifos=depths)
    result = run_dataflow(folder / "design")
    assert result.equal
    return TimedGraph(graph, placed, np.arange(tokens), depths).cycles, result.cycles


@pytest.mark.slow
def test_cycles_of_an_mlp_are_those_of_the_emitted_design(tmp_path: Path) -> None:
    predicted, cycles = simulated(mlp(), UNEVEN, 12, tmp_path)
    assert cycles is not None
    assert predicted == cycles


@pytest.mark.slow
def test_cycles_of_a_decoder_block_are_those_of_the_emitted_design(tmp_path: Path) -> None:
    predicted, cycles = simulated(decoder_block(BlockShape()), {}, 16, tmp_path)
    assert cycles is not None
    assert predicted == cycles


def test_no_throughput_is_lost_and_no_fifo_is_twice_as_deep_as_needed(
    block: tuple[IntegerGraph, Mapping[str, Placed]],
) -> None:
    graph, placed = block
    depths, positions = fifo_depths(graph, placed), np.array(sizing_positions(graph, placed))
    unlimited = TimedGraph(graph, placed, positions).cycles
    assert TimedGraph(graph, placed, positions, depths).cycles <= 1.005 * unlimited
    deep = {edge: depth for edge, depth in depths.items() if depth > 2}
    assert set(deep) == set(RESIDUALS)
    for edge, depth in deep.items():
        shorter = depths | {edge: (depth - 1) // 2}
        assert not TimedGraph(graph, placed, positions, shorter).finishes(int(1.01 * unlimited)), edge


def test_a_residual_that_does_not_hold_a_token_deadlocks(block: tuple[IntegerGraph, Mapping[str, Placed]]) -> None:
    graph, placed = block
    positions, depths = np.arange(4), fifo_depths(graph, placed)
    with pytest.raises(DeadlockError, match="residual_1"):
        TimedGraph(graph, placed, positions, depths | {RESIDUALS[0]: 2}).earliest()


def test_sizing_covers_both_ends_of_the_longest_sequence() -> None:
    graph = decoder_block(BlockShape(keys=64))
    positions = sizing_positions(graph, place_graph(graph))
    assert positions[0] == 0
    assert positions[-1] == 63
    assert positions == sorted(set(positions))


@pytest.mark.parametrize(("keys", "rows"), [(5, 2), (3, 4), (64, 8), (25, 3)])
def test_sizing_fills_row_tiles(keys: int, rows: int) -> None:
    graph = decoder_block(BlockShape(keys=keys))
    placed = place_graph(graph, {"gate_proj": {"rows": rows}})
    positions = sizing_positions(graph, placed)
    assert len(positions) % rows == 0
    assert keys - 1 in positions
    assert all(now in (0, before + 1) or now > before + 1 > 11 for before, now in pairwise(positions))
    fifo_depths(graph, placed)


def test_a_block_of_the_demo_is_timed_and_sized_in_seconds() -> None:
    graph = decoder_block(DEMO)
    placed = place_graph(graph)
    depths = fifo_depths(graph, placed)
    timed = TimedGraph(graph, placed, np.arange(32), depths)
    assert timed.cycles <= 1.01 * TimedGraph(graph, placed, np.arange(32)).cycles
    # A residual waits for a token of its branch and for what else is in the works, not for what runs ahead.
    assert all(256 <= depths[edge] < 4 * 256 for edge in RESIDUALS)
