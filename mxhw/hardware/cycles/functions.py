"""Cycles of everything between products: pipelines, norms, encoders, rotations, look-ups.

None of these units holds up what comes in front of it, as long as its reader takes what it gives: stores and double
buffers are large enough for a beat a cycle. The constants are those of `rtl_templates/function` and
`rtl_templates/dataflow`, where the comments of the components derive them.
"""

from collections.abc import Sequence

import numpy as np

from mxhw.hardware.cycles.rules import INDEX, Run, register_cycles
from mxhw.hardware.cycles.streams import QUEUE_LATENCY, Arrivals, Beats, IntArray, accept, steady, with_carry
from mxhw.hardware.structure import (
    Activation,
    Add,
    Bias,
    Embedding,
    Encoder,
    Hadamard,
    Multiply,
    Norm,
    Permute,
    ReLU,
    Requantize,
    Rope,
    VectorUnit,
)

__all__ = ["DIALECT_STAGES", "EMBEDDING_STAGES", "ENCODER_STAGES", "LATENCIES", "NORM_STAGES", "ROPE_STAGES"]

LATENCIES: dict[type[VectorUnit], int] = {Requantize: 4, Bias: 2, Add: 2, Multiply: 3, ReLU: 0, Activation: 7}
"""Cycles from a beat to its result, of units that are a pipeline."""

NORM_STAGES = {"rms_norm": (3, 11, 6), "layer_norm": (7, 11, 7)}
"""Cycles of a norm's survey of a vector, of its energy, and of the scaling of a beat."""

ENCODER_STAGES = 3
"""Cycles from a read of a block's buffer to its code."""

DIALECT_STAGES = 2
"""Cycles from a read to the second buffer of a dialect's encoder, and from there to its code."""

ROPE_STAGES = 3
"""Cycles from a read of a group's buffer to the output."""

EMBEDDING_STAGES = 3
"""Cycles from a read of a row's beat to the output."""


def _vector(unit: VectorUnit) -> tuple[int, ...]:
    return (unit.length,)


def _two_vectors(unit: VectorUnit) -> tuple[int, ...]:
    return unit.length, unit.length


@register_cycles(Requantize, Bias, ReLU, Activation, elements=_vector)
@register_cycles(Add, Multiply, elements=_two_vectors)
def _pipeline(unit: VectorUnit, arrivals: Sequence[Arrivals], run: Run) -> Beats:
    """Registers that move together; operands are taken together."""
    latency = next(LATENCIES[kind] for kind in type(unit).__mro__ if kind in LATENCIES)
    return accept(arrivals[: len(_inputs(unit))]).later(latency)


def _inputs(unit: VectorUnit) -> tuple[int, ...]:
    return _two_vectors(unit) if isinstance(unit, Add | Multiply) else _vector(unit)


def _whole(taken: Beats, delay: int, beats: int) -> Beats:
    """Return vectors that leave a beat a cycle, so many cycles after their last beat has come."""
    elapsed = np.arange(beats, dtype=np.int64)
    return Beats(taken.starts, tuple(elapsed + (each[-1] + delay) for each in taken.offsets), taken.lanes)


def _blocks(taken: Beats, beats: int, delay: int) -> Beats:
    """Return blocks of so many beats that leave a beat a cycle, from a delay after their last beat on."""
    place = np.arange(len(taken.offsets[0]), dtype=np.int64)
    inside = place % beats
    ends = place - inside + beats - 1
    return Beats(taken.starts, tuple(each[ends] + inside + delay for each in taken.offsets), taken.lanes)


@register_cycles(Norm, elements=_vector)
def _norm(unit: Norm, arrivals: Sequence[Arrivals], run: Run) -> Beats:
    """Two stores, each left by a vector when a result about it is known; then a pipeline."""
    survey, energy, scale = NORM_STAGES[unit.kind]
    stores = survey + QUEUE_LATENCY + unit.beats - 1 + energy + QUEUE_LATENCY
    return _whole(accept(arrivals[:1]), stores + scale, unit.beats)


@register_cycles(Encoder, elements=_vector)
def _encoder(unit: Encoder, arrivals: Sequence[Arrivals], run: Run) -> Beats:
    """A double buffer of a block; a dialect's encoder has two. Vectors are padded with zeros."""
    taken = accept(arrivals, zeros=unit.padded // unit.lanes - unit.beats)
    beats = unit.block // unit.lanes
    if unit.kind == "dialect":
        # A block goes over to the second buffer a beat a cycle.
        return _blocks(taken, beats, 1 + DIALECT_STAGES + beats - 1 + 1 + DIALECT_STAGES)
    return _blocks(taken, beats, 1 + ENCODER_STAGES)


@register_cycles(Rope, elements=lambda unit: (unit.length, INDEX))
def _rope(unit: Rope, arrivals: Sequence[Arrivals], run: Run) -> Beats:
    """Groups of pairs pass a double buffer."""
    return _blocks(accept(arrivals[:1]), 2 * unit.span, 1 + ROPE_STAGES)


@register_cycles(Embedding, elements=lambda unit: (INDEX,))
def _embedding(unit: Embedding, arrivals: Sequence[Arrivals], run: Run) -> Beats:
    """An index is held while its row is read."""
    taken = accept(arrivals)
    elapsed: IntArray = np.arange(unit.beats, dtype=np.int64)
    firsts = Beats(taken.starts, tuple(elapsed + (each[0] + 1) for each in taken.offsets), unit.lanes)
    # The next index is taken in the cycle of the last read.
    return with_carry(firsts, steady(unit.beats)).later(EMBEDDING_STAGES)


@register_cycles(Permute, elements=_vector)
def _permute(unit: Permute, arrivals: Sequence[Arrivals], run: Run) -> Beats:
    """As an encoder without codes: a double buffer of a vector, and a register (no RTL yet)."""
    return _blocks(accept(arrivals), unit.beats, 1 + 1)


@register_cycles(Hadamard, elements=_vector)
def _hadamard(unit: Hadamard, arrivals: Sequence[Arrivals], run: Run) -> Beats:
    """A stage a factor two: those between lanes are registers, the others pass double buffers in turn (no RTL yet).

    A stage whose partners are ``d`` beats apart gives its first beat when the second partner has come.
    """
    beats = max(1, unit.order // unit.lanes)
    stages = unit.order.bit_length() - 1
    return _blocks(accept(arrivals), beats, stages)
