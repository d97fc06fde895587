"""A bench for stream components in Amaranth's simulator: stalls on every port, every promise of a stream checked."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from amaranth.hdl import ClockDomain, Module, Shape, Value
from amaranth.sim import Simulator

IDLE_LIMIT = 200


class StreamError(AssertionError):
    """A component broke a promise of its ports, stopped, or said too much."""


@dataclass
class Port:
    """What has passed one port: beats (ints) and the cycles in which they passed."""

    beats: list[int] = field(default_factory=list)
    cycles: list[int] = field(default_factory=list)


@dataclass
class Run:
    """The ports by name; cycle 0 is the first one after reset."""

    ports: dict[str, Port]

    @property
    def outputs(self) -> dict[str, list[int]]:
        return {name: port.beats for name, port in self.ports.items()}

    def latency(self, x: str = "x", y: str = "y", *, sent: int = 0, received: int = 0) -> int:
        """Cycles from the transfer of x beat number ``sent`` to that of y beat number ``received``."""
        return self.ports[y].cycles[received] - self.ports[x].cycles[sent]

    def is_gapless(self, name: str) -> bool:
        """Whether a beat passed in every cycle from the first to the last."""
        cycles = self.ports[name].cycles
        return cycles == list(range(cycles[0], cycles[0] + len(cycles)))


class _Source:
    def __init__(self, stream: Any, beats: list[int], pause: Callable[[], bool], rng: random.Random) -> None:
        self.stream, self.beats, self.pause, self.rng = stream, beats, pause, rng
        self.port, self.offered = Port(), False

    def set(self, ctx: Any) -> None:
        sent = len(self.port.beats)
        self.offered = self.offered or (sent < len(self.beats) and not self.pause())
        rubbish = self.rng.getrandbits(max(1, Shape.cast(self.stream.payload.shape()).width))
        ctx.set(self.stream.valid, self.offered)
        payload = Value.cast(self.stream.payload)
        ctx.set(payload, self.beats[sent] if self.offered else rubbish)

    def check(self, ctx: Any, cycle: int) -> bool:
        moved = self.offered and bool(ctx.get(self.stream.ready))
        if moved:
            self.port.beats.append(self.beats[len(self.port.beats)])
            self.port.cycles.append(cycle)
            self.offered = False
        return moved


class _Sink:
    def __init__(self, name: str, stream: Any, pause: Callable[[], bool], patient: Callable[[], bool]) -> None:
        self.name, self.stream, self.pause, self.patient = name, stream, pause, patient
        self.port, self.held, self.seen, self.taking = Port(), None, False, False

    def set(self, ctx: Any) -> None:
        # A patient receiver shows ready only after it has seen valid: a valid that waits for ready would never come.
        self.taking = not self.pause() and (self.seen or not self.patient())
        ctx.set(self.stream.ready, self.taking)

    def check(self, ctx: Any, cycle: int) -> bool:
        valid, payload = bool(ctx.get(self.stream.valid)), ctx.get(Value.cast(self.stream.payload))
        if self.held is not None and not valid:
            raise StreamError(f"{self.name}: valid was withdrawn before ready")
        if self.held is not None and payload != self.held:
            raise StreamError(f"{self.name}: the payload changed while valid and not ready")
        moved = valid and self.taking
        self.held, self.seen = (payload if valid and not moved else None), valid and not moved
        if moved:
            self.port.beats.append(payload)
            self.port.cycles.append(cycle)
        return moved


def run(
    component: Any,
    inputs: Mapping[str, list[int]],
    outputs: Mapping[str, int],
    stall: float = 0.0,
    seed: int = 0,
    only: set[str] | None = None,
) -> Run:
    """Send the beats of every input and take as many of every output as said; then there must be silence.

    All ports pause with probability ``stall``, or only those named.
    """
    rng = random.Random(seed)

    def pauses(name: str) -> Callable[[], bool]:
        return (lambda: rng.random() < stall) if only is None or name in only else (lambda: False)

    sources = [_Source(getattr(component, name), beats, pauses(name), rng) for name, beats in inputs.items()]
    sinks = [_Sink(name, getattr(component, name), pauses(name), pauses(name)) for name in outputs]

    async def bench(ctx: Any) -> None:
        cycle = idle = 0
        while idle < IDLE_LIMIT:
            for part in (*sources, *sinks):
                part.set(ctx)
            moved = [part.check(ctx, cycle) for part in (*sources, *sinks)]
            idle = 0 if any(moved) else idle + 1
            await ctx.tick()
            cycle += 1
            if all(len(sink.port.beats) >= outputs[sink.name] for sink in sinks) and idle > 30:
                break

    top = Module()
    top.domains.sync = ClockDomain()
    top.submodules.unit = component
    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    ports = {name: source.port for name, source in zip(inputs, sources, strict=True)}
    ports |= {sink.name: sink.port for sink in sinks}
    for name, beats in inputs.items():
        if len(ports[name].beats) != len(beats):
            raise StreamError(f"{name}: {len(ports[name].beats)} of {len(beats)} beats were accepted")
    for name, count in outputs.items():
        if len(ports[name].beats) != count:
            raise StreamError(f"{name}: {len(ports[name].beats)} beats came, {count} were expected")
    return Run(ports)
