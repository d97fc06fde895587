"""Timing of what controls a language model: the tokens of its streams are those of a :class:`.ControlSchedule`.

Without one, as where a component alone is asked for its interval, every token is a chunk of its own, in one layer, and
everything is kept.
"""

from typing import Any

import numpy as np
import torch

from mxhw.arithmetic.dataflow import (
    ArgMax,
    Enter,
    Field,
    Keep,
    PassOrder,
    Requests,
    RequestValues,
    TakeShare,
    TokenSelect,
)
from mxhw.arithmetic.dataflow.control import chunk_numbers, newest_logits
from mxhw.passes.emit.dataflow.timing import (
    Component,
    ControlSchedule,
    Port,
    Work,
    fifo_latency,
    register_timing,
    through,
)
from mxhw.sim.performance.events import Events, IntArray, spread

__all__ = ["control_schedule", "pass_numbers"]


def control_schedule(requests: RequestValues, layers: int, chunk: int) -> ControlSchedule:
    """Return what requests ask of a design."""
    numbers = chunk_numbers(requests.last[0], chunk).numpy()
    return ControlSchedule(
        requests=len(numbers),
        chunk_ends=np.append(np.flatnonzero(np.diff(numbers)), len(numbers) - 1),
        layers=layers,
        logits=requests.logits[0].numpy() != 0,
        generated=requests.generated[0].numpy() != 0,
        sequence=requests.sequence[0].numpy(),
    )


def pass_numbers(control: ControlSchedule) -> tuple[IntArray, IntArray]:
    """Return the request and the layer of every pass, in order."""
    chunk = np.searchsorted(control.chunk_ends, np.arange(control.requests))
    layers = np.arange(control.layers)[:, None]
    order = np.argsort((chunk * control.layers + layers).ravel(), kind="stable")
    return order % control.requests, order // control.requests


def _control(work: Work) -> ControlSchedule:
    if work.control is not None:
        return work.control
    tokens = work.tokens
    alone = np.arange(tokens)
    yes, no = np.ones(tokens, dtype=bool), np.zeros(tokens, dtype=bool)
    return ControlSchedule(
        requests=tokens, chunk_ends=alone, layers=1, logits=yes, generated=no, sequence=np.zeros_like(alone)
    )


@register_timing(PassOrder)
def _pass_order(events: Events, work: Work) -> Component:
    """A memory of a chunk, read a pass a cycle; with a single layer a register."""
    control = _control(work)
    request, layer = pass_numbers(control)
    takes = events.series(f"{work.name} takes", control.requests)
    gives = events.series(f"{work.name} gives", len(request))
    if work.unit.memory[0] == 0:
        through(events, takes, gives, 1)
        return Component((Port(takes, takes),), gives)
    reads = events.series(f"{work.name} reads", len(request))
    events.after(reads, takes, 1, of=np.maximum.accumulate(np.where(layer == 0, request, -1)))
    # The requests of a chunk come when the last pass of the one before has been read.
    chunk = np.searchsorted(control.chunk_ends, np.arange(control.requests))
    ends = (np.append(-1, control.chunk_ends) + 1) * control.layers - 1
    events.after(takes, reads, 1, of=ends[chunk], back=True)
    through(events, reads, gives, 1)
    return Component((Port(takes, takes),), gives)


@register_timing(Field)
def _field(events: Events, work: Work) -> Component:
    """Wires."""
    kind = work.operation.x  # type: ignore[attr-defined]
    tokens = work.tokens
    if work.control is not None:
        tokens = work.control.requests * (1 if isinstance(kind, Requests) else work.control.layers)
    moves = events.series(f"{work.name} moves", tokens)
    return Component((Port(moves, moves),), moves)


@register_timing(TokenSelect)
def _token_select(events: Events, work: Work) -> Component:
    """A register; in front of it requests wait for the arg-max that they take, and for room in the queue of logits."""
    control, capacity = _control(work), work.unit.capacity
    asked = np.flatnonzero(control.logits)
    takes = events.series(f"{work.name} takes", control.requests)
    feedback = events.series(f"{work.name} takes feedback", len(asked))
    gives = events.series(f"{work.name} gives", control.requests)
    through(events, takes, gives, 1)
    events.after(feedback, takes, fifo_latency(capacity), of=asked)
    number = np.cumsum(control.logits) - 1
    newest = newest_logits(torch.from_numpy(control.sequence), torch.from_numpy(control.logits).long()).numpy()
    awaited = np.where(control.generated, newest, -1)
    awaited = np.maximum(awaited, np.where(control.logits, number - capacity, -1))
    events.after(takes, feedback, 1, of=np.maximum.accumulate(awaited), back=True)
    return Component((Port(takes, takes), Port(feedback, feedback)), gives)


@register_timing(Enter)
def _enter(events: Events, work: Work) -> Component:
    """Wires, and a pass that is held while its vector moves."""
    operation: Any = work.operation
    _, layer = pass_numbers(_control(work))
    beats = operation.x.length // work.placed.output.lanes
    moves = events.series(f"{work.name} moves", len(layer) * beats)
    first = np.repeat(layer == 0, beats)
    ports = [_held(events, f"{work.name} passes", moves, moves, np.arange(len(layer)) * beats, beats)]
    for name, chosen in (("embedded", first), ("returned", ~first)):
        ports.append(_held(events, f"{work.name} {name}", moves, moves, np.flatnonzero(chosen)))
    return Component(tuple(ports), moves)


@register_timing(Keep)
def _keep(events: Events, work: Work) -> Component:
    """Wires; beats that are dropped wait for nothing."""
    operation: Any = work.operation
    control = _control(work)
    request, layer = pass_numbers(control)
    is_last = layer == control.layers - 1
    kept = is_last & control.logits[request]
    if operation.which == "returned" and work.control is not None:
        kept = ~is_last
    beats = operation.x.length // work.placed.output.lanes
    count = len(layer) * beats
    sees, takes = (events.series(f"{work.name} {what}", count) for what in ("sees", "takes"))
    chosen = np.flatnonzero(np.repeat(kept, beats))
    gives = events.series(f"{work.name} gives", len(chosen))
    events.after(gives, sees, 0, of=chosen)
    events.after(takes, sees, 0)
    events.after(takes, gives, 0, of=_latest(chosen, count))
    passes = _held(events, f"{work.name} passes", sees, takes, np.arange(len(layer)) * beats, beats)
    return Component((passes, Port(takes, sees)), gives)


def _held(events: Events, name: str, begins: int, moves: int, starts: IntArray, beats: int = 1) -> Port:
    """Add an input whose beat k is there from event ``starts[k]`` of ``begins`` on, for ``beats`` events.

    It is taken with the last of them in ``moves``, which has as many events.
    """
    needed, taken = (events.series(f"{name} {what}", len(starts)) for what in ("seen", "taken"))
    events.after(begins, needed, 0, of=_latest(starts, events.counts[begins]))
    events.after(taken, moves, 0, of=starts + beats - 1)
    return Port(taken, needed)


def _latest(starts: IntArray, count: int) -> IntArray:
    """Return for each of ``count`` events the last of ``starts`` up to it; -1: none."""
    return np.searchsorted(starts, np.arange(count), side="right") - 1


@register_timing(TakeShare)
def _take_share(events: Events, work: Work) -> Component:
    """Wires. An event is the first beat of a share: the one after comes when the beats of the share have passed.

    If all beats have events, those of the share are given, and the others dropped.
    """
    operation: Any = work.operation
    shares = list(operation.x.shares)
    shares[operation.share] = max(operation.count, operation.cycles or 0)
    count = work.tokens * (operation.x.beats if work.by_beat else len(shares))
    sees, takes = (events.series(f"{work.name} {what}", count) for what in ("sees", "takes"))
    if work.by_beat:
        first = np.arange(work.tokens) * operation.x.beats + operation.start
        chosen = (first[:, None] + np.arange(operation.count)).ravel()
    else:
        events.gaps(sees, np.roll(np.tile(shares, work.tokens), 1))
        chosen = np.arange(work.tokens) * len(shares) + operation.share
    gives = events.series(f"{work.name} gives", len(chosen))
    events.after(gives, sees, 0, of=chosen)
    events.after(takes, sees, 0)
    events.after(takes, gives, 0, of=_latest(chosen, count))
    return Component((Port(takes, sees),), gives)


@register_timing(ArgMax)
def _arg_max(events: Events, work: Work) -> Component:
    """The largest of a beat, then of all so far; a vector waits while the index before the last one does."""
    x: Any = work.operation.inputs[0]
    vectors = work.tokens if work.control is None else int(work.control.logits.sum())
    beats = x.length // work.placed.inputs[0].lanes
    takes = events.series(f"{work.name} takes", vectors * beats)
    gives = events.series(f"{work.name} gives", vectors)
    vector = np.arange(vectors)
    events.after(gives, takes, work.unit.latency, of=(vector + 1) * beats - 1)
    events.after(takes, gives, 0, of=spread(vector - 2, np.full(vectors, beats)), back=True)
    return Component((Port(takes, takes),), gives)
