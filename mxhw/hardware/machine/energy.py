"""What a phase of a model spends: every step of every part, what stands between them, memory outside, static power.

Tokens that pad a row tile are spent for like others. Streams between steps pass a beat a cycle through their forks,
queues and converters. What is written into memories of weights is counted with their words
(:meth:`mxhw.hardware.structure.Product.memories`), constants that are loaded here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from mxhw.hardware.energy import Accesses, EnergyBreakdown, access_energy, offchip_energy, static_energy, unit_energy
from mxhw.hardware.machine.capacity import Capacity
from mxhw.hardware.machine.passes import Part
from mxhw.hardware.machine.traffic import Move, Tokens
from mxhw.hardware.platform import Platform
from mxhw.hardware.sizes import unit_sizes
from mxhw.hardware.sizes.connections import connections
from mxhw.hardware.structure import (
    AttentionUnit,
    Design,
    Encoder,
    Product,
    SoftmaxWeights,
    Step,
    Unit,
    Values,
    VectorUnit,
)

__all__ = ["Spans", "between_energy", "loaded_energy", "static_of", "step_energy"]


@dataclass(frozen=True)
class Spans:
    """Tokens of a phase, as runs of successive positions.

    Attributes
    ----------
    start, tokens : of the run.
    times : how often it occurs.
    groups : the same tokens in their chunks.
    """

    start: int
    tokens: int
    times: float
    groups: Tokens

    @property
    def chunk(self) -> int:
        """Tokens of a chunk, on average."""
        return max(1, round(len(self.groups.positions) / max(1, len(self.groups.starts))))

    def padded(self, rows: int) -> float:
        """Return how often the run occurs with what pads it to whole row tiles."""
        whole = float(np.sum(-(-self.groups.counts // rows) * rows))
        return self.times * whole / max(1, len(self.groups.positions))


def step_energy(part: Part, name: str, busy: float, spans: Spans, moved: float, platform: Platform) -> EnergyBreakdown:
    """Return what a step spends in all its layers [pJ].

    ``busy``: cycles that it works in them; ``moved``: bits of memory outside that are its own.
    """
    unit = part.design.steps[name].unit
    if isinstance(unit, Product):
        unit = replace(unit, chunk=max(1, spans.chunk))
    run = unit_energy(unit, spans.tokens, spans.start, platform, unit_sizes(unit, platform), 0.0)
    logic = unit_energy(unit, 0, 0, platform, unit_sizes(unit, platform), busy)
    if isinstance(unit, Product):  # a short tile meets the experts of its own tokens only
        run = run * (unit.experts_met(min(spans.chunk, unit.rows)) / unit.experts_met(unit.rows))
    found = logic + run * (spans.padded(part.rows) * part.layers)
    return found + offchip_energy(moved, platform.main_memory)


def between_energy(part: Part, spans: Spans, platform: Platform) -> EnergyBreakdown:
    """Return what forks, queues and converters of a part spend in all its layers [pJ]."""
    design, total = part.design, EnergyBreakdown()
    middle = spans.start + (spans.tokens - 1) / 2
    tokens = spans.tokens * spans.padded(part.rows) * part.layers
    for name in (*design.inputs, *design.steps):
        beats = _beats(design, name, middle) * tokens
        for unit in _around(design, name):
            total += unit_energy(unit, 0, 0, platform, unit_sizes(unit, platform), beats)
            for shape in unit.memories():
                total += access_energy(shape, Accesses(beats, beats), platform)
    return total


def loaded_energy(part: Part, move: Move, times: float, platform: Platform) -> EnergyBreakdown:
    """Return what writing moved words into their memories spends, ``times`` times [pJ].

    Of constants and of keys and values; writes of weights, rows and a token's own keys are those of their units.
    """
    unit, total = move.unit, EnergyBreakdown()
    if move.every == "key" and isinstance(unit, AttentionUnit):
        words = {"cache": unit.kv_heads * unit.words, "scales": unit.kv_heads}
    else:
        words = {"constants": getattr(unit, "constant_words", 0) // max(1, part.constants)}
    for shape in unit.memories():
        if shape.name in words:
            total += access_energy(shape, Accesses(writes=times * words[shape.name]), platform)
    return total


def static_of(found: Capacity, seconds: float) -> EnergyBreakdown:
    """Return what the design spends in so many seconds by being there [pJ]."""
    return static_energy(found.platform, found.logic, found.memories, seconds)


def _around(design: Design, name: str) -> Iterator[Unit]:
    """Yield what stands between a stream and its readers."""
    readers = [
        replace(step, inputs=(name,), lanes_in=(step.lanes_in[place],))
        for step in design.steps.values()
        for place, source in enumerate(step.inputs)
        if source == name
    ]
    steps: Mapping[str, Step] = {f"reader {i}": step for i, step in enumerate(readers)}
    inputs = {name: design.inputs[name]} if name in design.inputs else {}
    if name in design.steps:
        steps = {name: design.steps[name], **steps}
    yield from connections(Design(inputs, steps, design.outputs, design.fifos))


def _beats(design: Design, name: str, position: float) -> float:
    """Return the beats of a token of a stream, at a position."""
    if name in design.inputs:
        readers = (step.unit for step in design.steps.values() if step.inputs and step.inputs[0] == name)
        unit = next(readers, None)
        return unit.length / design.inputs[name] if isinstance(unit, VectorUnit) else 1.0
    step = design.steps[name]
    unit = step.unit
    if isinstance(unit, Product):
        return float(unit.column_tiles * unit.active_experts)
    if isinstance(unit, Values):
        return unit.heads * unit.head_dim / step.lanes_out
    if isinstance(unit, AttentionUnit | SoftmaxWeights):
        return unit.heads * min(position + 1, unit.most)
    if isinstance(unit, Encoder):
        return unit.padded / step.lanes_out
    return unit.length / step.lanes_out if isinstance(unit, VectorUnit) else 1.0
