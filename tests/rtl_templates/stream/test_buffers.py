"""FIFO, skid buffer, fork and join: every beat once, in order, under any stalls, at the promised rate."""

import random

import numpy as np
import pytest
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import fifo as amaranth_fifo
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.errors import InputError
from mxhw.rtl_templates.stream import Fifo, Fork, Join, SkidBuffer
from mxhw.sim import StreamError
from tests.rtl_templates.bank import Bench

STALLS = [(0.0, 0), (0.2, 1), (0.5, 2), (0.8, 3)]
COUNT = 3000


class LosesWhenFull(wiring.Component):
    """A fifo that is one cell too shallow for what it promises: it stays ready and drops what does not fit."""

    def __init__(self):
        super().__init__({"x": In(stream.Signature(16)), "y": Out(stream.Signature(16))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = amaranth_fifo.SyncFIFOBuffered(width=16, depth=4)
        m.d.comb += [
            queue.w_data.eq(self.x.payload),
            queue.w_en.eq(self.x.valid),
            self.x.ready.eq(1),
            self.y.payload.eq(queue.r_data),
            self.y.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.y.ready),
        ]
        return m


class WaitsForReady(wiring.Component):
    """A wire whose valid waits for ready."""

    def __init__(self):
        super().__init__({"x": In(stream.Signature(16)), "y": Out(stream.Signature(16))})

    def elaborate(self, platform):
        m = Module()
        go = Signal()
        m.d.sync += go.eq(self.y.ready)
        m.d.comb += [
            self.y.valid.eq(self.x.valid & (go | self.y.ready)),
            self.y.payload.eq(self.x.payload),
            self.x.ready.eq(self.y.valid & self.y.ready),
        ]
        return m


class ReceiversSeeRubbish(SkidBuffer):
    """A skid buffer whose payload follows the input while it is stalled."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.sync += self.y.payload.eq(self.x.payload)
        return m


class DropsABeat(Fork):
    """A fork that forgets that an output has not taken its beat: the first ready receiver moves it on."""

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.x.ready.eq(self.y0.ready | self.y1.ready)
        for y in (self.y0, self.y1):
            m.d.comb += [y.payload.eq(self.x.payload), y.valid.eq(self.x.valid)]
        return m


class RepeatsABeat(Fork):
    """A lazy fork that offers a beat again to an output which has it."""

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.x.ready.eq(Cat(self.y0.ready, self.y1.ready).all())
        for y in (self.y0, self.y1):
            m.d.comb += [y.payload.eq(self.x.payload), y.valid.eq(self.x.valid)]
        return m


class TakesOneTooEarly(Join):
    """A join that takes a beat of x0 although x1 has none yet."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        ready = Signal()
        m.d.comb += ready.eq(self.y.ready)
        m.d.comb += self.x0.ready.eq(ready)
        return m


DEPTHS = (0, 1, 2, 3, 4, 7, 8, 16)
LATENCY = {"skid": 1} | {f"fifo{depth}": min(2, (depth + 1) // 2) for depth in DEPTHS}
FORKS = {f"fork{outputs}": outputs for outputs in (1, 2, 5)}
JOINS = {f"join{inputs}": inputs for inputs in (1, 2, 3)}


@pytest.fixture(scope="module")
def bench():
    return Bench(
        {"skid": SkidBuffer(shape=16)}
        | {f"fifo{depth}": Fifo(shape=16, depth=depth) for depth in DEPTHS}
        | {name: Fork(shape=16, outputs=outputs) for name, outputs in FORKS.items()}
        | {name: Join(shapes=[8 + i for i in range(inputs)]) for name, inputs in JOINS.items()}
        | {"loses": LosesWhenFull(), "waits": WaitsForReady(), "changes": ReceiversSeeRubbish(shape=16)}
        | {"drops": DropsABeat(shape=16, outputs=2), "repeats": RepeatsABeat(shape=16, outputs=2)}
        | {"early": TakesOneTooEarly(shapes=[16, 16])}
    )


def words(count, bits=16, seed=0):
    rng = random.Random(seed)
    return [0, (1 << bits) - 1, *(rng.getrandbits(bits) for _ in range(count - 2))]


@pytest.mark.parametrize(("stall", "seed"), STALLS)
@pytest.mark.parametrize("name", LATENCY)
def test_a_buffer_is_the_identity(bench, name, stall, seed):
    beats = words(COUNT, seed=seed)
    assert bench.y(name, {"x": beats}, COUNT, stall=stall, seed=seed) == beats


@pytest.mark.parametrize("count", [1, 2, 40])
@pytest.mark.parametrize("name", LATENCY)
def test_a_buffer_passes_a_beat_a_cycle_after_its_latency(bench, name, count):
    assert bench.run(name, {"x": words(40)[:count]}, count).cycles == count + LATENCY[name]


def accepted(bench, name, cycles, **ready):
    """Whether a beat passes x and the outputs in every cycle in which x always offers the same one."""
    ports = {f"{port}__ready": column for port, column in ready.items()}
    trace = bench.trace({name: {"x__valid": 1, "x__payload": 5} | ports}, cycles=cycles)[name]
    passed = {port: trace[f"{port}__valid"].astype(bool) & np.array(column, bool) for port, column in ready.items()}
    return passed | {"x": trace["x__ready"].astype(bool)}


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_fifo_holds_exactly_its_depth(bench, depth):
    assert accepted(bench, f"fifo{depth}", 40, y=[0] * 40)["x"].sum() == depth


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("loses", "deadlock or a lost beat"),
        ("waits", "was withdrawn before ready|no beat moved"),
        ("changes", "changed while valid and not ready"),
    ],
)
def test_a_broken_buffer_is_caught(bench, name, message):
    if name != "changes":
        assert bench.y(name, {"x": words(60)}, 60) == words(60)
    with pytest.raises(StreamError, match=message):
        bench.run(name, {"x": words(60)}, 60, stall=0.5, seed=3)


@pytest.mark.parametrize(("stall", "seed"), STALLS)
@pytest.mark.parametrize("name", FORKS)
def test_a_fork_gives_every_beat_to_every_output_once(bench, name, stall, seed):
    outputs, beats = [f"y{i}" for i in range(FORKS[name])], words(COUNT, seed=seed)
    found = bench.run(name, {"x": beats}, dict.fromkeys(outputs, COUNT), stall=stall, seed=seed)
    assert all(found.ints(output) == beats for output in outputs)
    assert stall or found.cycles == COUNT


def test_a_fork_is_eager(bench):
    slow = np.random.default_rng(7).random(200) < 0.4
    passed = accepted(bench, "fork2", 200, y0=[1] * 200, y1=slow.astype(int).tolist())
    first, second = passed["y0"].cumsum(), passed["y1"].cumsum()
    assert (first >= second).all() and (first <= second + 1).all() and (first > second).any()


@pytest.mark.parametrize("name", ["drops", "repeats"])
def test_a_broken_fork_is_caught(bench, name):
    with pytest.raises(StreamError):
        bench.run(name, {"x": words(50)}, {"y0": 50, "y1": 50}, stall=0.5, seed=4)


@pytest.mark.parametrize(("stall", "seed"), STALLS)
@pytest.mark.parametrize("name", JOINS)
def test_a_join_pairs_beats_of_equal_number(bench, name, stall, seed):
    inputs = {f"x{i}": words(COUNT, 8 + i, seed=seed + i) for i in range(JOINS[name])}
    offsets = [sum(8 + j for j in range(i)) for i in range(JOINS[name])]
    expected = [
        sum(word << offset for word, offset in zip(row, offsets, strict=True))
        for row in zip(*inputs.values(), strict=True)
    ]
    found = bench.run(name, inputs, COUNT, stall=stall, seed=seed)
    assert found.ints("y") == expected
    assert stall or found.cycles == COUNT


def test_a_broken_join_is_caught(bench):
    with pytest.raises(StreamError):
        bench.run("early", {"x0": words(50), "x1": words(50)}, 50, stall=0.5, seed=4)


def test_verilog_is_clean(bench):
    assert bench.complaints() == ""


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Fifo(shape=8, depth=-1), "depth must be an integer of at least 0, not -1"),
        (lambda: Fork(shape=8, outputs=0), "outputs must be an integer of at least 1, not 0"),
        (lambda: Join(shapes=[]), r"shapes must be at least one payload, not \[\]"),
    ],
)
def test_impossible_parameters_are_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()
