"""cocotb bench of one unit with streams: real beats in, every beat out, under random stalls on every port.

It needs only cocotb, and as working directory the design's folder (design.json, the beat files, memory images): the
copy beside an emitted design runs with every simulator that cocotb knows. It fails unless every output beat equals
the expected one, none is missing, none is one too many, and each output port keeps the promises of a stream: once
valid, a payload stays valid and unchanged until it is taken, and valid does not wait for ready.

A GEMM unit's folder has the streams x and y, whose widths and counts design.json gives. Any other unit has in its
design.json `streams`, a list of {"name", "prefix", "width", "is_input"} with the beats in `NAME_beats.hex`, `levels`
(port → value of the inputs that belong to no stream), and `idle_limit`.

Environment (all optional): MXHW_BENCH_RUNS, a JSON list of {"stall": probability, "seed": integer};
MXHW_BENCH_OUTPUT, a folder that gets `run0.json`, `run0_y.hex` and so on, which makes the caller the judge of the
values.
"""

import hashlib
import json
import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, Event, RisingEdge, Timer
from cocotb.utils import get_sim_time

PERIOD_NS = 10
LONG_PAUSES = 1 << 28  # of 2^32: one pause in sixteen
SILENCE = 200  # cycles to wait for a beat too many
DEFAULT_RUNS = [{"stall": 0.0, "seed": 0}, {"stall": 0.3, "seed": 1}]


class StreamError(AssertionError):
    """The design broke a promise of its ports, or stopped."""

    def __init__(self, message: str, port: "Port | None" = None) -> None:
        super().__init__(message)
        self.port = port


class Pauses:
    """Idle cycles before each beat of a port: none, geometric, and now and then long enough to fill buffers.

    A generator of its own (xorshift64*) makes them the same in every simulator and in mxhw's bulk engine.
    """

    def __init__(self, stall: float, state: int, longest: int) -> None:
        self.threshold, self.state, self.longest = int(stall * 2**32), state, longest

    def draw(self) -> int:
        """Return 32 random bits."""
        state = self.state
        state ^= state >> 12
        state = (state ^ state << 25) & (2**64 - 1)
        self.state = state ^ state >> 27
        return (self.state * 0x2545F4914F6CDD1D & (2**64 - 1)) >> 32

    def next(self) -> tuple[int, bool]:
        """Return a length, and whether ready of an output comes and goes meanwhile."""
        length = 0
        while self.threshold and self.draw() < self.threshold:
            length += 1
        if not length:
            return 0, False
        if self.draw() < LONG_PAUSES:
            length = 1 + self.draw() % self.longest
        return length, self.draw() & 3 == 0


class Port:
    """One stream in one run: its signals, its beats, and what has passed."""

    def __init__(self, dut: Any, stream: dict[str, Any], run: dict[str, Any], idle_limit: int) -> None:
        self.name, self.prefix, self.width = stream["name"], stream["prefix"], stream["width"]
        self.is_input, self.beats = stream["is_input"], stream["beats"]
        parts = ("valid", "ready", "payload")
        self.valid, self.ready, self.payload = (getattr(dut, self.prefix + part) for part in parts)
        digest = hashlib.sha256(f"{run['seed']}/{self.name}".encode()).digest()
        self.pauses = Pauses(run["stall"], int.from_bytes(digest[:8], "little") | 1, max(1, idle_limit // 4))
        self.passed: list[int] = []
        self.first = self.last = 0.0

    @property
    def finished(self) -> bool:
        """Whether all beats have passed."""
        return len(self.passed) >= len(self.beats)

    def count(self, beat: int) -> None:
        """Note that a beat has passed."""
        self.last = get_sim_time("ns")
        self.first = self.first or self.last
        self.passed.append(beat)

    def __str__(self) -> str:
        done = "accepted" if self.is_input else "received"
        return f"{len(self.passed)} of {len(self.beats)} {self.name} beats {done}"


class Traffic:
    """All ports of one run."""

    def __init__(self, dut: Any, design: dict[str, Any], run: dict[str, Any]) -> None:
        self.idle_limit: int = design["idle_limit"]
        self.ports = [Port(dut, stream, run, self.idle_limit) for stream in design["streams"]]
        self.seed: int = run["seed"]

    @property
    def cycles(self) -> int:
        """Clock cycles from the first accepted input beat to the last transferred output beat, both counted."""
        moved = [port for port in self.ports if port.passed]
        first = min((port.first for port in [p for p in moved if p.is_input] or moved), default=0.0)
        last = max((port.last for port in [p for p in moved if not p.is_input] or moved), default=-PERIOD_NS)
        return round(last - first) // PERIOD_NS + 1

    def where(self) -> str:
        """Say how far all ports came."""
        return ", ".join(str(port) for port in self.ports)


Part = Callable[[], Awaitable[None]]


async def drive(dut: Any, port: Port, traffic: Traffic) -> None:
    """Offer every beat; between beats, pause at random with rubbish on the payload."""
    edge, ready_rises = RisingEdge(dut.clk), RisingEdge(port.ready)
    rubbish = random.Random(traffic.seed)
    for beat in port.beats:
        pause, _ = port.pauses.next()
        if pause:
            port.valid.value = 0
            port.payload.value = rubbish.getrandbits(port.width)
            for _ in range(pause):
                await edge
        port.valid.value = 1
        port.payload.value = beat
        await edge
        while not port.ready.value:
            await ready_rises
            await edge
        port.count(beat)
    port.valid.value = 0
    port.payload.value = rubbish.getrandbits(port.width)


async def take(dut: Any, port: Port, traffic: Traffic) -> None:
    """Accept all beats with random back-pressure and watch that a waiting beat neither leaves nor changes.

    In a pause, ready waits for valid (a valid that waits for ready never comes) or comes and goes. Before the first
    beat there is a pause whenever the run has stalls.
    """
    edge, valid_rises = RisingEdge(dut.clk), RisingEdge(port.valid)
    pause, fickle = port.pauses.next()
    if port.pauses.threshold:
        pause, fickle = max(pause, 1), False
    waiting: int | None = None
    while not port.finished:
        ready = not pause or (fickle and port.pauses.draw() & 1)
        port.ready.value = int(ready)
        await edge
        if not port.valid.value:
            if waiting is not None:
                raise StreamError(f"{port.prefix}valid was withdrawn before ready, {place(port)}", port)
            if not (pause and fickle):
                await valid_rises
            continue
        if not port.payload.value.is_resolvable:
            raise StreamError(f"{port.prefix}payload has unknown bits while valid, {place(port)}", port)
        word = int(port.payload.value)
        if waiting not in (None, word):
            raise StreamError(f"{port.prefix}payload changed while valid and not ready, {place(port)}", port)
        if ready:
            port.count(word)
            waiting = None
            pause, fickle = port.pauses.next()
        else:
            waiting, pause = word, max(0, pause - 1)
    port.ready.value = 1


async def refuse(dut: Any, port: Port, traffic: Traffic) -> None:
    """Take all beats of an output; then raise at the next one, until the run ends."""
    await take(dut, port, traffic)
    while True:
        await RisingEdge(dut.clk)
        if port.valid.value:
            raise StreamError(f"a {port.name} beat too many after the last", port)
        await RisingEdge(port.valid)


def place(port: Port) -> str:
    """Say which beat an error is about."""
    return f"at {port.name} beat {len(port.passed)}"


async def watch(traffic: Traffic) -> None:
    """End when every beat has passed and silence follows; raise once no port has moved for the design's idle limit."""
    limit, idle, seen = traffic.idle_limit, 0, [-1]
    step = min(limit, SILENCE)
    while idle < limit:
        await Timer(step * PERIOD_NS, "ns")
        now = [len(port.passed) for port in traffic.ports]
        idle, seen = (idle + step if now == seen else 0), now
        if idle and all(port.finished for port in traffic.ports):
            return
    raise StreamError(f"no beat moved for {limit} cycles: deadlock or a lost beat")


async def reset(dut: Any, traffic: Traffic) -> None:
    """Hold reset for a few cycles with all ports idle."""
    dut.rst.value = 1
    for port in traffic.ports:
        (port.valid if port.is_input else port.ready).value = 0
        if port.is_input:
            port.payload.value = 0
    await ClockCycles(dut.clk, 4)
    dut.rst.value = 0
    await RisingEdge(dut.clk)


async def one_run(dut: Any, traffic: Traffic) -> StreamError | None:
    """Stream everything once; return a broken promise, or None."""
    finished = Event()
    errors: list[StreamError] = []

    async def guarded(part: Awaitable[None], is_last: bool) -> None:
        try:
            await part
        except StreamError as error:
            errors.append(StreamError(f"{error}; {traffic.where()}", error.port))
        if is_last or errors:
            finished.set()

    await reset(dut, traffic)
    tasks = [
        cocotb.start_soon(guarded((drive if port.is_input else refuse)(dut, port, traffic), False))
        for port in traffic.ports
    ]
    tasks.append(cocotb.start_soon(guarded(watch(traffic), True)))
    await finished.wait()
    for task in tasks:
        task.cancel()
    return errors[0] if errors else None


def read_design() -> dict[str, Any]:
    """Return design.json with its streams and their beats."""
    design: dict[str, Any] = json.loads(Path("design.json").read_text())
    gemm = [
        {"name": name, "prefix": f"{name}_", "width": design.get(f"{name}_width"), "is_input": name == "x"}
        for name in ("x", "y")
    ]
    streams = design.setdefault("streams", gemm)
    for stream in streams:
        lines = Path(f"{stream['name']}_beats.hex").read_text().split()
        stream["beats"] = [int(line, 16) for line in lines]
    return design


def check_widths(dut: Any, design: dict[str, Any], output: str | None) -> None:
    """Raise (and tell the caller in `refused.txt`) if the payload ports are not as wide as design.json says."""
    for stream in design["streams"]:
        name, said = f"{stream['prefix']}payload", stream["width"]
        if (found := len(getattr(dut, name))) != said:
            reason = f"{name} is {found} bits wide, but {stream['prefix']}width in design.json is {said}"
            if output:
                (Path(output) / "refused.txt").write_text(reason)
            raise ValueError(reason)


def report(folder: Path, index: int, traffic: Traffic, error: StreamError | None) -> None:
    """Write one run's outputs and figures for the caller to judge."""
    for port in traffic.ports:
        lines = "".join(f"{word:x}\n" for word in ([] if port.is_input else port.passed))
        (folder / f"run{index}_{port.name}.hex").write_text(lines)
    record: dict[str, Any] = {"cycles": None if error else traffic.cycles, "error": error and str(error)}
    if error and error.port:
        record |= {"port": error.port.name, "beat": len(error.port.passed)}
    (folder / f"run{index}.json").write_text(json.dumps(record))


def judge(traffic: Traffic, error: StreamError | None) -> None:
    """Raise unless the run kept its promises and every beat is the expected one."""
    assert error is None, error
    for port in traffic.ports:
        wrong = [i for i, (got, want) in enumerate(zip(port.passed, port.beats, strict=False)) if got != want]
        total, name = len(port.beats), port.name
        assert not wrong, f"{len(wrong)} of {total} {name} beats differ, the first is beat {wrong[0]}"


@cocotb.test()
async def every_output_is_exact(dut: Any) -> None:
    """Stream everything once per run, without and with stalls."""
    design, output = read_design(), os.environ.get("MXHW_BENCH_OUTPUT")
    runs = json.loads(os.environ.get("MXHW_BENCH_RUNS", "null")) or DEFAULT_RUNS
    check_widths(dut, design, output)
    for name, value in design.get("levels", {}).items():
        getattr(dut, name).value = value
    Clock(dut.clk, PERIOD_NS, "ns").start()
    for index, run in enumerate(runs):
        traffic = Traffic(dut, design, run)
        error = await one_run(dut, traffic)
        if output:
            report(Path(output), index, traffic, error)
        else:
            judge(traffic, error)
        cocotb.log.info("run %d: stall %.2f, %s, %s", index, run["stall"], traffic.where(), error or "ok")
