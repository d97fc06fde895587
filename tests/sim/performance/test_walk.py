"""Exact times: the earliest ones where no pipeline stands as a whole, else those of registers moved cycle by cycle."""

from pathlib import Path

import numpy as np
import pytest

from mxhw.arithmetic.dataflow import IntegerGraph, Integers, Multiply, Step
from mxhw.arithmetic.functions.elementwise import MultiplySpec
from mxhw.passes.emit.dataflow.emit import emit_dataflow
from mxhw.passes.emit.dataflow.place import place_graph
from mxhw.passes.emit.dataflow.schedule import TimedGraph
from mxhw.sim.dataflow import run_dataflow
from mxhw.sim.performance.events import DeadlockError, Events
from mxhw.sim.performance.walk import exact_times
from tests.passes.emit.dataflow.graphs import drawn, product
from tests.sim.performance.test_events import SEEDS, Drawn


def test_without_pipelines_they_are_the_earliest_ones_and_deadlocks_are_found() -> None:
    deadlocks = 0
    for seed in SEEDS:
        events = Drawn(seed).events
        try:
            expected = events.earliest()
        except DeadlockError as deadlock:
            deadlocks += 1
            with pytest.raises(DeadlockError) as found:
                exact_times(events)
            assert found.value.stuck == deadlock.stuck
        else:
            assert [times.tolist() for times in exact_times(events)] == [times.tolist() for times in expected]
    assert deadlocks


def registers(there: list[int], free: list[int], latency: int, words: int) -> tuple[list[int], list[int]]:
    """Cycles in which beats enter and leave registers that all move, or none.

    A beat comes in ``words`` parts, one a cycle in which they move, from the cycle after ``there`` on; the last part
    enters. Beat k leaves from cycle ``free[k]`` on.
    """
    stages: list[bool] = [False] * latency
    enters: list[int] = []
    leaves: list[int] = []
    part, cycle = 0, 0
    while len(leaves) < len(there):
        if not stages[-1] or cycle >= free[len(leaves)]:
            if stages[-1]:
                leaves.append(cycle)
            ready = len(enters) < len(there) and cycle > there[len(enters)]
            part += ready
            stages = [part == words, *stages[:-1]]
            if part == words:
                enters.append(cycle)
                part = 0
        cycle += 1
    return enters, leaves


@pytest.mark.parametrize("words", [1, 3])
@pytest.mark.parametrize("latency", [2, 5])
def test_a_pipeline_that_stands_keeps_its_bubbles(latency: int, words: int) -> None:
    late = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        there = np.cumsum(rng.choice([1, 1, 2, 9], 50) * words)
        free = np.cumsum(rng.choice([0, 1, 3, 40], 50, p=[0.4, 0.3, 0.2, 0.1]) * words)
        events = Events()
        given, asked = (events.series(name, 50, 0) for name in ("given", "asked"))
        enters, leaves = events.series("enters", 50, words), events.series("leaves", 50)
        events.after(enters, given, words)
        events.after(leaves, asked, 0)
        events.after(leaves, enters, latency)
        behind = -(-latency // words)
        events.after(enters, leaves, behind * words - latency, lag=behind, back=True)
        gate = events.gate(enters, leaves, latency)
        events.moves(gate, enters, given, words)
        if words > 1:
            events.moves(gate, enters, enters, words, lag=1)
        events.gaps(given, np.diff(there, prepend=0))
        events.gaps(asked, np.diff(free, prepend=0))
        # Series begin at cycle 0.
        times, squeezed = exact_times(events), events.earliest()
        expected = registers((there - there[0]).tolist(), (free - free[0]).tolist(), latency, words)
        assert (times[enters].tolist(), times[leaves].tolist()) == expected, seed
        assert (squeezed[leaves] <= times[leaves]).all()
        late += squeezed[leaves].tolist() != times[leaves].tolist()
    assert late > 5, "bubbles that are squeezed out would be noticed"


def test_a_design_takes_the_cycles_that_are_predicted(tmp_path: Path) -> None:
    """A product gives beats now and then, and its requantizer stands until the other factor has come."""
    x, y = (Integers(length=n, bits=16, exponent=-12) for n in (16, 8))
    formats = "int8-e8m0", "int8"
    times = MultiplySpec(left_bits=16, right_bits=16, shift=12, output_bits=16)
    both = Step("times", "times", Multiply(x=y, right=y, y=y, spec=times), ("early.requantize", "late.requantize"))
    steps = [*product("early", x, 8, formats, 0, "x"), *product("late", x, 8, formats, 1, "x"), both]
    graph = IntegerGraph({"x": x}, steps, ["times"])
    sizes, tokens = {"early": {"columns": 1, "lanes": 8}, "late": {"columns": 8, "lanes": 1}}, 3
    emit_dataflow(graph, drawn(graph, tokens), tmp_path / "design", name="exact", parallelism=sizes, fifos={})
    result = run_dataflow(tmp_path / "design")
    assert result.equal
    timed = TimedGraph(graph, place_graph(graph, sizes), np.arange(tokens), {})
    assert timed.cycles == result.cycles == result.predicted_cycles
    assert timed.span(timed.events.earliest()) < timed.cycles
