"""What the cycles of a design are at every position: made once, and shared by parts that are built alike."""

from collections.abc import Callable, Hashable
from dataclasses import replace
from functools import cached_property
from math import lcm

import numpy as np

from mxhw.hardware.cycles import Run, design_cycles, design_streams, unit_cycles, unit_interval
from mxhw.hardware.machine.gathered import gathered
from mxhw.hardware.machine.positions import FloatArray, table
from mxhw.hardware.machine.stages import stages
from mxhw.hardware.structure import AttentionUnit, Design, Embedding, Product, SoftmaxWeights, Unit, VectorUnit

__all__ = ["Tables", "signature"]


def signature(design: Design) -> Hashable:
    """Return what is the same for designs that are built alike, whatever their steps are called."""
    number = {name: index for index, name in enumerate((*design.inputs, *design.steps))}
    steps = tuple(
        (step.unit, tuple(number[source] for source in step.inputs), step.lanes_in, step.lanes_out)
        for step in design.steps.values()
    )
    fifos = sorted(
        (number[a], number[b], depth) for (a, b), depth in design.fifos.items() if a in number and b in number
    )
    return tuple(design.inputs.values()), steps, tuple(fifos)


class Tables:
    """Cycles of a design, of all its memories being there.

    Parameters
    ----------
    design : Design
    positions : int
        That tokens may have: 0 … positions - 1.
    """

    def __init__(self, design: Design, positions: int) -> None:
        self._design, self._joined, self._positions = design, gathered(design), positions

    @cached_property
    def rows(self) -> int:
        """Tokens of a tile that is whole for every product."""
        return lcm(*(unit.rows for unit in self._units if isinstance(unit, Product)))

    @cached_property
    def intervals(self) -> list[FloatArray]:
        """Cycles a token of every step in its steady state: [positions], or [1] where they are the same for all."""
        return [self._interval(unit) for unit in self._units]

    @cached_property
    def through(self) -> FloatArray:
        """Cycles from the last beat of a row tile in to its last beat out [positions of its first token], or [1]."""
        beats = self._beats_in
        return self._table(
            lambda position: design_cycles(self._joined, self.rows, start=position).total - beats, self._units
        )

    @cached_property
    def works(self) -> list[FloatArray]:
        """Cycles that each stage works on a row tile, [positions] or [1]."""
        return [self._works([self._design.steps[name].unit for name in names]) for names in stages(self._design)]

    @cached_property
    def arrivals(self) -> dict[int, float]:
        """Cycles from the first beat of the first row tile in until it is there for each step, by the step's number.

        Of steps that read a single stream.
        """
        run = Run(np.arange(self.rows))
        streams = design_streams(self._joined, run)
        return {
            number: float(streams[step.inputs[0]].last[-1])
            for number, step in enumerate(self._design.steps.values())
            if step.inputs[0] in streams
        }

    @property
    def _units(self) -> list[Unit]:
        return [step.unit for step in self._design.steps.values()]

    def _interval(self, unit: Unit) -> FloatArray:
        if isinstance(unit, Product) and unit.experts > 1:
            # A row tile meets every expert that one of its tokens chooses.
            alone = replace(unit, experts=1, active_experts=1)
            return np.asarray([unit_interval(alone) * unit.experts_met(unit.rows)])
        return self._table(lambda position: unit_interval(unit, position), [unit])

    def _works(self, units: list[Unit]) -> FloatArray:
        return self._table(lambda position: max(unit_cycles(unit, self.rows, position) for unit in units), units)

    def _table(self, function: Callable[[int], float], units: list[Unit]) -> FloatArray:
        """Return a function of positions, which has kinks where windows are full."""
        windows = {unit.most - 1 for unit in units if isinstance(unit, AttentionUnit | SoftmaxWeights)}
        return table(function, self._positions, windows) if windows else np.asarray([float(function(0))])

    @property
    def _beats_in(self) -> int:
        """Beats of the vectors of a row tile at the input; a token's number is one."""
        for step in self._design.steps.values():
            source, unit = step.inputs[0], step.unit
            if source in self._design.inputs and isinstance(unit, VectorUnit) and not isinstance(unit, Embedding):
                return self.rows * unit.length // self._design.inputs[source]
        return self.rows
