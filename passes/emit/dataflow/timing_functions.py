"""Timing of everything between products: quantizers, norms, functions, positions, the weights of keys."""

import numpy as np

from mxhw.arithmetic.dataflow import (
    Activation,
    Add,
    AttentionWeights,
    Bias,
    BlockCodes,
    Embedding,
    LayerNorm,
    Multiply,
    Operation,
    Quantize,
    ReLU,
    Requantize,
    RMSNorm,
    Rope,
    Scores,
)
from mxhw.passes.emit.dataflow.timing import (
    QUEUE,
    Component,
    Port,
    Work,
    double_buffer,
    held,
    pipeline,
    register_timing,
    standing,
    through,
)
from mxhw.sim.performance.events import Events, spread

__all__: list[str] = []


@register_timing(Requantize, Bias, Add, Multiply, ReLU, Activation)
def _elementwise(events: Events, work: Work) -> Component:
    """One pipeline; both operands are taken together."""
    enters, leaves = pipeline(events, work.name, int(work.output_beats.sum()), work.unit.latency)
    return Component(tuple(Port(enters, enters) for _ in work.operation.inputs), leaves, reads=enters)


# Survey, energy and scaling of the norms: `rtl_templates/function/norm.py`.
_NORMS: dict[type[Operation], tuple[int, int, int]] = {RMSNorm: (3, 11, 6), LayerNorm: (7, 11, 7)}


@register_timing(*_NORMS)
def _norm(events: Events, work: Work) -> Component:
    """Two stores, each left by a vector when a result about it is known; then a pipeline."""
    survey, energy, scale = next(_NORMS[kind] for kind in type(work.operation).__mro__ if kind in _NORMS)
    vectors = work.output_beats
    beats = int(vectors.sum())
    takes = events.series(f"{work.name} takes", beats)
    centred = events.series(f"{work.name} centred", beats)
    scaled = events.series(f"{work.name} scaled", beats)
    gives = events.series(f"{work.name} gives", beats)
    lasts = spread(np.cumsum(vectors) - 1, vectors)
    for enters, leaves, delay in ((takes, centred, survey), (centred, scaled, energy)):
        events.after(leaves, enters, delay + QUEUE, of=lasts)
        depth = int(vectors.max(initial=0)) + delay + 2 * QUEUE
        events.after(enters, leaves, 1, lag=depth, back=True)
    standing(events, scaled, gives, scale)
    return Component((Port(takes, takes),), gives, reads=scaled)


@register_timing(Quantize)
def _quantize(events: Events, work: Work) -> Component:
    """A double buffer and two registers; DialectFP4 has another buffer between them."""
    stream: BlockCodes = work.operation.y  # type: ignore[attr-defined]
    blocks = np.full(stream.blocks * len(work.positions), stream.block // work.placed.output.lanes, dtype=np.int64)
    takes = events.series(f"{work.name} takes", int(blocks.sum()))
    gives = events.series(f"{work.name} gives", int(blocks.sum()))
    reads = double_buffer(events, work.name, takes, blocks)
    if stream.kind == "dialect":
        moves = events.series(f"{work.name} moves", int(blocks.sum()))
        through(events, reads, moves, 2)
        reads = double_buffer(events, f"{work.name} second", moves, blocks)
        through(events, reads, gives, 2)
    else:
        through(events, reads, gives, 3)
    return Component((_padded(events, work, takes, stream),), gives)


def _padded(events: Events, work: Work, takes: int, stream: BlockCodes) -> Port:
    """Add the input in front of beats that are padded with zeros, which come when a token's last beat has."""
    if stream.padded == stream.length:
        return Port(takes, takes)
    given, padded = int(work.input_beats(0)[0]), stream.padded // work.placed.output.lanes
    tokens, beats = np.arange(work.tokens)[:, None], np.arange(padded)
    needed = events.series(f"{work.name} sees", work.tokens * given)
    taken = events.series(f"{work.name} takes given", work.tokens * given)
    events.after(takes, needed, 0, of=(tokens * given + np.minimum(beats, given - 1)).ravel())
    events.after(taken, takes, 0, of=(tokens * padded + beats[:given]).ravel())
    return Port(taken, needed)


@register_timing(Rope)
def _rope(events: Events, work: Work) -> Component:
    """Groups of ``2 * span`` elements pass a double buffer; a position stays until its token's last element left it."""
    spec = work.operation.spec  # type: ignore[attr-defined]
    length: int = work.operation.output.length  # type: ignore[union-attr]
    tokens = work.tokens
    takes = events.series(f"{work.name} takes", tokens * length)
    reads = double_buffer(events, work.name, takes, np.full(tokens * length // (2 * spec.span), 2 * spec.span))
    gives = events.series(f"{work.name} gives", tokens * length)
    standing(events, reads, gives, 3)
    return Component((Port(takes, takes), held(events, work, reads, np.full(tokens, length))), gives)


@register_timing(AttentionWeights)
def _attention_weights(events: Events, work: Work) -> Component:
    """Rows pass a ring of two rows; then five registers."""
    scores: Scores = work.operation.x  # type: ignore[attr-defined]
    rows = spread(np.minimum(work.positions + 1, scores.most), np.full(len(work.positions), scores.heads))
    takes = events.series(f"{work.name} takes", int(rows.sum()))
    reads = double_buffer(events, work.name, takes, rows)
    events.after(takes, reads, 1, lag=scores.most + 1, back=True)
    gives = events.series(f"{work.name} gives", int(rows.sum()))
    standing(events, reads, gives, 5)
    return Component((Port(takes, takes),), gives)


@register_timing(Embedding)
def _embedding(events: Events, work: Work) -> Component:
    """An index is held while the beats of its row enter a pipeline."""
    beats = work.output_beats
    takes = events.series(f"{work.name} takes", len(beats))
    reads = events.series(f"{work.name} reads", int(beats.sum()))
    gives = events.series(f"{work.name} gives", int(beats.sum()))
    events.after(reads, takes, 1, of=spread(np.arange(len(beats)), beats))
    events.after(takes, reads, 0, of=np.cumsum(beats) - beats - 1, back=True)
    standing(events, reads, gives, 3)
    return Component((Port(takes, takes),), gives)
