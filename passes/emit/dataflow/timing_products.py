"""Timing of products: with weights, of queries and keys, of the weights of keys and values."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mxhw.arithmetic.dataflow import AttentionScores, AttentionValues, Linear
from mxhw.passes.emit.dataflow.timing import (
    Component,
    Port,
    Work,
    double_buffer,
    fifo_latency,
    frozen,
    held,
    register_timing,
    standing,
    through,
)
from mxhw.passes.emit.dataflow.timing_control import pass_numbers
from mxhw.rtl_templates.dataflow.attention_scores import STAGES
from mxhw.rtl_templates.dataflow.linear import LinearUnit
from mxhw.rtl_templates.memory.layer_loader import LayerWords
from mxhw.sim.performance.events import Events, IntArray, spread

__all__: list[str] = []

_WORDS_LATENCY = 2  # two FIFOs of registers between the port of a design and the memories
_DECODE = 2  # from the last step of a token to the cycle in which its half of the activation buffer is free


@register_timing(Linear)
def _linear(events: Events, work: Work) -> Component:
    made = _product(events, work)
    return Component((made.x,), made.gives)


@register_timing(Linear, folded=True)
def _folded_linear(events: Events, work: Work) -> Component:
    """The number of a token's layer is taken with the last step of the token before, or later; its steps follow."""
    made = _product(events, work)
    tiling, tokens = work.unit.gemm.tiling, np.arange(work.tokens)
    layers = events.series(f"{work.name} takes layer", work.tokens)
    firsts = np.full(events.counts[made.ends], -1)
    firsts[:: tiling.column_tiles] = tokens
    firsts = np.maximum.accumulate(firsts)
    events.after(made.ends, layers, tiling.tile_cycles, of=firsts)
    events.moves(made.gate, made.ends, layers, tiling.tile_cycles, of=firsts)
    events.after(layers, made.ends, 0, of=tokens * tiling.column_tiles - 1, back=True)
    if work.unit.gemm.port is None:
        return Component((made.x, Port(layers, layers)), made.gives)
    words = _word_beats if work.by_beat else _words
    return Component((made.x, Port(layers, layers), words(events, work, layers, made)), made.gives)


def _words(events: Events, work: Work, layers: int, made: "_Product") -> Port:
    """Add the port of the weights: two layers are kept, and the next but one comes when the first one is left.

    An event is the first beat of a layer's words. Where no requests are known, words are always there.
    """
    loads, tiling = work.unit.gemm.loads, work.unit.gemm.tiling
    cycles = sum(load.cycles for load in loads)
    of, free = _layer_loads(work)
    takes = events.series(f"{work.name} takes words", len(free), cycles)
    if work.control is None:
        return Port(takes, takes)
    events.after(takes, layers, 1, of=free, back=True)
    waits = np.full(events.counts[made.ends], -1)
    waits[:: tiling.column_tiles] = of
    delay = cycles - 1 + tiling.tile_cycles + _WORDS_LATENCY
    events.after(made.ends, takes, delay, of=np.maximum.accumulate(waits))
    return Port(takes, takes)


def _word_beats(events: Events, work: Work, layers: int, made: "_Product") -> Port:
    """Add it beat by beat; a beat of several words is there until the last one of them is written."""
    tiling, (of, freed) = work.unit.gemm.tiling, _layer_loads(work)
    layer = np.concatenate([_beat_cycles(load) for load in work.unit.gemm.loads])
    beats, cycles = len(layer), np.tile(layer, len(freed))
    sees, takes = (events.series(f"{work.name} {what} words", len(cycles)) for what in ("sees", "takes"))
    events.gaps(sees, np.roll(cycles, 1))
    for stay in np.unique(layer).tolist():
        # A wait has one delay: a beat that does not stay so long comes after the latest one that does.
        at = np.where(cycles >= stay, np.arange(len(cycles)), -1)
        events.after(takes, sees, stay - 1, of=np.maximum.accumulate(at))
    free = np.full(len(cycles), -1)
    free[::beats] = freed
    events.after(sees, layers, 1, of=np.maximum.accumulate(free), back=True)
    waits = np.full(events.counts[made.ends], -1)
    waits[:: tiling.column_tiles] = (of + 1) * beats - 1
    waits = np.maximum.accumulate(waits)
    events.after(made.ends, takes, tiling.tile_cycles, of=waits)
    events.moves(made.gate, made.ends, takes, tiling.tile_cycles, of=waits)
    return Port(takes, sees)


def _layer_loads(work: Work) -> tuple[IntArray, IntArray]:
    """Return the load of words that each token needs, and the token that each load waits for to be taken; -1: none."""
    of = np.zeros(work.tokens, dtype=np.int64)
    if work.control is not None:
        _, layer = pass_numbers(work.control)
        of = np.cumsum(np.append(0, np.diff(layer) != 0))
    count = int(of[-1]) + 1
    firsts = np.searchsorted(of, np.arange(count))
    return of, np.concatenate([[-1, -1], firsts[1:-1]])[:count]


def _beat_cycles(load: LayerWords) -> IntArray:
    """Return the cycles that each beat of a layer's words stays: one a word that it has."""
    words = np.full(load.beats, load.beat_words)
    if load.word_beats == 1:
        words[-1] = load.depth - (load.beats - 1) * load.beat_words
    return words


@dataclass(frozen=True)
class _Product:
    """The port of the codes, the last steps of tiles, the beats of the output, and the pipeline of the array."""

    x: Port
    ends: int
    gives: int
    gate: int


def _product(events: Events, work: Work) -> _Product:
    """A GEMM unit: load of row tiles, column tiles of the array, drain; with several rows, what brings them in order.

    See :meth:`mxhw.rtl_templates.gemm.GemmUnit.cycles` and the parts in `rtl_templates/dataflow/linear.py`.
    """
    unit: LinearUnit = work.unit
    rows, tiling, latency = unit.gemm.shape.rows, unit.gemm.tiling, unit.gemm.latency
    row_tiles = work.tokens // rows
    tiles = row_tiles * tiling.column_tiles
    x, loads = _loads(events, work, unit, row_tiles)
    # The last step of every tile; its capture; its rows.
    ends = events.series(f"{work.name} ends tile", tiles, tiling.tile_cycles)
    captures = events.series(f"{work.name} captures", tiles, tiling.tile_cycles)
    sums = events.series(f"{work.name} drains", tiles * rows)
    gives = events.series(f"{work.name} gives", tiles * rows)
    loaded = (np.arange(row_tiles) + 1) * tiling.chunks - 1
    firsts = np.full(tiles, -1)
    firsts[:: tiling.column_tiles] = loaded
    firsts = np.maximum.accumulate(firsts)
    events.after(ends, loads, tiling.tile_cycles, of=firsts)
    events.after(captures, ends, latency)
    frozen(events, ends, captures, latency, tiling.tile_cycles)
    gate = events.gate(ends, captures, latency)
    events.moves(gate, ends, loads, tiling.tile_cycles, of=firsts)
    if tiling.tile_cycles > 1:
        events.moves(gate, ends, ends, tiling.tile_cycles, lag=1)
    events.after(sums, captures, 1, of=np.repeat(np.arange(tiles), rows))
    events.after(captures, sums, 1, of=np.arange(tiles) * rows - 1, back=True)
    free = spread(np.arange(row_tiles) - 1, np.full(row_tiles, tiling.chunks)) * tiling.column_tiles - 1
    events.after(loads, ends, _DECODE, of=free, back=True)
    events.moves(gate, loads, ends, _DECODE, moves=_DECODE - 1, of=free)
    if rows > 1 and tiling.column_tiles > 1:
        ordered = double_buffer(events, work.name, sums, np.full(row_tiles, rows * tiling.column_tiles))
        through(events, ordered, gives, 2)
    else:
        through(events, sums, gives, 1)
    return _Product(x, ends, gives, gate)


def _loads(events: Events, work: Work, unit: LinearUnit, row_tiles: int) -> tuple[Port, int]:
    """Add what comes in front of a GEMM unit; return the port of its own beats, and the series of the GEMM unit's."""
    rows, chunks, beats = unit.gemm.shape.rows, unit.gemm.chunks, unit.timing.x_beats
    takes = events.series(f"{work.name} takes", row_tiles * rows * beats)
    if rows == 1 and chunks == beats:
        return Port(takes, takes), takes
    sees = events.series(f"{work.name} sees", events.counts[takes])
    events.after(takes, sees, 0)
    loads = events.series(f"{work.name} loads", row_tiles * chunks)
    # The beats of a row tile, then zeros.
    beat = np.minimum(np.arange(chunks), beats - 1)
    tile = np.repeat(np.arange(row_tiles), chunks) * rows * beats
    for row in range(rows):
        of = tile + row * beats + np.tile(beat, row_tiles)
        if row < rows - 1:
            events.after(loads, takes, fifo_latency(beats), of=of)
        else:
            events.after(loads, sees, 0, of=of)
    # A beat of the last row goes when it is loaded; the others come after those of the row tile before.
    at = np.arange(row_tiles * rows * beats)
    place, is_last, tile = at % beats, at // beats % rows == rows - 1, at // (rows * beats)
    loaded = np.maximum.accumulate(np.where(is_last, tile * chunks + place, -1))
    events.after(takes, loads, 0, of=loaded, back=True)
    return Port(takes, sees), loads


def _head_words(events: Events, name: str, words: Any, beats: int) -> Port:
    """Add the input of a :class:`HeadWords`: a beat is there for as many cycles as it has words."""
    pace = max(1, words._beat_lanes // words._lanes)
    needed = events.series(f"{name} sees", beats)
    taken = events.series(f"{name} takes", beats, pace)
    events.after(taken, needed, pace - 1)
    return Port(taken, needed)


def _kv_cache(
    events: Events, work: Work, cache: Any, beats: IntArray, starts: int, ends: int
) -> tuple[Port, tuple[Port, ...]]:
    """Add the inputs of a KV cache: codes, and positions, which banks are looked at and taken together with.

    ``starts``, ``ends``: first and last cycle of a token's work. A token is stored while the one before is worked on,
    and one that comes in the place of what is read for that, in its bank, when it has ended.
    """
    tokens = np.arange(work.tokens)
    codes = _head_words(events, f"{work.name} cache", cache._words, int(beats.sum()))
    position = held(events, work, codes.needed, beats)
    # A position is taken in the cycle of the last word.
    events.after(starts, codes.taken, 1, of=np.cumsum(beats) - 1)
    firsts = np.cumsum(beats) - beats
    before = np.full(int(beats.sum()), -1)
    before[firsts] = tokens - 1
    events.after(codes.needed, starts, 1, of=np.maximum.accumulate(before), back=True)
    new = np.concatenate([[False], work.positions[1:] <= work.positions[:-1]])
    if work.banks is not None:
        new[1:] &= work.banks[1:] == work.banks[:-1]
    if new.any():
        before = np.full(int(beats.sum()), -1)
        before[firsts[new]] = tokens[new] - 1
        events.after(codes.needed, ends, 1, of=np.maximum.accumulate(before), back=True)
    return codes, (position,) * (1 + (cache._banks > 1))


@register_timing(AttentionScores)
def _attention_scores(events: Events, work: Work) -> Component:
    """Query and key are stored; then the words of all keys of all heads are walked through."""
    unit, beats = work.unit, work.output_beats
    tokens, words = np.arange(work.tokens), unit._head_dim // unit._lanes
    query_beats = work.input_beats(0)
    query = _head_words(events, f"{work.name} query", unit._query, int(query_beats.sum()))
    starts = events.series(f"{work.name} starts", work.tokens)
    scored = events.series(f"{work.name} scores", int(beats.sum()), words)
    gives = events.series(f"{work.name} gives", int(beats.sum()))
    lasts = np.cumsum(beats) - 1
    done = events.series(f"{work.name} ends", work.tokens)
    events.after(done, scored, 0, of=lasts)
    key, places = _kv_cache(events, work, unit._cache, work.input_beats(1), starts, done)
    events.after(starts, query.taken, 1, of=np.cumsum(query_beats) - 1)
    events.after(starts, done, 0, lag=1, back=True)
    stored = np.full(int(query_beats.sum()), -1)
    stored[np.cumsum(query_beats) - query_beats] = tokens - 1
    events.after(query.needed, starts, 1, of=np.maximum.accumulate(stored), back=True)
    of = spread(tokens, beats)
    events.after(scored, starts, words, of=of)
    events.after(gives, scored, STAGES)
    frozen(events, scored, gives, STAGES, words)
    gate = events.gate(scored, gives, STAGES)
    events.moves(gate, scored, starts, words, of=of)
    if words > 1:
        events.moves(gate, scored, scored, words, lag=1)
    return Component((query, key, *places), gives)


@register_timing(AttentionValues)
def _attention_values(events: Events, work: Work) -> Component:
    """A weight is held while it multiplies the words of its value; a row's sums wait, and are divided in parts."""
    unit, keys = work.unit, work.input_beats(0)
    words, ratio, heads = unit._words, unit._ratio, unit._heads
    name, tokens, rows = work.name, np.arange(work.tokens), work.tokens * heads
    needed, taken = (events.series(f"{name} {what} weights", int(keys.sum())) for what in ("sees", "takes"))
    steps = events.series(f"{name} steps", int(keys.sum()) * words)
    starts, done = (events.series(f"{name} {what}", work.tokens) for what in ("starts", "ends"))
    events.after(steps, needed, 0, of=np.arange(int(keys.sum()) * words) // words)
    events.after(steps, starts, 1, of=spread(tokens, keys * words))
    events.after(taken, steps, 0, of=np.arange(1, int(keys.sum()) + 1) * words - 1)
    events.after(done, taken, 0, of=np.cumsum(keys) - 1)
    events.after(starts, done, 0, lag=1, back=True)
    value, places = _kv_cache(events, work, unit._cache, work.input_beats(1), starts, done)

    sums = events.series(f"{name} sums", rows * words)
    ends = np.cumsum(np.repeat(keys // heads, heads)) - 1  # the last key of each row
    last = (np.repeat(ends, words).reshape(-1, words) * words + np.arange(words)).ravel()  # its steps
    latency = unit._sum.latency
    events.after(sums, steps, latency, of=last)
    before = np.searchsorted(last, np.arange(events.counts[steps]) - latency, side="right") - 1
    events.after(steps, sums, 0, of=before, back=True)
    events.gate(steps, sums, latency, last)
    parts = sums
    if unit._waiting:
        parts = events.series(f"{name} parts", rows * words)
        events.after(parts, sums, fifo_latency(unit._waiting))
        events.after(sums, parts, 1, lag=unit._waiting, back=True)
    divided = events.series(f"{name} divides", rows * words * ratio)
    gives = events.series(f"{name} gives", rows * words * ratio)
    events.after(divided, parts, 1, of=np.arange(rows * words * ratio) // ratio)
    events.after(parts, divided, 0, of=np.arange(rows * words) * ratio - 1, back=True)
    standing(events, divided, gives, unit._mean.latency)
    return Component((Port(taken, needed), value, *places), gives)
