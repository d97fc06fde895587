"""cocotb bench of a dataflow design: real inputs, every beat of every step and output, random stalls on every port.

It needs only cocotb, and as working directory the design's folder (design.json, beats, images): the copy beside an
emitted design runs with every simulator that cocotb knows. It fails unless every output beat and every beat at every
step's tap (`tap_STREAM_fire`, `tap_STREAM_payload`) equals the expected one, none is missing, none is one too many, and
each output keeps the promises of a stream: once valid, a payload stays valid and unchanged until it is taken, and valid
does not wait for ready. It names the first step that differs in execution order, with the beat, token and element.

Environment (all optional): MXHW_BENCH_RUNS, a JSON list of {"stall": probability, "seed": integer};
MXHW_BENCH_OUTPUT, a folder that gets `run0.json` and so on, which makes the caller the judge.
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
LONGEST_PAUSE = 1024  # cycles
IDLE_LIMIT = 4096  # cycles without a beat that are a deadlock, unless a step needs more than half of them a token
SILENCE = 200  # cycles to wait for a beat too many
DEFAULT_RUNS = [{"stall": 0.0, "seed": 0}, {"stall": 0.3, "seed": 1}]


class StreamError(AssertionError):
    """The design broke a promise of its ports."""


class DeadlockError(StreamError):
    """Nothing moves although beats are missing."""


class Pauses:
    """Idle cycles before each beat of a port: none, geometric, and now and then long enough to fill buffers.

    A generator of its own (xorshift64*) makes them the same in every simulator and in mxhw's bulk engine.
    """

    def __init__(self, stall: float, seed: int, name: str) -> None:
        digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
        self.threshold, self.state = int(stall * 2**32), int.from_bytes(digest[:8], "little") | 1

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
            length = 1 + self.draw() % LONGEST_PAUSE
        return length, self.draw() & 3 == 0


class Beats:
    """The beats of one stream in one run: what is expected, how many passed, and what differs."""

    def __init__(self, name: str, title: str, record: dict[str, Any]) -> None:
        self.name, self.title, self.record = name, title, record
        lines = [line for line in Path(record["beats"]).read_text().splitlines() if not line.startswith("//")]
        repeat = record.get("repeat", 1)
        self.expected = [int(line, 16) for line in lines] * repeat
        if len(self.expected) != record["count"]:
            raise ValueError(f"{record['beats']} has {len(lines)} beats, but design.json says {record['count']}")
        self.moved = self.different = 0
        self.wrong: tuple[int, int] | None = None  # number and value of the first one
        self.begin = self.end = 0.0

    @property
    def finished(self) -> bool:
        """Whether all beats have passed."""
        return self.moved >= len(self.expected)

    def count(self, beat: int) -> None:
        """Compare a beat that passes."""
        self.end = get_sim_time("ns")
        self.begin = self.begin or self.end
        if self.finished or beat != self.expected[self.moved]:
            self.different += 1
            self.wrong = self.wrong or (self.moved, beat)
        self.moved += 1

    def verdict(self) -> str | None:
        """Say what is wrong; None if nothing is."""
        if self.wrong is None:
            return None if self.finished else f"{self.title}: {self.moved} of {len(self.expected)} beats passed"
        beat, got = self.wrong
        if beat >= len(self.expected):
            return f"{self.title}: beat {beat} is one too many, {got:x}"
        place = "".join(self.place(beat, got))
        return f"{self.title}, {place}; {self.different} of {len(self.expected)} beats differ"

    def place(self, beat: int, got: int) -> str:
        """Say which token and element of a beat differs, and how."""
        want, offset, token, within = self.expected[beat], 0, 0, beat
        sizes = self.record.get("token_beats", len(self.expected))
        while within >= (size := sizes[token] if isinstance(sizes, list) else sizes):
            within, token = within - size, token + 1
        for field in self.record.get("fields", []):
            for lane in range(field["lanes"]):
                mask = (1 << field["bits"]) - 1
                right, wrong = want >> offset & mask, got >> offset & mask
                offset += field["bits"]
                if right != wrong:
                    base = mask + 1 if field["signed"] else 0
                    right, wrong = (value - base if 2 * value > mask else value for value in (right, wrong))
                    where = f"token {token}, {field['name']} {within * field['lanes'] + lane}"
                    return f"beat {beat} ({where}): expected {right}, got {wrong}"
        return f"beat {beat}: expected {want:x}, got {got:x}"

    def to_json(self) -> dict[str, Any]:
        """Return what the caller judges by."""
        beat, got = self.wrong or (None, None)
        sizes = {"expected": len(self.expected), "moved": self.moved, "different": self.different}
        return {**sizes, "first": beat, "got": None if got is None else f"{got:x}"}


class Port:
    """An input or output of the design in one run."""

    def __init__(self, dut: Any, name: str, is_input: bool, beats: Beats, run: dict[str, Any]) -> None:
        self.name, self.is_input, self.beats = name, is_input, beats
        self.valid, self.ready, self.payload = (
            getattr(dut, f"{name}_{part}") for part in ("valid", "ready", "payload")
        )
        self.pauses = Pauses(run["stall"], run["seed"], name)

    def __str__(self) -> str:
        done = "accepted" if self.is_input else "received"
        return f"{self.beats.moved} of {len(self.beats.expected)} {self.name} beats {done}"


class Traffic:
    """All ports and taps of one run."""

    def __init__(self, dut: Any, design: dict[str, Any], run: dict[str, Any]) -> None:
        self.idle_limit = max(IDLE_LIMIT, 2 * max(step["interval"] for step in design["steps"]))
        self.seed: int = run["seed"]
        self.ports = [
            Port(dut, name, is_input, Beats(name, f"{'in' if is_input else 'out'}put {name}", record), run)
            for is_input in (True, False)
            for name, record in design["inputs" if is_input else "outputs"].items()
        ]
        self.taps = []
        for step in design["steps"]:
            title = f"step {step['name']} ({step['stream']}, {step['kind']})"
            self.taps.append(Beats(f"tap_{step['stream']}", title, step))

    @property
    def streams(self) -> list[Beats]:
        """Everything that is compared: the steps in execution order, then the outputs."""
        return self.taps + [port.beats for port in self.ports if not port.is_input]

    @property
    def cycles(self) -> int:
        """Clock cycles from the first accepted input beat to the last transferred output beat, both counted."""
        first = min(port.beats.begin for port in self.ports if port.is_input and port.beats.moved)
        last = max(port.beats.end for port in self.ports if not port.is_input and port.beats.moved)
        return round(last - first) // PERIOD_NS + 1

    def where(self) -> str:
        """Say how far all ports came."""
        return ", ".join(str(port) for port in self.ports)


async def drive(dut: Any, port: Port, traffic: Traffic) -> None:
    """Offer every beat; between beats, pause at random with rubbish on the payload."""
    edge, ready_rises = RisingEdge(dut.clk), RisingEdge(port.ready)
    rubbish, width = random.Random(traffic.seed), port.beats.record["width"]
    for beat in port.beats.expected:
        pause, _ = port.pauses.next()
        if pause:
            port.valid.value = 0
            port.payload.value = rubbish.getrandbits(width)
            for _ in range(pause):
                await edge
        port.valid.value = 1
        port.payload.value = beat
        await edge
        while not port.ready.value:
            await ready_rises
            await edge
        port.beats.count(beat)
    port.valid.value = 0
    port.payload.value = rubbish.getrandbits(width)


async def take(dut: Any, port: Port, traffic: Traffic) -> None:
    """Accept all beats with random back-pressure and watch that a waiting beat neither leaves nor changes.

    In a pause, ready waits for valid (a valid that waits for ready never comes) or comes and goes. Before the first
    beat there is a pause whenever the run has stalls. After the last beat, raise at the next one, until the run ends.
    """
    edge, valid_rises = RisingEdge(dut.clk), RisingEdge(port.valid)
    pause, fickle = port.pauses.next()
    if port.pauses.threshold:
        pause, fickle = max(pause, 1), False
    waiting: int | None = None
    while True:
        ready = port.beats.finished or not pause or bool(fickle and port.pauses.draw() & 1)
        port.ready.value = int(ready)
        await edge
        place = f"at {port.name} beat {port.beats.moved}"
        if not port.valid.value:
            if waiting is not None:
                raise StreamError(f"{port.name}_valid was withdrawn before ready, {place}")
            if port.beats.finished or not (pause and fickle):
                await valid_rises
            continue
        if port.beats.finished:
            raise StreamError(f"a {port.name} beat too many after the last")
        if not port.payload.value.is_resolvable:
            raise StreamError(f"{port.name}_payload has unknown bits while valid, {place}")
        word = int(port.payload.value)
        if waiting not in (None, word):
            raise StreamError(f"{port.name}_payload changed while valid and not ready, {place}")
        if ready:
            port.beats.count(word)
            waiting = None
            pause, fickle = port.pauses.next()
        else:
            waiting, pause = word, max(0, pause - 1)


async def listen(dut: Any, beats: Beats, traffic: Traffic) -> None:
    """Compare every beat that passes a tap."""
    fire, payload = (getattr(dut, f"{beats.name}_{part}") for part in ("fire", "payload"))
    edge, fires = RisingEdge(dut.clk), RisingEdge(fire)
    while True:
        await edge
        if not fire.value:
            await fires
            continue
        if not payload.value.is_resolvable:
            raise StreamError(f"{beats.title} has unknown bits in beat {beats.moved}")
        beats.count(int(payload.value))


async def watch(traffic: Traffic) -> None:
    """End when every beat has passed and silence follows; raise once nothing has moved for the design's idle limit."""
    limit, idle, seen = traffic.idle_limit, 0, [-1]
    while idle < limit:
        await Timer(SILENCE * PERIOD_NS, "ns")
        now = [beats.moved for beats in (*traffic.taps, *(port.beats for port in traffic.ports))]
        idle, seen = (idle + SILENCE if now == seen else 0), now
        if idle and all(port.beats.finished for port in traffic.ports) and all(tap.finished for tap in traffic.taps):
            return
    if not all(port.beats.finished for port in traffic.ports):
        raise DeadlockError(f"no beat moved for {limit} cycles: deadlock or a lost beat")


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
            errors.append(type(error)(f"{error}; {traffic.where()}"))
        if is_last or errors:
            finished.set()

    await reset(dut, traffic)
    parts: list[tuple[Callable[..., Awaitable[None]], Any]] = [(listen, tap) for tap in traffic.taps]
    parts += [(drive if port.is_input else take, port) for port in traffic.ports]
    tasks = [cocotb.start_soon(guarded(part(dut, item, traffic), False)) for part, item in parts]
    tasks.append(cocotb.start_soon(guarded(watch(traffic), True)))
    await finished.wait()
    for task in tasks:
        task.cancel()
    return errors[0] if errors else None


def check_widths(dut: Any, design: dict[str, Any], output: str | None) -> None:
    """Raise (and tell the caller in `refused.txt`) if the payload ports are not as wide as design.json says."""
    ports = {**design["inputs"], **design["outputs"], **{f"tap_{step['stream']}": step for step in design["steps"]}}
    for name, record in ports.items():
        if (found := len(getattr(dut, f"{name}_payload"))) != record["width"]:
            reason = f"{name}_payload is {found} bits wide, but design.json says {record['width']}"
            if output:
                (Path(output) / "refused.txt").write_text(reason)
            raise ValueError(reason)


def judge(traffic: Traffic, error: StreamError | None) -> None:
    """Raise unless all promises were kept and every beat is right; name the first step that differs."""
    differ = [beats for beats in traffic.streams if beats.different]
    short = [] if error else [beats for beats in traffic.streams if not beats.finished]
    said = [str(beats.verdict()) for beats in (differ or short)[:1]]
    said += [f"{len(differ)} of {len(traffic.streams)} streams differ"] if differ else []
    said += [str(error)] if error else []
    assert not said, "\n".join(said)


@cocotb.test()
async def every_step_is_exact(dut: Any) -> None:
    """Stream everything once per run, without and with stalls."""
    design, output = json.loads(Path("design.json").read_text()), os.environ.get("MXHW_BENCH_OUTPUT")
    runs = json.loads(os.environ.get("MXHW_BENCH_RUNS", "null")) or DEFAULT_RUNS
    check_widths(dut, design, output)
    Clock(dut.clk, PERIOD_NS, "ns").start()
    for index, run in enumerate(runs):
        traffic = Traffic(dut, design, run)
        error = await one_run(dut, traffic)
        cocotb.log.info("run %d: stall %.2f, %s, %s", index, run["stall"], traffic.where(), error or "no error")
        if not output:
            judge(traffic, error)
            continue
        streams = {beats.name: beats.to_json() for beats in (*traffic.taps, *(port.beats for port in traffic.ports))}
        record = {"cycles": None if error else traffic.cycles, "error": error and str(error), "streams": streams}
        record["deadlock"] = isinstance(error, DeadlockError)
        (Path(output) / f"run{index}.json").write_text(json.dumps(record))
