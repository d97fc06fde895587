"""Streams of experts, whose readers take other numbers of elements than their writers give.

A fused product gives gate and up together, of which each reader takes a half; the sums of a token's experts become one
vector; a router's weight stands for a whole vector. mxhw has no components for that yet, so that designs name none: for
their cycles alone, a gathering stands in between, which lets a beat pass when that part of what is given has come.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mxhw.hardware.cycles import Arrivals, Beats, Run, accept, register_cycles
from mxhw.hardware.cycles.rules import elements_of
from mxhw.hardware.structure import Design, Encoder, Product, Step, Unit, Values, VectorUnit

__all__ = ["Gathering", "gathered", "stream_elements"]


@dataclass(frozen=True, kw_only=True)
class Gathering(Unit):
    """``given`` elements of a token become ``wanted``, ``lanes`` of them a beat: some left out, added, or repeated."""

    given: int
    wanted: int
    lanes: int

    @property
    def has_rtl(self) -> bool:
        return False


@register_cycles(Gathering, elements=lambda unit: (unit.given,))
def _gathering(unit: Gathering, arrivals: Sequence[Arrivals], run: Run) -> Beats:
    taken = accept(arrivals)
    beats = unit.wanted // unit.lanes
    of = -(-np.arange(1, beats + 1) * len(taken.offsets[0]) // beats) - 1
    return replace(taken, offsets=tuple(each[of] for each in taken.offsets), lanes=unit.lanes)


def gathered(design: Design) -> Design:
    """Return a design with experts in which every stream has the elements that its reader takes; others as they are."""
    if all(not isinstance(step.unit, Product) or step.unit.experts == 1 for step in design.steps.values()):
        return design
    steps: dict[str, Step] = {}
    for name, step in design.steps.items():
        inputs = list(step.inputs)
        for place, wanted in enumerate(elements_of(step.unit)[: len(inputs)]):
            source, lanes = inputs[place], step.lanes_in[place]
            given = stream_elements(design.steps[source]) if source in design.steps else None
            if wanted > 0 and given is not None and given != wanted:
                inputs[place] = between = f"{source} for {name} {place}"
                unit = Gathering(given=given, wanted=wanted, lanes=lanes)
                own = design.steps[source].lanes_out
                steps[between] = Step(between, step.node, unit, (source,), (own,), lanes)
        steps[name] = replace(step, inputs=tuple(inputs))
    return replace(design, steps=steps)


def stream_elements(step: Step) -> int | None:
    """Return the elements of a token that a step gives; None where they depend on its position."""
    unit = step.unit
    if isinstance(unit, Product):
        return unit.column_tiles * unit.columns * unit.active_experts
    if isinstance(unit, Values):
        return unit.heads * unit.head_dim
    if isinstance(unit, Encoder):
        return unit.padded
    return unit.length if isinstance(unit, VectorUnit) else None
