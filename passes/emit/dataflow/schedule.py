"""The timed graph of a design: every component, fork, FIFO and converter of it, and when each beat passes.

    graph + components + positions + depths  →  series of events  →  cycles of a run, and of every stream

An edge is a FIFO, and behind it a converter where its reader takes other beats than its writer gives. A stream with
several readers is forked: each branch takes a beat when it can, and the next one comes when all have it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mxhw.arithmetic.dataflow import Indices, IntegerGraph, KeyWeights, Operation, Scores, Words
from mxhw.passes.emit.dataflow import timing_control, timing_functions, timing_products
from mxhw.passes.emit.dataflow.beats import payload_bits
from mxhw.passes.emit.dataflow.names import stream_names
from mxhw.passes.emit.dataflow.place import Placed, input_lanes
from mxhw.passes.emit.dataflow.registry import members_of
from mxhw.passes.emit.dataflow.timing import (
    Component,
    ControlSchedule,
    Port,
    Work,
    fifo_latency,
    stream_beats,
    time_component,
)
from mxhw.passes.emit.dataflow.top import DEFAULT_FIFO, Depths
from mxhw.sim.performance.events import DeadlockError, Events, IntArray, LateError, Times
from mxhw.sim.performance.simulate import Inlet, Outlet, Simulated, Timed, simulate
from mxhw.sim.performance.stalls import Stalls
from mxhw.sim.performance.walk import exact_times

__all__ = ["Loops", "TimedGraph", "step_interval"]

_RULES = timing_control, timing_functions, timing_products  # importing them registers their rules
_OUTSIDE, _FEEDBACK = "", "(feedback)"
_PATIENCE = 60
_TRIAL = 6  # row tiles after which a component alone is in its steady state


@dataclass(frozen=True, eq=False)
class Loops:
    """What a design with feedback has beside its graph.

    Attributes
    ----------
    feedback : input → the step that it comes from. Nothing holds that step up: the FIFOs behind have room for all.
    positions, banks : of the tokens of every stream.
    control : the requests of the run.
    """

    feedback: Mapping[str, str]
    positions: Mapping[str, IntArray]
    banks: Mapping[str, IntArray]
    control: ControlSchedule


@dataclass(frozen=True)
class _Branch:
    """What leaves a component for one reader: a series of beats, and how many lanes they have."""

    writes: int
    lanes: int


class TimedGraph:
    """A design as events.

    Parameters
    ----------
    graph : what is computed.
    placed : the component of every step, as :func:`.place.place_graph` gives them.
    positions : of the tokens of the run, in order.
    depths : of the FIFOs, :data:`.top.DEFAULT_FIFO` where nothing is said; None: all unlimited.
    loops : of a design with feedback, whose streams have different tokens.
    by_beat : whether an event of a stream of words is a beat, not a whole share: slower, and what :meth:`under` needs.
    room : FIFOs hold what their depths say; else they are never full, and beats pass them as fast.

    Attributes
    ----------
    fifos : (input or step, step that reads it) → series of the beats that enter and that leave the FIFO between them.
    inputs, outputs : of the design → series of its beats.
    """

    def __init__(
        self,
        graph: IntegerGraph,
        placed: Mapping[str, Placed],
        positions: IntArray,
        depths: Depths | None = None,
        loops: Loops | None = None,
        *,
        by_beat: bool = False,
        room: bool = True,
    ) -> None:
        self.graph, self._placed, self._loops, self._by_beat = graph, placed, loops, by_beat
        self._room = room
        self.positions = np.asarray(positions, dtype=np.int64)
        self._depths = depths
        # What a token waits for through a loop becomes known a pass over all series later.
        self.events = Events() if loops is None else Events(patience=_PATIENCE + 4 * len(self.positions))
        self.fifos: dict[tuple[str, str], tuple[int, int]] = {}
        self.components: dict[str, Component] = {}
        self.outputs: dict[str, int] = {}
        self.inputs: dict[str, int] = {}
        self._branches: dict[tuple[str, str, str], _Branch] = {}
        self._readers: dict[str, list[tuple[str, str]]] = {name: [] for name in graph.types}
        for step in graph.steps.values():
            for source, port in zip(step.inputs, placed[step.name].inputs, strict=True):
                self._readers[source].append((step.name, port.member))
        for name in graph.outputs:
            self._readers[name].append((_OUTSIDE, ""))
        feedback = {} if loops is None else loops.feedback
        for source, given_by in feedback.items():
            self._readers[given_by].append((_FEEDBACK, source))
        self._lanes = lanes = input_lanes(graph, placed, feedback)
        for name, kind in graph.inputs.items():
            beats = int(stream_beats(kind, lanes[name], self._tokens(name), by_beat=by_beat).sum())
            self.inputs[name] = self.events.series(f"input {name}", beats)
            self._fork(name, self.inputs[name], lanes[name])
        for step in graph.steps.values():
            self._add(step.name, step.operation, step.inputs)
        for source, given_by in feedback.items():
            given = self._branches[given_by, _FEEDBACK, source]
            self.events.after(self.inputs.pop(source), given.writes, 0, back=True)

    def earliest(self) -> Times:
        """Return the time of every event; raises :class:`~mxhw.sim.performance.events.DeadlockError`."""
        return exact_times(self.events)

    @cached_property
    def cycles(self) -> int:
        """First beat in to last beat out, both counted: no stall from outside, all inputs always there."""
        return self.span(self.earliest())

    def finishes(self, cycles: int) -> bool:
        """Return whether a run takes no more than so many cycles; one that never ends does not."""
        try:
            return self.span(self.events.earliest(end=cycles - 1)) <= cycles
        except (DeadlockError, LateError):
            return False

    def span(self, times: Times) -> int:
        """Return the cycles of a schedule."""
        first = min(int(times[series][0]) for series in self.inputs.values())
        return max(int(times[series][-1]) for series in self.outputs.values()) - first + 1

    def under(self, stalls: Stalls) -> Simulated:
        """Return when all beats pass if the ports are held up so; their names are those of the emitted design's ports.

        Raises :class:`~mxhw.sim.performance.events.DeadlockError`.
        """
        return simulate(self.timed, stalls)

    @cached_property
    def timed(self) -> Timed:
        """The design with its ports, by their names in Verilog; of words every beat is an event."""
        if not self._by_beat and any(isinstance(self.graph.types[name], Words) for name in self.inputs):
            each = TimedGraph(self.graph, self._placed, self.positions, self._depths, self._loops, by_beat=True)
            return each.timed
        names = stream_names([*self.graph.inputs, *self.graph.steps])
        inputs = {
            names[name]: Inlet(series, self._seen(series), payload_bits(self.graph.types[name], self._lanes[name]))
            for name, series in self.inputs.items()
        }
        outputs = {names[name]: Outlet(series, self._placed[name].output.bits) for name, series in self.outputs.items()}
        return Timed(self.events, inputs, outputs)

    def _seen(self, series: int) -> tuple[int, ...]:
        """Return a series and all its branches."""
        return series, *(seen for branch in self.events.branches.get(series, ()) for seen in self._seen(branch))

    def _add(self, name: str, operation: Operation, inputs: tuple[str, ...]) -> None:
        placed = self._placed[name]
        banks = None if self._loops is None else self._loops.banks.get(name)
        control = None if self._loops is None else self._loops.control
        work = Work(name, operation, placed, self._tokens(name), banks=banks, control=control, by_beat=self._by_beat)
        self.components[name] = component = time_component(self.events, work)
        for index, source in enumerate(inputs):
            self._connect(source, name, index, component.inputs[index])
        self._fork(name, component.output, placed.output.lanes)

    def _tokens(self, name: str) -> IntArray:
        """Return the positions of the tokens of a stream."""
        return self.positions if self._loops is None else self._loops.positions[name]

    def _fork(self, name: str, series: int, lanes: int) -> None:
        """Give each reader, and the world outside, a series of its own where there are several."""
        readers = self._readers[name]
        for step, member in readers:
            taken = series
            if len(readers) > 1:
                taken = self.events.branch(series, f"{name} to {step or 'outside'} {member}")
            if step == _OUTSIDE:
                self.outputs[name] = taken
            else:
                self._branches[name, step, member] = _Branch(taken, lanes)

    def _connect(self, source: str, step: str, index: int, port: Port) -> None:
        """Put a FIFO, and a converter if one is needed, between a branch and a port."""
        events, placed = self.events, self._placed[step].inputs[index]
        branch = self._branches[source, step, placed.member]
        read = port
        if branch.lanes != placed.lanes:
            beats = events.series(f"{step} {placed.member} converts", events.counts[branch.writes])
            _convert(events, beats, branch.lanes, port, placed.lanes)
            read = Port(beats, beats)
        depth = self._depths.get((source, step), DEFAULT_FIFO) if self._depths is not None else None
        if isinstance(placed.type, Words) and not self._by_beat:
            depth = 0  # events are of whole shares, of which a FIFO has room for some beats only
        # Through a wire a beat passes when it is taken; what is looked at until then is offered, not yet given.
        given = events.branch(branch.writes, f"{source} offers {step}") if depth == 0 else branch.writes
        events.after(read.needed, given, fifo_latency(depth))
        if read.needed != read.taken:
            events.after(read.needed, read.taken, 1, lag=1, back=True)
        if depth is not None and self._room:
            events.after(branch.writes, read.taken, int(depth > 1), lag=depth, back=True)
        self.fifos[source, step] = branch.writes, read.taken


def _convert(events: Events, takes: int, given: int, port: Port, lanes: int) -> None:
    """A register between beats of ``given`` and of ``lanes`` elements; both series are whole vectors long."""
    leaving, arriving = np.arange(events.counts[port.taken]), np.arange(events.counts[takes])
    events.after(port.needed, takes, 1, of=-(-(leaving + 1) * lanes // given) - 1)
    events.after(takes, port.taken, 0, of=arriving * given // lanes - 1, back=True)
    if port.needed != port.taken:
        events.after(port.needed, port.taken, 1, lag=1, back=True)


def step_interval(operation: Operation, placed: Placed, position: int = 0) -> float:
    """Return the cycles a token of a component that nothing outside holds up, once it is in its steady state.

    Where they depend on positions: those of the tokens up to the one at ``position``, after which a sequence starts.
    """
    rows = placed.parallelism.get("rows", 1)
    last = max(position, 0)
    positions = np.full(_TRIAL * rows, last)
    if _takes_positions(operation):
        positions = np.arange(last + 1 - _TRIAL * rows, last + 1) % (last + 1)
    events = Events()
    component = time_component(events, Work("step", operation, placed, positions))
    leaves = events.earliest()[component.output]
    beats = stream_beats(placed.output.type, placed.output.lanes, positions)
    ends = leaves[np.cumsum(beats)[rows - 1 :: rows] - 1]
    return float(ends[-1] - ends[-3]) / (2 * rows)


def _takes_positions(operation: Operation) -> bool:
    """Return whether what a component does depends on the positions of tokens."""
    return any(isinstance(kind, Indices | Scores | KeyWeights) for kind in members_of(operation)[0].inputs)
