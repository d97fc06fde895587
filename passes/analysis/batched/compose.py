"""From the costs of a model's parts to those of the model, for arrays of assignments."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mxhw.passes.analysis.batched.parts import Part
from mxhw.passes.analysis.batched.steps import SPENT, FloatArray, Workload

__all__ = ["ADDED", "BatchedCosts", "PartCosts", "composed"]

ADDED = SPENT + 2
"""What is added of all layers: energies [pJ], weight bits, cycles of runs; then the resources."""


@dataclass(frozen=True, eq=False)
class PartCosts:
    """Costs of the designs of a part [assignments, copies, …].

    Attributes
    ----------
    busy : cycles of the slowest step in one layer, for each chunk and the decoded row tile [..., chunks + 1].
    run : cycles of the longest run of a step [assignments, copies].
    way : cycles of row tiles through the design [..., tiles].
    added : see :data:`ADDED`.
    """

    busy: FloatArray
    run: FloatArray
    way: FloatArray
    added: FloatArray


@dataclass(frozen=True, eq=False)
class BatchedCosts:
    """Costs of assignments, each an array [assignments].

    Attributes
    ----------
    prefill, decode : cycles of the prompt, of one more token; infinite where layers cannot share their unit.
    interval : cycles a token in steady state, of the decoded token's position.
    longest, all : cycles of the prompt in the unit that takes longest for it alone; the sum over all units.
    resources : of the whole design, by name.
    energy : of logic and accesses, for the prompt and for the decoded row tile [pJ] [assignments, 2].
    weight_bits : of the weights of all layers as memories hold them: what a pass moves where they lie outside.
    """

    prefill: FloatArray
    decode: FloatArray
    interval: FloatArray
    longest: FloatArray
    all: FloatArray
    resources: Mapping[str, FloatArray]
    energy: FloatArray
    weight_bits: FloatArray


def composed(
    parts: Sequence[Part],
    found: Sequence[PartCosts],
    work: Workload,
    names: Sequence[str],
    *,
    folded: bool,
    port: float | None,
) -> BatchedCosts:
    """Return the costs of models.

    Folded: from a layer to the next one it takes a chunk the longest of all its tokens in the slowest step, the next
    layer's load, and the way of a row tile, whose token waits for the layer before; the next chunk does not wait.
    Unfolded: tokens follow each other everywhere. The last row tile leaves on its way; front and back are passed once.
    As :mod:`mxhw.hardware.machine.timing` has it. ``port``: bits a cycle in which layers are loaded; None: they lie
    inside.
    """
    both = list(zip(parts, found, strict=True))
    blocks = [(part, costs) for part, costs in both if not part.is_end]
    ends = sum((costs.way[:, :, 1:].sum(axis=1) for part, costs in both if part.is_end), np.zeros(2))
    cycles = _folded(blocks, work, port) if folded else _unfolded(blocks, work)
    added = sum((costs.added.sum(axis=1) for costs in found), np.zeros(1))
    each = [costs.busy[:, :, -1].max(axis=1) * part.layers / work.rows for part, costs in both]
    return BatchedCosts(
        prefill=cycles[0] + ends[..., 0],
        decode=cycles[1] + ends[..., 1],
        interval=np.maximum.reduce(each),
        longest=np.maximum.reduce([costs.run.max(axis=1) for costs in found]),
        all=added[:, SPENT + 1],
        resources={name: added[:, ADDED + i] for i, name in enumerate(names)},
        energy=added[:, :SPENT],
        weight_bits=added[:, SPENT],
    )


def _folded(
    blocks: Sequence[tuple[Part, PartCosts]], work: Workload, port: float | None
) -> tuple[FloatArray, FloatArray]:
    """Return the cycles of the prompt and of the decoded token in all layers."""
    cycles, first, out = np.zeros(1), np.zeros(1), np.zeros(1)
    for number, (part, costs) in enumerate(blocks):
        busy, way = costs.busy[:, 0], _ways_of_chunks(costs.way[:, 0], work)
        load = np.zeros((1, 1)) if port is None else costs.added[:, 0, SPENT, None] / (part.layers * port)
        flow = np.maximum(busy, load)
        inner = np.maximum(flow, way)
        cycles = cycles + part.layers * inner
        if number == 0:
            first = load[:, 0]  # a token that is decoded behind others finds its layer there
        if number == len(blocks) - 1:
            with np.errstate(invalid="ignore"):  # of what takes forever
                cycles = np.where(np.isfinite(inner), cycles - inner + flow, np.inf)
                tile = busy * work.rows / work.tokens
                out = np.where(np.isfinite(inner), way - tile + busy - flow, np.inf)
    return cycles[:, :-1].sum(axis=1) + first + out[:, -2], cycles[:, -1] + out[:, -1]


def _unfolded(blocks: Sequence[tuple[Part, PartCosts]], work: Workload) -> tuple[FloatArray, FloatArray]:
    busy = np.maximum.reduce([costs.busy.max(axis=1) for _, costs in blocks])
    way = sum((costs.way.sum(axis=1) for _, costs in blocks), np.zeros(1))
    tile = busy * work.rows / work.tokens
    return busy[:, :-1].sum(axis=1) + way[:, 1] - tile[:, -2], way[:, 2]


def _ways_of_chunks(way: FloatArray, work: Workload) -> FloatArray:
    """Return the way of the first row tile of every chunk, then of the decoded one [assignments, chunks + 1].

    Between the first and the last chunk it is a line, as attention makes it.
    """
    first, last, token = (way[:, i, None] for i in range(3))
    starts = work.starts[:-1]
    with np.errstate(invalid="ignore"):
        chunks = first + (last - first) * starts / max(1, starts[-1])
    return np.concatenate([np.where(np.isfinite(first), chunks, np.inf), token], axis=1)
