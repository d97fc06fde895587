"""Cycles of attention: products with the keys and the values that are kept, and the softmax between them.

A token's query and key are stored while the token before is worked on. Then all keys of all heads are met, ``words``
cycles each; rows of scores pass the ring of the softmax as wholes; a weight meets the words of its value, and a row's
sums are divided one by one. The constants are those of `rtl_templates/dataflow`.
"""

from collections.abc import Sequence

import numpy as np

from mxhw.hardware.cycles.division import Division, Products, walk
from mxhw.hardware.cycles.rules import INDEX, SCORES, Run, register_cycles
from mxhw.hardware.cycles.streams import (
    NEVER,
    Arrivals,
    Beats,
    IntArray,
    Rows,
    Start,
    accept,
    chain,
    fifo_latency,
    pruned,
    steady,
    with_carry,
)
from mxhw.hardware.structure import AttentionUnit, Scores, SoftmaxWeights, Values

__all__ = ["DIVISION", "SCORE_STAGES", "SOFTMAX_STAGES", "SUM_STAGES", "keys_of"]

SCORE_STAGES = 6
"""Cycles from the last word of a key to its score."""

SOFTMAX_STAGES = 5
"""Cycles from a read of the ring of scores to the weight."""

SUM_STAGES = 5
"""Cycles from the step of a row's last key to its sum."""

DIVISION = 10
"""Cycles from a sum to the output of its mean."""


def keys_of(most: int, run: Run) -> IntArray:
    """Return the keys that each token meets [tokens]."""
    return np.minimum(run.positions + 1, most)


def _score_inputs(unit: AttentionUnit) -> tuple[int, ...]:
    return unit.heads * unit.head_dim, unit.kv_heads * unit.head_dim, INDEX, *_bank(unit)


def _bank(unit: AttentionUnit) -> tuple[int, ...]:
    return (INDEX,) * (unit.banks > 1)


def _stored(codes: Arrivals) -> tuple[IntArray, int]:
    """Return when tokens would be stored, were there always room [tokens], and the cycles of storing one."""
    return accept([codes]).last, codes.paces.own + 1


@register_cycles(Scores, elements=_score_inputs)
def _scores(unit: Scores, arrivals: Sequence[Arrivals], run: Run) -> Rows:
    keys = keys_of(unit.most, run)
    work = unit.heads * unit.words * keys
    (query, storing), (key, storing_key) = _stored(arrivals[0]), _stored(arrivals[1])
    period = np.maximum(work, max(storing, storing_key) + 1)
    if len(run.restarts):
        # The key of a sequence's first token is stored when those of the one before are read no more.
        before = run.restarts - 1
        period[before] = np.maximum(period[before], work[before] + storing_key + 1)
    starts = chain(np.maximum(query, key) + 1, period)
    return Rows(starts + unit.words + SCORE_STAGES, unit.words * keys, keys, unit.words, unit.heads)


@register_cycles(SoftmaxWeights, elements=lambda unit: (SCORES,))
def _softmax(unit: SoftmaxWeights, arrivals: Sequence[Rows], run: Run) -> Rows:
    """A ring of two rows, each read when it is there as a whole."""
    scores = arrivals[0]
    first = scores.first + (scores.length - 1) * scores.pace + 1
    if len(run.restarts):
        first = _ring(scores, unit.most)
    return Rows(first + SOFTMAX_STAGES, scores.period, scores.length, 1, scores.heads)


def _ring(scores: Rows, most: int) -> IntArray:
    """Return the first read of each token's last row, less the rows before it, where a sequence ends.

    Only then rows are shorter than those before them, which are still read when they are there: beat by beat.
    """
    length = np.repeat(scores.length, scores.heads).tolist()
    taken: list[int] = []
    reads: list[int] = []
    freed = [-1, -1]  # last reads of the row before the last one, and of the last one
    firsts: list[int] = []
    for row, beats in enumerate(length):
        token, head = divmod(row, scores.heads)
        begin = int(scores.first[token] + head * scores.period[token])
        for beat in range(beats):
            before = taken[-1] if taken else -1
            room = reads[len(taken) - most - 1] if len(taken) > most else -1
            taken.append(max(begin + beat * scores.pace, before + 1, freed[0] + 1, room + 1))
        first = max(taken[-1], freed[1]) + 1
        reads += range(first, first + beats)
        freed = [freed[1], reads[-1]]
        firsts.append(first)
    return np.asarray(firsts[scores.heads - 1 :: scores.heads]) - (scores.heads - 1) * scores.period


@register_cycles(Values, elements=lambda unit: (SCORES, unit.kv_heads * unit.head_dim, INDEX, *_bank(unit)))
def _values(unit: Values, arrivals: Sequence[Arrivals | Rows], run: Run) -> Beats:
    weights, codes = arrivals[:2]
    assert isinstance(weights, Rows) and isinstance(codes, Arrivals)
    row = unit.words * weights.length  # cycles of a row's products
    work = unit.heads * row
    value, storing = _stored(codes)
    # The last step, were nothing but weights waited for.
    given = np.maximum(weights.first + work, weights.first + (unit.heads - 1) * weights.period + row) - 1
    period = np.maximum(work, storing + 1)
    ready = value + 1
    own = ready.copy()
    ready[1:] = np.maximum(ready[1:], given[:-1])
    if len(run.restarts):
        before = run.restarts - 1
        period[before] = np.maximum(period[before], work[before] + storing + 1)
        ready[run.restarts] = np.maximum(ready[run.restarts], given[before] + storing + 1)
    starts = chain(ready, period)
    stages = SUM_STAGES - (unit.words - 1)
    first = np.maximum(weights.first, starts + 1) + row - 1 + stages
    last = np.maximum(given, starts + work) + stages
    means = _divided(unit, first, last)
    begins = np.maximum(weights.first - storing - 1, starts)
    late = _late(unit, begins, means.last, weights.length)
    if late is None:
        return means
    known = Products(own, storing + 1, weights.length, weights.first, weights.period, frozenset(run.restarts.tolist()))
    firsts, lasts, start = walk(_division(unit), known, late)
    count = len(firsts)
    if count < len(starts):
        ready[:count] = NEVER
        ready[count] = start
        starts = chain(ready, period)
        first[count:] = np.maximum(weights.first, starts + 1)[count:] + row[count:] - 1 + stages
        last[count:] = np.maximum(given, starts + work)[count:] + stages
    first[:count], last[:count] = firsts, lasts
    return _divided(unit, first, last)


def _division(unit: Values) -> Division:
    ratio = unit.lanes // unit.output_lanes
    waiting = max(2, unit.words)
    return Division(
        heads=unit.heads,
        words=unit.words,
        ratio=ratio,
        waiting=waiting,
        stages=SUM_STAGES,
        latency=fifo_latency(waiting) if ratio > 1 else 0,
    )


def _late(unit: Values, begins: IntArray, means: IntArray, keys: IntArray) -> int | None:
    """Return the last token whose divisions may hold up the token after it; None: there is none.

    With as many keys as a sum has parts divisions keep up. A token's last step is before its last division, so that
    what begins after that (``begins``, less the cycles of storing a token) is not held up.
    """
    ratio = unit.lanes // unit.output_lanes
    if ratio == 1:
        return None
    near = np.flatnonzero((keys[:-1] <= ratio + _SLACK) & (begins[1:] < means[:-1]))
    return int(near[-1]) if len(near) else None


_SLACK = 1  # keys above the parts of a sum from which on a row's products are surely done before its divisions


def _divided(unit: Values, first: IntArray, last: IntArray) -> Beats:
    """Return the means, from the cycles of the first sum of the first and of the last row of each token."""
    sizes = _division(unit)
    delay = sizes.latency + 1 + DIVISION
    division = unit.words * sizes.ratio
    beats = unit.heads * division
    elapsed = np.arange(beats, dtype=np.int64)
    ends = elapsed - (beats - division)
    ends[:-division] = NEVER
    means = Beats((Start(first), Start(last)), (elapsed + delay, ends + delay), unit.output_lanes)
    return with_carry(pruned(means), steady(beats))
