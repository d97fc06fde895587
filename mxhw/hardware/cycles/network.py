"""A design as a marked graph: the stages of its units, and between them queues, forks and converters of some room.

A queue is the room that its writer has before it waits: the stages of a writer and the queue behind it hold together
what both do, so that no event stands between a unit's last stage and its reader. A stream of several readers is forked:
each branch takes a beat when it can, and the next one comes when all have it. A converter between beats of different
lanes is one register of the reader's beat.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

import numpy as np

from mxhw.hardware.cycles.marked import MarkedGraph
from mxhw.hardware.cycles.ports import PortStalls
from mxhw.hardware.cycles.rules import INDEX, Run, elements_of
from mxhw.hardware.cycles.stages import Port, stages_of
from mxhw.hardware.cycles.streams import fifo_latency
from mxhw.hardware.structure import Design

__all__ = ["Network", "Pause", "network_of"]


@dataclass(frozen=True)
class Pause:
    """A port with random pauses, one for each of its beats."""

    name: str
    beats: int
    is_output: bool


@dataclass(frozen=True, eq=False)
class Network:
    """A design as a graph.

    Attributes
    ----------
    graph : of its events.
    inputs : name → the series of the beats that all readers have.
    outputs : step → the series of the beats that leave the design.
    pauses : what is drawn, in the order in which :meth:`.MarkedGraph.solve` takes it.
    standing : step whose pipeline stands as a whole → the series of what enters it, its cycles.
    """

    graph: MarkedGraph
    inputs: dict[str, int]
    outputs: dict[str, int]
    pauses: list[Pause]
    standing: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class _Stream:
    """Beats of a stream: ``latency`` cycles after those of a series, which has ``room`` for more on their way.

    ``left``, of a stream of several readers: the series of beats that all have.
    """

    series: int
    latency: int
    room: int
    slack: int
    lanes: int
    left: int | None


def network_of(design: Design, run: Run, ports: Mapping[str, PortStalls]) -> Network:
    """Return a design's graph; ``ports``: input, or step whose stream leaves the design → what holds it up.

    A pipeline that stands keeps its bubbles. Where a pause comes by chance, it holds no more beats than are in it at
    once in a run that nothing holds up; in front of a memory that is always too slow, it has filled up.
    """
    rooms: dict[str, int] = {}
    if any(port.stall for port in ports.values()):
        free = _Builder(design, run, {}, {}).network
        times = free.graph.solve()
        rooms = {name: _together(times[series], latency) for name, (series, latency) in free.standing.items()}
    return _Builder(design, run, ports, rooms).network


def _together(enters: list[int], latency: int) -> int:
    """Return how many beats are in a pipeline at once, at most."""
    times = np.asarray(enters)
    before = np.searchsorted(times, times - latency, side="right")
    return int((np.arange(len(times)) - before + 1).max(initial=1))


class _Builder:
    """See the module."""

    def __init__(self, design: Design, run: Run, ports: Mapping[str, PortStalls], rooms: Mapping[str, int]) -> None:
        self._design, self._run, self._ports, self._rooms = design, run, ports, rooms
        self.network = Network(MarkedGraph(), {}, {}, [], {})
        self._graph = self.network.graph
        self._streams: dict[str, _Stream] = {}
        self._readers = dict.fromkeys([*design.inputs, *design.steps], 0)
        for step in design.steps.values():
            for source, _ in zip(step.inputs, elements_of(step.unit), strict=False):
                self._readers[source] += 1
        for name in design.outputs:
            self._readers[name] += 1
        for name, step in design.steps.items():
            for source, elements in zip(step.inputs, elements_of(step.unit), strict=False):
                if source in design.inputs and source not in self._streams:
                    self._add_input(source, 1 if elements == INDEX else elements // design.inputs[source])
            self._add_step(name)
        for name in design.outputs:
            self._add_output(name)

    def _add_input(self, name: str, beats: int) -> None:
        graph = self._graph
        offered, taken = (graph.series(beats * self._run.tokens) for _ in range(2))
        drawn = self._pause(name, offered, is_output=False)
        graph.after(taken, offered, 0)
        graph.after(offered, taken, 1, lag=1, drawn=drawn)
        self._add_memory(name, offered, taken)
        self.network.inputs[name] = taken
        self._streams[name] = _Stream(offered, 0, 0, 0, self._design.inputs[name], taken)

    def _pause(self, name: str, series: int, *, is_output: bool) -> int:
        """Let a port's pauses lie between the events of a series; return their number, -1 if there are none."""
        if name not in self._ports or not self._ports[name].stall:
            return -1
        drawn = len(self.network.pauses)
        self.network.pauses.append(Pause(name, self._graph.counts[series], is_output))
        self._graph.pause(series, drawn)
        return drawn

    def _add_memory(self, name: str, waits: int, passed: int) -> None:
        """Let a port's beats wait for their bits, which come while those of no more than two beats wait."""
        port = self._ports.get(name)
        if port is None or not port.has_memory:
            return
        graph = self._graph
        bits = graph.paced(port.bits_gaps(graph.counts[waits]).tolist())
        graph.after(bits, passed, ceil(port.pace), lag=2)
        graph.after(waits, bits, 0)

    def _add_step(self, name: str) -> None:
        step, graph = self._design.steps[name], self._graph
        stages = stages_of(graph, step, self._run)
        for source, port, lanes, elements in zip(
            step.inputs, stages.inputs, step.lanes_in, elements_of(step.unit), strict=False
        ):
            self._connect(self._streams[source], port, lanes if elements > 0 else 0, self._design.depth(source, name))
        left, room = None, min(stages.room, self._rooms.get(name, stages.room))
        if stages.stands:
            self.network.standing[name] = stages.last, stages.latency
        if self._readers[name] > 1:
            left = graph.series(graph.counts[stages.last])
            graph.after(left, stages.last, stages.latency)
            graph.after(stages.last, left, stages.slack, lag=room)
        self._streams[name] = _Stream(stages.last, stages.latency, room, stages.slack, step.lanes_out, left)

    def _add_output(self, name: str) -> None:
        graph, stream = self._graph, self._streams[name]
        given = graph.series(graph.counts[stream.series])
        drawn = self._pause(name, given, is_output=True)
        graph.after(given, stream.series, stream.latency, drawn=drawn)
        if stream.left is None:
            graph.after(stream.series, given, stream.slack, lag=stream.room)
        else:
            graph.after(given, stream.left, 1, lag=1, drawn=drawn)
            graph.after(stream.left, given, 0)
        self._add_memory(name, given, given)
        self.network.outputs[name] = given

    def _connect(self, stream: _Stream, port: Port, lanes: int, depth: int) -> None:
        """Put a queue, and a converter if one is needed, between a stream and a port."""
        graph = self._graph
        if lanes and lanes != stream.lanes:
            port = self._convert(stream, port, lanes)
        graph.after(port.needed, stream.series, stream.latency + fifo_latency(depth))
        if port.needed != port.taken:
            graph.after(port.needed, port.taken, 1, lag=1)
        if stream.left is None:
            lag = max(1, stream.room + depth)
            graph.after(stream.series, port.taken, int(depth > 1) + stream.slack, lag=lag)
        else:
            graph.after(port.needed, stream.left, 1 + fifo_latency(depth), lag=1)
            graph.after(stream.left, port.taken, int(depth > 1), lag=max(1, depth))

    def _convert(self, stream: _Stream, port: Port, lanes: int) -> Port:
        graph = self._graph
        converts = graph.series(graph.counts[stream.series])
        leaving, arriving = np.arange(graph.counts[port.taken]), np.arange(graph.counts[converts])
        graph.after(port.needed, converts, 1, of=-(-(leaving + 1) * lanes // stream.lanes) - 1)
        graph.after(converts, port.taken, 0, of=arriving * stream.lanes // lanes - 1)
        if port.needed != port.taken:
            graph.after(port.needed, port.taken, 1, lag=1)
        return Port(converts, converts)
