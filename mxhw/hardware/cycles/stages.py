"""What units hold: their stages as series of a marked graph, with the room of each buffer and pipeline.

Where :mod:`.functions`, :mod:`.products` and :mod:`.attention` say when beats leave a unit that nothing holds up, here
stands what it waits for if something does: how many beats fit into it. A rule, one a class of records, adds the series:

    @register_stages(Tanh)
    def tanh(graph: MarkedGraph, step: Step, run: Run) -> Stages:
        return pipeline(graph, step, run, latency=5)

A unit without a rule holds a beat of each input for each cycle of its ``latency`` (1 if it has none).

Not described: in which cycle exactly a beat leaves that entered a pipeline behind bubbles, while that stood.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mxhw.hardware.cycles.attention import DIVISION, SCORE_STAGES, SOFTMAX_STAGES, SUM_STAGES, keys_of
from mxhw.hardware.cycles.functions import (
    DIALECT_STAGES,
    EMBEDDING_STAGES,
    ENCODER_STAGES,
    LATENCIES,
    NORM_STAGES,
    ROPE_STAGES,
)
from mxhw.hardware.cycles.marked import MarkedGraph
from mxhw.hardware.cycles.products import CAPTURE, SCALE_BITS, column_tiles
from mxhw.hardware.cycles.rules import INDEX, SCORES, Run, elements_of
from mxhw.hardware.cycles.streams import QUEUE_LATENCY, IntArray, fifo_latency
from mxhw.hardware.structure import (
    Activation,
    Add,
    AttentionUnit,
    Bias,
    Embedding,
    Encoder,
    Hadamard,
    Multiply,
    Norm,
    Permute,
    Product,
    ReLU,
    Requantize,
    Rope,
    Scores,
    SoftmaxWeights,
    Step,
    Unit,
    Values,
)

__all__ = ["Port", "Stages", "pipeline", "register_stages", "stages_of"]

_DECODE = 2  # cycles from the last step of a row tile until its half of the activation buffer is free
_ORDERED = 2  # from a read of the buffer that brings tokens in order to the output


@dataclass(frozen=True)
class Port:
    """An input: the series of the cycles in which its beats are taken, and of those from which they must be there."""

    taken: int
    needed: int


@dataclass(frozen=True)
class Stages:
    """A unit in a graph.

    Attributes
    ----------
    inputs : of the unit, in order; inputs that are not there are always ready.
    last : the series of the last stage that has to wait, an event a beat of the output.
    latency : cycles from it to the output.
    room : beats that are between it and the output, at most; ``slack``: cycles after which there is room again.
    stands : all that is between them stands while what is to leave waits, bubbles, too.
    """

    inputs: tuple[Port, ...]
    last: int
    latency: int
    room: int
    slack: int = 0
    stands: bool = False


Rule = Callable[[MarkedGraph, Step, Run], Stages]
_RULES: dict[type[Unit], Rule] = {}


def register_stages(*kinds: type[Unit]) -> Callable[[Rule], Rule]:
    """Return a decorator that makes a function the rule of classes of records, and of classes derived from them."""

    def register(rule: Rule) -> Rule:
        _RULES.update(dict.fromkeys(kinds, rule))
        return rule

    return register


def stages_of(graph: MarkedGraph, step: Step, run: Run) -> Stages:
    """Add the stages of a step's unit."""
    rule = next((_RULES[kind] for kind in type(step.unit).__mro__ if kind in _RULES), None)
    if rule is None:
        return pipeline(graph, step, run, int(getattr(step.unit, "latency", 1)))
    return rule(graph, step, run)


def pipeline(graph: MarkedGraph, step: Step, run: Run, latency: int) -> Stages:
    """Add registers that move together; a beat of every input goes with each of the output."""
    enters = graph.series(run.tokens * _beats(step, 0))
    return Stages((Port(enters, enters),) * len(elements_of(step.unit)), enters, latency, latency, stands=True)


@register_stages(Requantize, Bias, ReLU, Activation, Add, Multiply)
def _pipeline(graph: MarkedGraph, step: Step, run: Run) -> Stages:
    return pipeline(graph, step, run, next(LATENCIES[kind] for kind in type(step.unit).__mro__ if kind in LATENCIES))


@register_stages(Norm)
def _norm(graph: MarkedGraph, step: Step, run: Run) -> Stages:
    """Two stores of a vector, what is on its way to a result about it, and two queues; then a pipeline."""
    assert isinstance(step.unit, Norm)
    survey, energy, scale = NORM_STAGES[step.unit.kind]
    beats = step.unit.beats
    takes, centred, scaled = (graph.series(run.tokens * beats) for _ in range(3))
    lasts = _ends(run.tokens * beats, beats)
    for enters, leaves, delay in ((takes, centred, survey), (centred, scaled, energy)):
        graph.after(leaves, enters, delay + QUEUE_LATENCY, of=lasts)
        graph.after(enters, leaves, 1, lag=beats + delay + 2 * QUEUE_LATENCY)
    return Stages((Port(takes, takes),), scaled, scale, scale, stands=True)


@register_stages(Encoder)
def _encoder(graph: MarkedGraph, step: Step, run: Run) -> Stages:
    """A double buffer of a block; a dialect's encoder has two."""
    unit = step.unit
    assert isinstance(unit, Encoder)
    padded, block = unit.padded // unit.lanes, unit.block // unit.lanes
    takes = graph.series(run.tokens * padded)
    reads = _double_buffer(graph, takes, block)
    stages = ENCODER_STAGES
    if unit.kind == "dialect":
        stages = DIALECT_STAGES
        moves = graph.series(run.tokens * padded)
        graph.after(moves, reads, stages)
        graph.after(reads, moves, 0, lag=stages)
        reads = _double_buffer(graph, moves, block)
    return Stages((_padded(graph, takes, unit.beats, padded),), reads, stages, stages)


def _padded(graph: MarkedGraph, takes: int, given: int, padded: int) -> Port:
    """Add the input in front of beats that are padded with zeros, which come when a token's last beat has."""
    if given == padded:
        return Port(takes, takes)
    tokens, beats = np.arange(graph.counts[takes] // padded)[:, None], np.arange(padded)
    needed, taken = (graph.series(len(tokens) * given) for _ in range(2))
    graph.after(takes, needed, 0, of=(tokens * given + np.minimum(beats, given - 1)).ravel())
    graph.after(taken, takes, 0, of=(tokens * padded + beats[:given]).ravel())
    return Port(taken, needed)


@register_stages(Rope)
def _rope(graph: MarkedGraph, step: Step, run: Run) -> Stages:
    """Groups of pairs pass a double buffer; a position stays until its token's last element left it."""
    unit = step.unit
    assert isinstance(unit, Rope)
    takes = graph.series(run.tokens * unit.beats)
    reads = _double_buffer(graph, takes, 2 * unit.span // unit.lanes)
    return Stages((Port(takes, takes), _held(graph, reads, run)), reads, ROPE_STAGES, ROPE_STAGES, stands=True)


@register_stages(Permute, Hadamard)
def _shuffle(graph: MarkedGraph, step: Step, run: Run) -> Stages:
    """A double buffer, and registers (no RTL yet)."""
    unit = step.unit
    assert isinstance(unit, Permute | Hadamard)
    block = unit.beats if isinstance(unit, Permute) else max(1, unit.order // unit.lanes)
    stages = 1 if isinstance(unit, Permute) else unit.order.bit_length() - 1
    takes = graph.series(run.tokens * unit.beats)
    return Stages((Port(takes, takes),), _double_buffer(graph, takes, block), stages, stages)


@register_stages(Embedding)
def _embedding(graph: MarkedGraph, step: Step, run: Run) -> Stages:
    """An index is held while the beats of its row are read."""
    unit = step.unit
    assert isinstance(unit, Embedding)
    takes, reads = graph.series(run.tokens), graph.series(run.tokens * unit.beats)
    graph.after(reads, takes, 1, of=np.arange(run.tokens * unit.beats) // unit.beats)
    graph.after(takes, reads, 0, of=np.arange(run.tokens) * unit.beats - 1)
    return Stages((Port(takes, takes),), reads, EMBEDDING_STAGES, EMBEDDING_STAGES, stands=True)


@register_stages(Product)
def _product(graph: MarkedGraph, step: Step, run: Run) -> Stages:
    """A double buffer of row tiles, the array, its captured sums a row a cycle; of several rows what orders them."""
    unit = step.unit
    assert isinstance(unit, Product)
    row_tiles, columns, period = run.tokens // unit.rows, column_tiles(unit), unit.chunks * unit.terms
    latency = CAPTURE + (SCALE_BITS + 1) * unit.scaled
    port, loads = _loads(graph, unit, _beats(step, 0), row_tiles)
    # The last step of every column tile; its capture; its rows.
    tiles = row_tiles * columns
    ends, captures = graph.series(tiles, period), graph.series(tiles, period)
    sums = graph.series(tiles * unit.rows)
    tile = np.arange(tiles)
    graph.after(ends, loads, period, of=(tile // columns + 1) * unit.chunks - 1)
    graph.after(captures, ends, latency)
    behind = -(-latency // period)
    graph.after(ends, captures, behind * period - latency, lag=behind)
    graph.after(sums, captures, 1, of=np.arange(tiles * unit.rows) // unit.rows)
    graph.after(captures, sums, 1, of=tile * unit.rows - 1)
    free = (np.arange(row_tiles * unit.chunks) // unit.chunks - 1) * columns - 1
    graph.after(loads, ends, _DECODE, of=np.where(free < 0, -1, free))
    if unit.rows > 1 and columns > 1:
        ordered = _double_buffer(graph, sums, unit.rows * columns)
        return Stages((port,), ordered, _ORDERED, _ORDERED)
    return Stages((port,), sums, 1, 1)


def _loads(graph: MarkedGraph, unit: Product, beats: int, row_tiles: int) -> tuple[Port, int]:
    """Add what brings the beats of a row tile together; return the port, and the series of the buffer's beats."""
    takes = graph.series(row_tiles * unit.rows * beats)
    if unit.rows == 1 and unit.chunks == beats:
        return Port(takes, takes), takes
    sees, loads = graph.series(row_tiles * unit.rows * beats), graph.series(row_tiles * unit.chunks)
    graph.after(takes, sees, 0)
    # The beats of a row tile, then zeros.
    beat = np.minimum(np.arange(unit.chunks), beats - 1)
    tile = np.repeat(np.arange(row_tiles), unit.chunks) * unit.rows * beats
    for row in range(unit.rows):
        of = tile + row * beats + np.tile(beat, row_tiles)
        if row < unit.rows - 1:
            graph.after(loads, takes, fifo_latency(beats), of=of)
        else:
            graph.after(loads, sees, 0, of=of)
    # A beat of the last row goes when it is loaded; the others come after those of the row tile before.
    at = np.arange(row_tiles * unit.rows * beats)
    is_last, tile = at // beats % unit.rows == unit.rows - 1, at // (unit.rows * beats)
    loaded = np.maximum.accumulate(np.where(is_last, tile * unit.chunks + at % beats, -1))
    graph.after(takes, loads, 0, of=loaded)
    return Port(takes, sees), loads


@register_stages(Scores)
def _scores(graph: MarkedGraph, step: Step, run: Run) -> Stages:
    """Query and key are stored while the token before is worked on; then all keys of all heads are walked through."""
    unit = step.unit
    assert isinstance(unit, Scores)
    beats = unit.heads * keys_of(unit.most, run)
    starts, done = graph.series(run.tokens), graph.series(run.tokens)
    scored = graph.series(int(beats.sum()), unit.words)
    query = _stored(graph, step, 0, starts)
    key = _stored(graph, step, 1, starts)
    graph.after(starts, done, 0, lag=1)
    graph.after(scored, starts, unit.words, of=np.repeat(np.arange(run.tokens), beats))
    graph.after(done, scored, 0, of=np.cumsum(beats) - 1)
    behind = -(-SCORE_STAGES // unit.words)
    places = (_held(graph, key.needed, run),) * (len(elements_of(unit)) - 2)
    return Stages((query, key, *places), scored, SCORE_STAGES, behind, behind * unit.words - SCORE_STAGES)


@register_stages(SoftmaxWeights)
def _softmax(graph: MarkedGraph, step: Step, run: Run) -> Stages:
    """A ring of two rows, each read when it is there as a whole."""
    unit = step.unit
    assert isinstance(unit, SoftmaxWeights)
    rows = np.repeat(keys_of(unit.most, run), unit.heads)
    takes = graph.series(int(rows.sum()))
    reads = _double_buffer(graph, takes, rows)
    graph.after(takes, reads, 1, lag=unit.most + 1)
    return Stages((Port(takes, takes),), reads, SOFTMAX_STAGES, SOFTMAX_STAGES, stands=True)


@register_stages(Values)
def _values(graph: MarkedGraph, step: Step, run: Run) -> Stages:
    """A weight is held while it multiplies the words of its value; a row's sums wait, and are divided in parts."""
    unit = step.unit
    assert isinstance(unit, Values)
    keys, words, ratio = keys_of(unit.most, run), unit.words, unit.lanes // unit.output_lanes
    weights, rows = unit.heads * keys, run.tokens * unit.heads
    total = int(weights.sum())
    needed, taken, steps = graph.series(total), graph.series(total), graph.series(total * words)
    starts, done = graph.series(run.tokens), graph.series(run.tokens)
    graph.after(steps, needed, 0, of=np.arange(total * words) // words)
    graph.after(steps, starts, 1, of=np.repeat(np.arange(run.tokens), weights * words))
    graph.after(taken, steps, 0, of=np.arange(1, total + 1) * words - 1)
    graph.after(done, taken, 0, of=np.cumsum(weights) - 1)
    graph.after(starts, done, 0, lag=1)
    value = _stored(graph, step, 1, starts)
    places = (_held(graph, value.needed, run),) * (len(elements_of(unit)) - 2)

    sums = graph.series(rows * words)
    ends = np.cumsum(np.repeat(keys, unit.heads)) - 1  # the last key of each row
    last = (ends[:, None] * words + np.arange(words)).ravel()  # its steps
    graph.after(sums, steps, SUM_STAGES, of=last)
    before = np.searchsorted(last, np.arange(total * words) - SUM_STAGES, side="right") - 1
    graph.after(steps, sums, 0, of=before)
    parts = sums
    if ratio > 1:
        waiting = max(2, words)
        parts = graph.series(rows * words)
        graph.after(parts, sums, fifo_latency(waiting))
        graph.after(sums, parts, 1, lag=waiting)
    divided = graph.series(rows * words * ratio)
    graph.after(divided, parts, 1, of=np.arange(rows * words * ratio) // ratio)
    graph.after(parts, divided, 0, of=np.arange(rows * words) * ratio - 1)
    return Stages((Port(taken, needed), value, *places), divided, DIVISION, DIVISION, stands=True)


def _stored(graph: MarkedGraph, step: Step, index: int, starts: int) -> Port:
    """Add the input of a store of two tokens: a beat is there for as many cycles as it has words."""
    unit = step.unit
    assert isinstance(unit, AttentionUnit)
    beats, tokens = _beats(step, index), graph.counts[starts]
    pace = max(1, step.lanes_in[index] // unit.lanes)
    needed, taken = graph.series(tokens * beats), graph.series(tokens * beats, pace)
    graph.after(taken, needed, pace - 1)
    graph.after(needed, taken, 1, lag=1)
    graph.after(starts, taken, 1, of=np.arange(1, tokens + 1) * beats - 1)
    graph.after(needed, starts, 1, of=np.arange(tokens * beats) // beats - 1)
    return Port(taken, needed)


def _held(graph: MarkedGraph, reads: int, run: Run) -> Port:
    """Add the input of indices, each of which must be there for its token's reads and is taken with the last."""
    beats = graph.counts[reads] // run.tokens
    needed, taken = graph.series(run.tokens), graph.series(run.tokens)
    graph.after(reads, needed, 0, of=np.arange(graph.counts[reads]) // beats)
    graph.after(taken, reads, 0, of=np.arange(1, run.tokens + 1) * beats - 1)
    return Port(taken, needed)


def _double_buffer(graph: MarkedGraph, enters: int, blocks: int | IntArray) -> int:
    """Add a buffer of two halves; return the series of reads. ``blocks``: beats of every block, or of each."""
    count = graph.counts[enters]
    each = np.full(count // blocks, blocks) if isinstance(blocks, int) else blocks
    reads, ends = graph.series(count), np.cumsum(each) - 1
    graph.after(reads, enters, 1, of=np.repeat(ends, each))
    free = np.concatenate([[-1, -1], ends[:-2]])[: len(each)]
    graph.after(enters, reads, 1, of=np.repeat(free, each))
    return reads


def _ends(count: int, block: int) -> IntArray:
    """Return the last event of the block that each event is in."""
    ends: IntArray = np.arange(count) // block * block + block - 1
    return ends


def _beats(step: Step, index: int) -> int:
    """Return the beats of a token at an input."""
    elements = elements_of(step.unit)[index]
    assert elements != SCORES, "beats of scores depend on the position"
    return 1 if elements == INDEX else elements // step.lanes_in[index]
