"""Cycles of designs that are held up at their ports, against the event simulator, which equals the RTL."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest

from mxhw.arithmetic.dataflow import IntegerGraph, Linear
from mxhw.errors import InputError
from mxhw.hardware.cycles import Run, design_cycles, stages
from mxhw.hardware.cycles.network import network_of
from mxhw.hardware.cycles.stalls import PortStalls, stalled_cycles
from mxhw.hardware.structure import Design
from mxhw.passes.emit.dataflow.costed import design_of
from mxhw.passes.emit.dataflow.fifos import fifo_depths
from mxhw.passes.emit.dataflow.place import Placed, place_graph
from mxhw.passes.emit.dataflow.schedule import TimedGraph
from mxhw.sim.memory import Memory
from mxhw.sim.performance.stalls import PortHold, Stalls
from tests.hardware.cycles.draws import draw_block
from tests.passes.emit.dataflow.blocks import BlockShape, decoder_block
from tests.passes.emit.dataflow.graphs import mlp

TOKENS, OUTPUT = 16, "residual_2"


@dataclass(frozen=True, eq=False)
class Both:
    """A design as events, and as records."""

    timed: TimedGraph
    design: Design
    tokens: int

    @staticmethod
    def of(graph: IntegerGraph, placed: Mapping[str, Placed], tokens: int) -> "Both":
        depths = fifo_depths(graph, placed)
        return Both(TimedGraph(graph, placed, np.arange(tokens), depths), design_of(graph, placed, depths), tokens)

    def error(self, port: str, pace: float, latency: int) -> float:
        """Closed form over simulated cycles, less 1, of a memory of so many cycles a beat."""
        timed = self.timed.timed
        verilog = dict(zip([*self.timed.inputs, *self.timed.outputs], [*timed.inputs, *timed.outputs], strict=True))
        width = {**timed.inputs, **timed.outputs}[verilog[port]].width
        cycles = self.timed.under(Stalls(memories={verilog[port]: Memory(width / pace, latency)})).cycles
        found = stalled_cycles(self.design, self.tokens, ports={port: PortStalls(pace=pace, latency=latency)})
        assert found.deviation == 0 and found.draws == 1
        return found.total / cycles - 1

    @property
    def paces(self) -> list[float]:
        """Cycles a beat with which a port needs a share of the slowest step's cycles, or more than all of them."""
        ends = design_cycles(self.design, self.tokens).ends
        beats = self.timed.events.counts[self.timed.inputs["x"]]
        return [share * float(ends[-1]) / beats for share in (0.3, 0.95, 1.05, 2.5)]


@pytest.fixture(scope="module", params=[{"lanes": 4, "columns": 2}, {"lanes": 8, "columns": 2, "rows": 2}])
def block(request: pytest.FixtureRequest) -> Both:
    graph = decoder_block(BlockShape())
    sizes = {name: request.param for name, step in graph.steps.items() if isinstance(step.operation, Linear)}
    return Both.of(graph, place_graph(graph, sizes), TOKENS)


@pytest.fixture(scope="module")
def small() -> Both:
    graph = mlp()
    return Both.of(graph, place_graph(graph, {"mlp.up_proj": {"columns": 4, "lanes": 8}}), TOKENS)


@cache
def drawn(seed: int) -> Both:
    found = draw_block(random.Random(seed), 16)
    return Both.of(found.graph, found.placed, found.tokens)


def test_without_stalls_nothing_is_added(block: Both) -> None:
    found = stalled_cycles(block.design, TOKENS, ports={"x": PortStalls(), OUTPUT: PortStalls()})
    assert found.total == found.free.total == block.timed.cycles
    assert found.deviation == 0


def bandwidth_errors(both: Both) -> list[float]:
    """Of the input and of the output, once the run without stalls takes its cycles."""
    found = stalled_cycles(both.design, both.tokens, ports={})
    assert found.total == found.free.total == both.timed.cycles
    return [abs(both.error(port, pace, 40)) for port in ("x", *both.timed.outputs) for pace in both.paces]


def test_drawn_blocks_take_their_cycles() -> None:
    """Without stalls to the cycle; at bandwidths within half a percent."""
    assert max(bandwidth_errors(drawn(3))) < 0.005


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 130))
def test_so_do_many(seed: int) -> None:
    """Within two percent: bubbles in pipelines that stand count for more in some."""
    assert max(bandwidth_errors(drawn(seed))) < 0.02


@pytest.mark.parametrize("port", ["x", OUTPUT])
def test_bandwidths_that_bound_are_within_half_a_percent(port: str, block: Both) -> None:
    errors = [block.error(port, pace, 50) for pace in block.paces]
    assert max(map(abs, errors)) < 0.005, errors


def test_a_wrong_room_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A residual's queue holds up an input that comes slowly; so does each buffer, in its way."""
    both = drawn(3)
    pace = both.paces[1]
    assert abs(both.error("x", pace, 0)) < 0.002
    deep = replace(both.design, fifos={edge: 8 * depth for edge, depth in both.design.fifos.items()})
    assert abs(Both(both.timed, deep, both.tokens).error("x", pace, 0)) > 0.01
    with monkeypatch.context() as patch:
        patch.setattr(stages, "CAPTURE", stages.CAPTURE + 1)
        assert stalled_cycles(both.design, both.tokens, ports={}).total > both.timed.cycles
    assert stalled_cycles(both.design, both.tokens, ports={}).total == both.timed.cycles


def test_geometric_pauses_are_within_two_percent(block: Both) -> None:
    ports = ["x", "positions", OUTPUT]
    for stall in (0.05, 0.3):
        cycles = [block.timed.under(Stalls(stall, seed, longest=1)).cycles for seed in range(3)]
        found = stalled_cycles(block.design, TOKENS, ports=dict.fromkeys(ports, PortStalls(stall)))
        assert found.total == pytest.approx(np.mean(cycles), rel=0.02)
        assert found.total > found.free.total
        assert 0 < found.standard_error < 0.0025 * found.total


class AtInputs(Stalls):
    """Stalls that outputs have none of."""

    def at(self, port: str, width: int, *, is_output: bool) -> PortHold | None:
        return None if is_output else super().at(port, width, is_output=is_output)


def test_the_same_pauses_take_the_same_cycles(block: Both, small: Both) -> None:
    """Long ones, too: those that the bench draws at the inputs, run by run."""
    for both, stall in ((small, 0.1), (small, 0.6), (block, 0.6)):
        network = network_of(both.design, Run(np.arange(TOKENS)), dict.fromkeys(both.timed.inputs, PortStalls(stall)))
        assert [pause.name for pause in network.pauses] == list(both.timed.inputs)
        seeds = range(5)
        pauses = [
            np.stack([bench_pauses(stall, seed, pause.name, pause.beats) for seed in seeds], axis=1)
            for pause in network.pauses
        ]
        times = network.graph.solve(pauses)
        begins = np.min([times[series][0] for series in network.inputs.values()], axis=0)
        ends = np.max([times[series][-1] for series in network.outputs.values()], axis=0)
        cycles = [both.timed.under(AtInputs(stall, seed)).cycles for seed in seeds]
        assert (np.abs((ends - begins + 1) / cycles - 1) < 0.01).all()
        assert len(set(cycles)) == len(seeds)


def bench_pauses(stall: float, seed: int, port: str, beats: int) -> np.ndarray:
    """Pauses of the bench: of an input whose beats are taken as soon as they are offered."""
    hold = Stalls(stall, seed).at(port, 8, is_output=False)
    assert hold is not None
    offer, found, free = hold.begin(), [], 0
    for _ in range(beats):
        time = offer(free, free)
        found.append(time - free)
        free = time + 1
    return np.array(found, dtype=np.float64)


@pytest.mark.parametrize("stall", [0.1, 0.6])
def test_pauses_are_drawn_as_the_bench_draws_them(stall: float) -> None:
    bench = np.concatenate([bench_pauses(stall, seed, "x", 500) for seed in range(200)])
    law = PortStalls(stall, 1024).pauses(np.random.default_rng(1), (500, 200), is_output=False).ravel()
    assert law.mean() == pytest.approx(bench.mean(), abs=5 * float(law.std()) / len(law) ** 0.5)
    for most in (0, 1, 3, 20, 500):
        assert (law <= most).mean() == pytest.approx((bench <= most).mean(), abs=0.01)
    # Ready that comes and goes cuts one pause in four short.
    fickle = PortStalls(stall, 1024).pauses(np.random.default_rng(1), (500, 200), is_output=True)
    assert fickle.mean() == pytest.approx(0.75 * law.mean(), rel=0.05)


def test_more_precise_means_are_of_more_runs(small: Both) -> None:
    ports = dict.fromkeys(["x", *small.timed.outputs], PortStalls(0.3, 1024))
    coarse, fine = (stalled_cycles(small.design, TOKENS, ports=ports, precision=each) for each in (0.02, 0.005))
    assert coarse.draws < fine.draws and coarse.standard_error > fine.standard_error
    assert coarse.total == pytest.approx(fine.total, abs=4 * coarse.standard_error)
    assert stalled_cycles(small.design, TOKENS, ports=ports, precision=0.02).total == coarse.total


def test_what_cannot_be_is_refused(block: Both) -> None:
    for values in ({"stall": 1.0}, {"stall": -0.1}, {"longest": 0}, {"pace": 0}, {"latency": -1}):
        with pytest.raises(InputError, match=f"not {next(iter(values.values()))}"):
            PortStalls(**values)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="the design has no port 'residual'"):
        stalled_cycles(block.design, TOKENS, ports={"residual": PortStalls()})
    short = replace(block.design, fifos={})
    with pytest.raises(InputError, match=r"queues are too short: \d+ events of \d+ can never happen; take the depths"):
        stalled_cycles(short, TOKENS, ports={"x": PortStalls(0.1)})
