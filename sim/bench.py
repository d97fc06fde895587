"""cocotb bench of one emitted GEMM unit: real beats in, every beat out, under random stalls on both ports.

It needs only cocotb, and as working directory the design's folder (design.json, the two beat files, memory images): the
copy beside an emitted design runs with every simulator that cocotb knows. It fails unless every output beat equals
the expected one, none is missing, none is one too many, and the output port keeps the promises of a stream: once valid,
a payload stays valid and unchanged until it is taken, and valid does not wait for ready.

Environment (all optional): MXHW_BENCH_RUNS, a JSON list of {"stall": probability, "seed": integer};
MXHW_BENCH_OUTPUT, a folder that gets `run0.json`, `run0.hex` and so on, which makes the caller the judge of the values.
"""

import json
import os
import random
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, Event, RisingEdge, Timer
from cocotb.utils import get_sim_time

PERIOD_NS = 10
LONG_PAUSES = 1 / 16  # of all pauses
DEFAULT_RUNS = [{"stall": 0.0, "seed": 0}, {"stall": 0.3, "seed": 1}]


class StreamError(AssertionError):
    """The design broke a promise of its ports, or stopped."""


class Traffic:
    """What has passed both ports so far."""

    def __init__(self, design: dict[str, Any], beats: list[int], stall: float, seed: int) -> None:
        self.design = design
        self.beats = beats
        self.stall = stall
        self.seed = seed
        self.sent = 0
        self.received: list[int] = []
        self.first = 0.0
        self.last = 0.0

    @property
    def cycles(self) -> int:
        """Clock cycles from the first accepted x beat to the last transferred y beat, both counted."""
        return round(self.last - self.first) // PERIOD_NS + 1

    def where(self) -> str:
        """Say how far both ports came."""
        index = len(self.received)
        tile, row = divmod(index, self.design["rows"])
        row_tile, column_tile = divmod(tile, -(-self.design["n"] // self.design["columns"]))
        return (
            f"{self.sent} of {self.design['x_beats']} x beats accepted, {index} of {self.design['y_beats']} y beats"
            f" received; the next is y beat {index} (row tile {row_tile}, column tile {column_tile}, row {row})"
        )


Part = Callable[[Any, Traffic], Awaitable[None]]


def read_words(path: str) -> list[int]:
    """Return the words of a hex file, one integer a line."""
    return [int(line, 16) for line in Path(path).read_text().split()]


def pauses(traffic: Traffic, seed: int) -> Iterator[int]:
    """Yield the idle cycles before each beat: none, geometric, and now and then long enough to fill buffers."""
    choose, longest = random.Random(seed), traffic.design["idle_limit"] // 4
    while True:
        length = 0
        while traffic.stall and choose.random() < traffic.stall:
            length += 1
        yield length if choose.random() >= LONG_PAUSES * bool(length) else choose.randrange(1, longest)


async def drive(dut: Any, traffic: Traffic) -> None:
    """Offer every x beat; between beats, pause at random with rubbish on the payload."""
    edge, ready_rises, ready = RisingEdge(dut.clk), RisingEdge(dut.x_ready), dut.x_ready
    rubbish = (1 << traffic.design["x_width"]) - 1
    for beat, pause in zip(traffic.beats, pauses(traffic, traffic.seed), strict=False):
        if pause:
            dut.x_valid.value = 0
            dut.x_payload.value = beat ^ rubbish
            for _ in range(pause):
                await edge
        dut.x_valid.value = 1
        dut.x_payload.value = beat
        await edge
        while not ready.value:
            await ready_rises
            await edge
        if not traffic.sent:
            traffic.first = get_sim_time("ns")
        traffic.sent += 1
    dut.x_valid.value = 0


async def take(dut: Any, traffic: Traffic) -> None:
    """Accept y beats with random back-pressure and watch that a waiting beat neither leaves nor changes.

    Under stalls, ready of the first beat waits for valid: a valid that waits for ready would never come.
    """
    edge, valid_rises, valid, payload = RisingEdge(dut.clk), RisingEdge(dut.y_valid), dut.y_valid, dut.y_payload
    wanted, lengths = traffic.design["y_beats"], pauses(traffic, ~traffic.seed)
    pause = int(traffic.stall > 0)
    waiting: int | None = None
    while len(traffic.received) < wanted:
        dut.y_ready.value = int(not pause)
        await edge
        if not valid.value:
            if waiting is not None:
                raise StreamError(f"y_valid was withdrawn before ready; {traffic.where()}")
            await valid_rises
            continue
        word = int(payload.value)
        if waiting not in (None, word):
            raise StreamError(f"y_payload changed while valid and not ready; {traffic.where()}")
        if pause:
            waiting, pause = word, pause - 1
        else:
            traffic.received.append(word)
            waiting, pause = None, next(lengths)
    traffic.last = get_sim_time("ns")


async def watch(dut: Any, traffic: Traffic) -> None:
    """Raise once neither port has moved for the design's idle limit."""
    limit, seen = traffic.design["idle_limit"], (-1, -1)
    while (now := (traffic.sent, len(traffic.received))) != seen:
        seen = now
        await Timer(limit * PERIOD_NS, "ns")
    raise StreamError(f"no beat moved for {limit} cycles: deadlock or a lost beat; {traffic.where()}")


async def expect_silence(dut: Any, traffic: Traffic) -> None:
    """Raise if the design has more to say after its last beat, or has not taken every x beat."""
    edge = RisingEdge(dut.clk)
    dut.y_ready.value = 1
    for _ in range(min(traffic.design["idle_limit"], 200)):
        await edge
        if dut.y_valid.value:
            raise StreamError(f"a y beat too many after the last; {traffic.where()}")
    if traffic.sent != len(traffic.beats):
        raise StreamError(f"the last y beat came before the last x beat was accepted; {traffic.where()}")


async def reset(dut: Any) -> None:
    """Hold reset for a few cycles with both ports idle."""
    dut.rst.value = 1
    dut.x_valid.value = 0
    dut.x_payload.value = 0
    dut.y_ready.value = 0
    await ClockCycles(dut.clk, 4)
    dut.rst.value = 0
    await RisingEdge(dut.clk)


async def one_run(dut: Any, traffic: Traffic) -> str | None:
    """Stream the whole layer once; return the text of a broken promise, or None."""
    finished = Event()
    errors: list[str] = []

    async def guarded(part: Part, is_last: bool) -> None:
        try:
            await part(dut, traffic)
        except StreamError as error:
            errors.append(str(error))
        if is_last or errors:
            finished.set()

    await reset(dut)
    parts = ((take, True), (watch, True), (drive, False))
    tasks = [cocotb.start_soon(guarded(part, is_last)) for part, is_last in parts]
    await finished.wait()
    if not errors:
        await guarded(expect_silence, True)
    for task in tasks:
        task.cancel()
    return errors[0] if errors else None


def check_widths(dut: Any, design: dict[str, Any], output: str | None) -> None:
    """Raise (and tell the caller in `refused.txt`) if the payload ports are not as wide as design.json says."""
    for port in ("x", "y"):
        found, said = len(getattr(dut, f"{port}_payload")), design[f"{port}_width"]
        if found != said:
            reason = f"{port}_payload is {found} bits wide, but {port}_width in design.json is {said}"
            if output:
                (Path(output) / "refused.txt").write_text(reason)
            raise ValueError(reason)


def report(folder: Path, index: int, traffic: Traffic, error: str | None) -> None:
    """Write one run's outputs and figures for the caller to judge."""
    lines = "".join(f"{word:x}\n" for word in traffic.received)
    (folder / f"run{index}.hex").write_text(lines)
    cycles = traffic.cycles if error is None else None
    (folder / f"run{index}.json").write_text(json.dumps({"cycles": cycles, "error": error}))


def judge(traffic: Traffic, expected: list[int], error: str | None) -> None:
    """Raise unless the run kept its promises and every beat is the expected one."""
    wrong = [i for i, (got, want) in enumerate(zip(traffic.received, expected, strict=False)) if got != want]
    assert error is None, error
    assert not wrong, f"{len(wrong)} of {len(expected)} y beats differ, the first is beat {wrong[0]}"


@cocotb.test()
async def every_output_is_exact(dut: Any) -> None:
    """Stream the layer once per run, without and with stalls."""
    design = json.loads(Path("design.json").read_text())
    output = os.environ.get("MXHW_BENCH_OUTPUT")
    beats, expected = read_words("x_beats.hex"), read_words("y_beats.hex")
    runs = json.loads(os.environ.get("MXHW_BENCH_RUNS", "null")) or DEFAULT_RUNS
    check_widths(dut, design, output)
    Clock(dut.clk, PERIOD_NS, "ns").start()
    for index, run in enumerate(runs):
        traffic = Traffic(design, beats, run["stall"], run["seed"])
        error = await one_run(dut, traffic)
        if output:
            report(Path(output), index, traffic, error)
        else:
            judge(traffic, expected, error)
        cocotb.log.info(
            "run %d: stall %.2f, %d y beats, %s", index, traffic.stall, len(traffic.received), error or "ok"
        )
