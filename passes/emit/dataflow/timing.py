"""When the component of every operation takes and gives its beats.

A rule, one a class of operations, adds the series of events of a component: its inputs' beats, what moves inside, its
output's beats, and what each waits for. Constants are those of the RTL (`rtl_templates`), where the comments of the
components derive them. Nothing here computes values: timing depends on sizes and on the tokens' positions only.

The rules of mxhw's own operations stand in :mod:`.timing_functions` and :mod:`.timing_products`.

A pipeline whose bubbles stay while it is stalled is told of in :func:`standing`: exact times respect it
(:mod:`mxhw.sim.performance.walk`), and the earliest ones, which FIFOs are sized by, squeeze its bubbles out. That moves
a beat by less than the pipeline is long, and no rate.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mxhw.arithmetic.dataflow import BlockCodes, Folded, Integers, KeyWeights, Operation, Scores, StreamType, Words
from mxhw.passes.emit.dataflow.place import Placed
from mxhw.passes.emit.dataflow.registry import OperationTable
from mxhw.sim.performance.events import Events, IntArray, spread

__all__ = [
    "QUEUE",
    "Component",
    "ControlSchedule",
    "Port",
    "Work",
    "double_buffer",
    "fifo_latency",
    "frozen",
    "held",
    "pipeline",
    "register_timing",
    "standing",
    "stream_beats",
    "through",
    "time_component",
]


@dataclass(frozen=True)
class Port:
    """An input: the series of the cycles in which its beats are taken, and of those from which they must be there.

    They differ where a component looks at a beat for some cycles before it takes it.
    """

    taken: int
    needed: int


@dataclass(frozen=True)
class Component:
    """The series of a component.

    Attributes
    ----------
    inputs : their beats.
    output : its transfers.
    reads : moves that meet constants of the token's layer, as many for each token; None: the output's transfers.
    """

    inputs: tuple[Port, ...]
    output: int
    reads: int | None = None


@dataclass(frozen=True, eq=False)
class ControlSchedule:
    """What a run asks of a design that generates text.

    Attributes
    ----------
    requests : how many.
    chunk_ends : number of the last request of each chunk.
    layers : passes of each request.
    logits, generated : bool, of each request.
    sequence : of each request.
    """

    requests: int
    chunk_ends: IntArray
    layers: int
    logits: IntArray
    generated: IntArray
    sequence: IntArray


@dataclass(frozen=True)
class Work:
    """What a component does in a run.

    Attributes
    ----------
    name : of the step.
    operation : what it computes.
    placed : its component and ports.
    positions : of every token [tokens].
    banks : cache of every token [tokens]; None for one cache.
    control : the requests of the run, of a design that generates text.
    by_beat : whether an event of a stream of words is a beat, not a whole share.
    """

    name: str
    operation: Operation
    placed: Placed
    positions: IntArray
    banks: IntArray | None = None
    control: ControlSchedule | None = None
    by_beat: bool = False

    @property
    def unit(self) -> Any:
        """The component itself: sizes and latencies are its own."""
        return self.placed.component

    @property
    def tokens(self) -> int:
        """Tokens of the run."""
        return len(self.positions)

    def input_beats(self, index: int) -> IntArray:
        """Beats of each token at an input."""
        port = self.placed.inputs[index]
        return stream_beats(port.type, port.lanes, self.positions)

    @property
    def output_beats(self) -> IntArray:
        """Beats of each token at the output."""
        return stream_beats(self.placed.output.type, self.placed.output.lanes, self.positions)


_REGISTERS = 2  # beats that a FIFO of registers holds; longer ones are memories, which give a beat after
QUEUE = 2  # cycles

Rule = Callable[[Events, Work], Component]
_RULES: OperationTable[Rule] = OperationTable()


def register_timing(*kinds: type[Operation], folded: bool = False) -> Callable[[Rule], Rule]:
    """Return a decorator that makes a function the rule of classes of operations (and of their subclasses)."""
    return _RULES.adder(*kinds, folded=folded)


def time_component(events: Events, work: Work) -> Component:
    """Add the series of a component.

    An operation without a rule takes and gives a beat a cycle, and its latency is its component's ``latency``, or 1.
    Layers that share a unit have the rule of one of them, unless there is one for such units; what reads constants then
    waits for the layer's number, which is taken with a token's last read.
    """
    rule = _RULES.find(work.operation)
    if rule is not None or not isinstance(work.operation, Folded):
        return (rule or _default)(events, work)
    alone = replace(work, operation=work.operation.first, placed=replace(work.placed, inputs=work.placed.inputs[:-1]))
    component = time_component(events, alone)
    reads = component.output if component.reads is None else component.reads
    layer = held(events, work, reads, np.full(work.tokens, events.counts[reads] // max(1, work.tokens)), "layer")
    return replace(component, inputs=(*component.inputs, layer))


def stream_beats(kind: StreamType, lanes: int, positions: IntArray, *, by_beat: bool = False) -> IntArray:
    """Return the beats of each token [tokens]; of words, unless ``by_beat``, those that each share begins with."""
    if isinstance(kind, Words):
        return np.full(len(positions), kind.beats if by_beat else len(kind.shares), dtype=np.int64)
    if isinstance(kind, Integers):
        return np.full(len(positions), kind.length // lanes, dtype=np.int64)
    if isinstance(kind, BlockCodes):
        return np.full(len(positions), kind.padded // lanes, dtype=np.int64)
    if isinstance(kind, Scores | KeyWeights):
        return kind.heads * np.minimum(positions + 1, kind.most)
    return np.ones(len(positions), dtype=np.int64)


def pipeline(events: Events, name: str, beats: int, latency: int) -> tuple[int, int]:
    """Add registers that move together, one beat a cycle; return the series of what enters and of what leaves."""
    enters = events.series(f"{name} takes", beats)
    if latency == 0:
        return enters, enters
    leaves = events.series(f"{name} gives", beats)
    standing(events, enters, leaves, latency)
    return enters, leaves


def fifo_latency(depth: int | None) -> int:
    """Return the cycles in which a beat passes an empty FIFO; None: an unlimited one. See `rtl_templates.stream`."""
    return QUEUE if depth is None or depth > _REGISTERS else min(depth, 1)


def through(events: Events, enters: int, leaves: int, latency: int) -> None:
    """Let beats pass ``latency`` registers, the last of which is free in the cycle in which its beat leaves."""
    events.after(leaves, enters, latency)
    frozen(events, enters, leaves, latency)


def standing(events: Events, enters: int, leaves: int, latency: int) -> None:
    """Let beats pass ``latency`` registers that move together, while the last one is free."""
    through(events, enters, leaves, latency)
    if latency > 1:
        events.gate(enters, leaves, latency)


def frozen(events: Events, enters: int, leaves: int, latency: int, pace: int = 1) -> None:
    """While what is to leave waits, so does all that is behind it in the pipeline, entering every ``pace`` cycles."""
    behind = -(-latency // pace)
    events.after(enters, leaves, behind * pace - latency, lag=behind, back=True)


def double_buffer(events: Events, name: str, enters: int, blocks: Any, latency: int = 1) -> int:
    """Add a buffer of two halves; return the series of reads, the last of which frees its half.

    ``blocks`` are the beats of each block. A block is read from the cycle on that is ``latency`` after its last beat.
    """
    blocks = np.asarray(blocks, dtype=np.int64)
    reads = events.series(f"{name} reads", int(blocks.sum()))
    ends = np.cumsum(blocks) - 1
    events.after(reads, enters, latency, of=spread(ends, blocks))
    free = np.concatenate([[-1, -1], ends[:-2]])[: len(blocks)]
    events.after(enters, reads, 1, of=spread(free, blocks), back=True)
    return reads


def _default(events: Events, work: Work) -> Component:
    """Beats of inputs and output in proportion."""
    given, latency = work.output_beats, int(getattr(work.unit, "latency", 1))
    output = events.series(f"{work.name} gives", int(given.sum()))
    ports = []
    for index in range(len(work.operation.inputs)):
        beats = work.input_beats(index)
        taken = events.series(f"{work.name} takes {index}", int(beats.sum()))
        needed = _proportional(beats, given)
        events.after(output, taken, latency, of=needed)
        # As many beats of the output are on their way as the component has cycles of latency.
        begun = np.searchsorted(needed, np.arange(int(beats.sum())))
        events.after(taken, output, 0, of=begun - 1 - latency, back=True)
        ports.append(Port(taken, taken))
    return Component(tuple(ports), output)


def _proportional(beats: IntArray, given: IntArray) -> IntArray:
    """Return the input beat that each output beat needs: the same share of its token."""
    starts = np.cumsum(beats) - beats
    inside = np.arange(int(given.sum())) - spread(np.cumsum(given) - given, given)
    return spread(starts, given) + -(-(inside + 1) * spread(beats, given) // spread(given, given)) - 1


def held(events: Events, work: Work, reads: int, beats: Any, what: str = "position") -> Port:
    """Add the input of indices, each of which must be there for its token's reads and is taken with the last."""
    tokens = len(work.positions)
    needed = events.series(f"{work.name} sees {what}", tokens)
    taken = events.series(f"{work.name} takes {what}", tokens)
    events.after(reads, needed, 0, of=spread(np.arange(tokens), beats))
    events.after(taken, reads, 0, of=np.cumsum(beats) - 1)
    return Port(taken, needed)
