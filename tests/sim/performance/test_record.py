"""The events of a design in a file: what is read is what was written, and predicts the stalled runs of its RTL."""

from pathlib import Path

import numpy as np
import pytest

from mxhw.arithmetic.dataflow import Linear
from mxhw.errors import InputError
from mxhw.passes.emit.dataflow.emit import emit_dataflow
from mxhw.passes.emit.dataflow.fifos import fifo_depths
from mxhw.passes.emit.dataflow.place import place_graph
from mxhw.passes.emit.dataflow.schedule import TimedGraph
from mxhw.sim.dataflow_cosim import simulate_dataflow
from mxhw.sim.dataflow_design import DataflowDesign
from mxhw.sim.memory import Memory
from mxhw.sim.performance import record
from mxhw.sim.performance.record import SCHEDULE_FILE, predicted_cycles, read_schedule, schedule_bytes
from mxhw.sim.performance.simulate import simulate
from mxhw.sim.performance.stalls import Stalls
from tests.passes.emit.dataflow.blocks import BlockShape, decoder_block
from tests.passes.emit.dataflow.graphs import drawn, mlp

TOKENS = 6
SIZES = {"mlp.up_proj": {"columns": 4, "lanes": 8}, "mlp.down_proj": {"columns": 2}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    graph, place = mlp(), tmp_path_factory.mktemp("scheduled") / "design"
    emit_dataflow(graph, drawn(graph, TOKENS, 1), place, name="stalled", parallelism=SIZES)
    return place


@pytest.mark.parametrize("rows", [1, 2])
def test_what_is_read_is_what_was_written(rows: int, tmp_path: Path) -> None:
    graph = decoder_block(BlockShape())
    sizes = {n: {"lanes": 8, "rows": rows} for n, step in graph.steps.items() if isinstance(step.operation, Linear)}
    placed = place_graph(graph, sizes)
    timed = TimedGraph(graph, placed, np.arange(TOKENS), fifo_depths(graph, placed)).timed
    content = schedule_bytes(timed)
    assert content is not None and schedule_bytes(timed) == content
    (tmp_path / SCHEDULE_FILE).write_bytes(content)
    again = read_schedule(tmp_path / SCHEDULE_FILE)
    assert schedule_bytes(again) == content
    memory = Memory(3, latency=40)
    for stalls in (Stalls(), Stalls(0.3, 5), Stalls(0.6, 2, memories={"x": memory})):
        was, now = simulate(timed, stalls), simulate(again, stalls)
        assert all(np.array_equal(a, b) for a, b in zip(was.times, now.times, strict=True))
        assert was.cycles == now.cycles


def test_a_stalled_run_takes_the_cycles_that_are_predicted(folder: Path) -> None:
    """Of every seed, and only of that."""
    found = set()
    for seed, stall in ((0, 0.2), (1, 0.2), (1, 0.6)):
        case = simulate_dataflow(folder, seed, stall, "bulk", None, None)
        assert case.passed
        assert case.stalled_predicted == case.stalled.cycles
        assert case.to_json()["stalled_predicted_cycles"] == case.stalled.cycles
        found.add(case.stalled.cycles)
    assert len(found) == 3
    design = DataflowDesign.load(folder)
    ports = {name: port.count for name, port in {**design.inputs, **design.outputs}.items()}
    assert predicted_cycles(folder, ports, Stalls()) == case.free.cycles


def test_runs_that_are_too_long_are_not_predicted(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "MOST_EVENTS", 10)
    assert schedule_bytes(read_schedule(folder / SCHEDULE_FILE)) is None
    assert predicted_cycles(tmp_path, {}, Stalls(0.1)) is None


def test_a_damaged_schedule_is_refused(folder: Path, tmp_path: Path) -> None:
    content, path = (folder / SCHEDULE_FILE).read_bytes(), tmp_path / SCHEDULE_FILE
    for damaged in (b"", b"PK", content[: len(content) // 2], b"schedule"):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"no schedule of a design .*; emit the design again"):
            read_schedule(path)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"port x has \d+ beats, but 7 in design\.json; emit the design again"):
        predicted_cycles(tmp_path, {"x": 7}, Stalls())
    with pytest.raises(InputError, match=r"cannot read .*nothing"):
        read_schedule(tmp_path / "nothing")
