"""FIFO, skid buffer, fork and join: every beat once, in order, under any stalls, at the promised rate."""

import random

import pytest
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import fifo as amaranth_fifo
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.errors import InputError
from mxhw.rtl_templates.stream import Fifo, Fork, Join, SkidBuffer
from tests.rtl_templates.stream.bench import StreamError, run

STALLS = [(0.0, 0), (0.3, 1), (0.7, 2)]


def words(count, bits=16, seed=0):
    rng = random.Random(seed)
    return [0, (1 << bits) - 1, *(rng.getrandbits(bits) for _ in range(count - 2))]


def buffers():
    return [SkidBuffer(shape=16), *(Fifo(shape=16, depth=depth) for depth in (0, 1, 2, 3, 4, 7))]


@pytest.mark.parametrize("index", range(len(buffers())))
@pytest.mark.parametrize(("stall", "seed"), STALLS)
def test_a_buffer_is_the_identity(index, stall, seed):
    beats = words(60)
    assert run(buffers()[index], {"x": beats}, {"y": 60}, stall, seed).outputs["y"] == beats


@pytest.mark.parametrize(
    ("make", "latency"),
    [
        (lambda: SkidBuffer(shape=16), 1),
        *((lambda d=d: Fifo(shape=16, depth=d), n) for d, n in enumerate((0, 1, 1, 2, 2))),
    ],
)
def test_a_buffer_passes_a_beat_a_cycle_after_its_latency(make, latency):
    found = run(make(), {"x": words(40)}, {"y": 40})
    assert found.is_gapless("x") and found.is_gapless("y")
    assert found.latency() == latency


@pytest.mark.parametrize("depth", [0, 1, 2, 3, 8])
def test_a_fifo_holds_exactly_its_depth(depth):
    fifo = Fifo(shape=16, depth=depth)
    with pytest.raises(StreamError, match=f"x: {depth} of {depth + 5} beats were accepted"):
        run(fifo, {"x": words(depth + 5)}, {"y": 0}, stall=1.0, only={"y"})


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


def test_the_bench_catches_a_fifo_that_loses_beats():
    assert run(LosesWhenFull(), {"x": words(60)}, {"y": 60}).outputs["y"] == words(60)
    with pytest.raises(StreamError, match="beats came, 60 were expected"):
        run(LosesWhenFull(), {"x": words(60)}, {"y": 60}, 0.5, 3)


def test_the_bench_catches_a_valid_that_is_withdrawn():
    with pytest.raises(StreamError, match=r"valid was withdrawn before ready|beats were accepted"):
        run(WaitsForReady(), {"x": words(60)}, {"y": 60}, 0.5, 3)


class ReceiversSeeRubbish(SkidBuffer):
    """A skid buffer whose payload follows the input while it is stalled."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.sync += self.y.payload.eq(self.x.payload)
        return m


def test_the_bench_catches_a_payload_that_changes():
    with pytest.raises(StreamError, match="the payload changed while valid and not ready"):
        run(ReceiversSeeRubbish(shape=16), {"x": words(60)}, {"y": 60}, 0.5, 3)


@pytest.mark.parametrize("outputs", [1, 2, 5])
@pytest.mark.parametrize(("stall", "seed"), [*STALLS, (0.5, 4)])
def test_a_fork_gives_every_beat_to_every_output_once(outputs, stall, seed):
    names, beats = [f"y{i}" for i in range(outputs)], words(50)
    found = run(Fork(shape=16, outputs=outputs), {"x": beats}, dict.fromkeys(names, 50), stall, seed)
    assert all(found.outputs[name] == beats for name in names)
    if not stall:
        assert found.is_gapless("x") and all(found.latency(y=name) == 0 for name in names)


def test_a_fork_is_eager():
    found = run(Fork(shape=16, outputs=2), {"x": words(50)}, {"y0": 50, "y1": 50}, 0.6, 7, only={"y1"})
    first, second = found.ports["y0"].cycles, found.ports["y1"].cycles
    assert all(a <= b for a, b in zip(first, second, strict=True)) and first != second


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


@pytest.mark.parametrize("kind", [DropsABeat, RepeatsABeat])
def test_a_broken_fork_is_caught(kind):
    def values():
        return run(kind(shape=16, outputs=2), {"x": words(50)}, {"y0": 50, "y1": 50}, 0.5, 4)

    with pytest.raises(StreamError):
        values()


@pytest.mark.parametrize("inputs", [1, 2, 3])
@pytest.mark.parametrize(("stall", "seed"), STALLS)
def test_a_join_pairs_beats_of_equal_number(inputs, stall, seed):
    beats = {f"x{i}": words(50, 8 + i, seed=i) for i in range(inputs)}
    found = run(Join(shapes=[8 + i for i in range(inputs)]), beats, {"y": 50}, stall, seed)
    offsets = [sum(8 + j for j in range(i)) for i in range(inputs)]
    expected = [
        sum(word << offset for word, offset in zip(row, offsets, strict=True))
        for row in zip(*beats.values(), strict=True)
    ]
    assert found.outputs["y"] == expected
    if not stall:
        assert found.is_gapless("y") and found.latency("x0") == 0


class TakesOneTooEarly(Join):
    """A join that takes a beat of x0 although x1 has none yet."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        ready = Signal()
        m.d.comb += ready.eq(self.y.ready)
        m.d.comb += self.x0.ready.eq(ready)
        return m


def test_a_broken_join_is_caught():
    with pytest.raises(StreamError):
        run(TakesOneTooEarly(shapes=[16, 16]), {"x0": words(50), "x1": words(50)}, {"y": 50}, 0.5, 4)


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
