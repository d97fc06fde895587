"""What a unit costs for a workload: cycles that it works, resources, energy; and the way through several.

The numbers are those of the rooms :mod:`mxhw.hardware.cycles`, :mod:`mxhw.hardware.sizes` and
:mod:`mxhw.hardware.energy`; all that is added here is a workload.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from mxhw.errors import InputError
from mxhw.hardware.cycles import INDEX, SCORES, Run, design_streams, unit_cycles, unit_interval
from mxhw.hardware.cycles.rules import elements_of
from mxhw.hardware.energy import unit_energy
from mxhw.hardware.machine.positions import table
from mxhw.hardware.platform import Platform
from mxhw.hardware.resources import unit_resources
from mxhw.hardware.sizes import NOTHING, Resources, unit_sizes
from mxhw.hardware.structure import AttentionUnit, Design, Product, SoftmaxWeights, Step, Unit

__all__ = ["SPENT", "FloatArray", "IntArray", "StepCosts", "UnitCosts", "Workload"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
SPENT = 2
"""Energies: of the prompt, of the decoded token."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A prompt, and a token that is decoded behind others.

    Attributes
    ----------
    prefill : tokens of the prompt.
    position : of the decoded token.
    rows : tokens that all products compute at once; what is less is padded.
    chunk : tokens of the prompt that go through a folded design layer by layer; 0: all of them.
    """

    prefill: int
    position: int
    rows: int = 1
    chunk: int = 0

    def __post_init__(self) -> None:
        for name, smallest in (("prefill", 1), ("position", 0), ("rows", 1), ("chunk", 0)):
            if getattr(self, name) < smallest:
                raise InputError(f"{name} of a workload must be at least {smallest}, not {getattr(self, name)!r}")

    @property
    def padded(self) -> int:
        """Tokens of the prompt in whole row tiles."""
        return -(-self.prefill // self.rows) * self.rows

    @cached_property
    def starts(self) -> IntArray:
        """First token of each chunk of the prompt, then the decoded token [chunks + 1]."""
        return np.append(np.arange(0, self.prefill, self.chunk or self.prefill), self.position)

    @cached_property
    def tokens(self) -> IntArray:
        """Tokens of each chunk, then of the decoded row tile, in whole row tiles [chunks + 1]."""
        counts = np.diff(np.append(self.starts[:-1], self.prefill))
        return np.append(-(-counts // self.rows), 1) * self.rows

    @property
    def tiles(self) -> tuple[int, int, int]:
        """Positions of row tiles whose way is found: first in the first and the last chunk, and the decoded one."""
        return 0, int(self.starts[-2]), self.position


@dataclass(frozen=True, eq=False)
class StepCosts:
    """Costs of a step in one layer.

    Attributes
    ----------
    busy : cycles that it works on each chunk of the prompt, then on the decoded row tile [chunks + 1].
    run : cycles of the prompt alone, from the first beat in to the last beat out.
    energy : pJ of the prompt, of the decoded row tile; 0 without a platform.
    resources : that it takes, memories included; none without a platform.
    weight_bits : of a layer's weights as memories hold them.
    """

    busy: FloatArray
    run: float
    energy: tuple[float, float] = (0.0, 0.0)
    resources: Resources = NOTHING
    weight_bits: float = 0.0


class UnitCosts:
    """Costs of units, each computed once: :meth:`of` gives those of a unit.

    Parameters
    ----------
    workload : Workload
    platform : Platform or None
        None: cycles and bits only.

    Attributes
    ----------
    names : of the platform's resources.

    Raises
    ------
    InputError
        From a call: if the platform has no sizes of a unit.
    """

    def __init__(self, workload: Workload, platform: Platform | None = None) -> None:
        self.workload, self.platform = workload, platform
        self.of = lru_cache(maxsize=None)(self._of)
        self._ways = lru_cache(maxsize=None)(self._found_ways)
        self.names: tuple[str, ...] = ()
        if platform is not None:
            self.names = ("area", "ff") if platform.kind == "asic" else ("lut", "ff", "dsp", "bram", "uram")

    def connection(self, unit: Unit) -> Resources:
        """Return what stands between steps takes; nothing without a platform."""
        return NOTHING if self.platform is None else unit_resources(unit, self.platform)

    def ways(self, steps: Mapping[str, Step], inputs: Mapping[str, int]) -> dict[str, FloatArray]:
        """Return the cycles of a row tile from its last beats in to the last beat out of each step [tiles].

        ``inputs``: streams from elsewhere → elements of a beat. They are there from the start, a beat a cycle.
        """
        plain = tuple((name, step.unit, step.inputs, step.lanes_in, step.lanes_out) for name, step in steps.items())
        return self._ways(plain, tuple(inputs.items()))

    def _of(self, unit: Unit) -> StepCosts:
        """Return the costs of a unit."""
        work, platform = self.workload, self.platform
        busy, run = self._busy(unit), float(unit_cycles(unit, work.padded))
        bits = float(unit.weight_bits) if isinstance(unit, Product) else 0.0
        if platform is None:
            return StepCosts(busy, run, weight_bits=bits)
        logic = unit_sizes(unit, platform)
        energy = (
            unit_energy(unit, work.prefill, 0, platform, logic, run).known,
            unit_energy(unit, work.rows, work.position, platform, logic, float(busy[-1])).known,
        )
        return StepCosts(busy, run, energy, unit_resources(unit, platform), bits)

    def _busy(self, unit: Unit) -> FloatArray:
        work = self.workload
        if not isinstance(unit, AttentionUnit | SoftmaxWeights):
            return np.asarray(work.tokens * unit_interval(unit), dtype=np.float64)
        intervals = table(lambda p: unit_interval(unit, p), max(work.prefill, work.position + 1), (unit.most - 1,))
        prompt = np.add.reduceat(intervals[: work.prefill], work.starts[:-1])
        last = np.append(work.starts[1:-1], work.prefill) - 1
        counts = np.diff(np.append(work.starts[:-1], work.prefill))
        padding = (work.tokens[:-1] - counts) * intervals[last]
        return np.append(prompt + padding, intervals[work.position] * work.rows)

    def _found_ways(
        self,
        steps: tuple[tuple[str, Unit, tuple[str, ...], tuple[int, ...], int], ...],
        inputs: tuple[tuple[str, int], ...],
    ) -> dict[str, FloatArray]:
        made = {name: Step(name, "", unit, sources, given, lanes) for name, unit, sources, given, lanes in steps}
        design, rows = Design(dict(inputs), made, ()), self.workload.rows
        beats = [
            1 if elements in (INDEX, SCORES) else elements // design.inputs[source]
            for step in made.values()
            for source, elements in zip(step.inputs, elements_of(step.unit), strict=False)
            if source in design.inputs
        ]
        found: dict[str, list[float]] = {name: [] for name in made}
        for position in self.workload.tiles:
            streams = design_streams(design, Run(np.arange(position, position + rows, dtype=np.int64)))
            for name in made:
                found[name].append(float(streams[name].last.max()) + 1 - rows * max(beats, default=0))
        return {name: np.array(ways) for name, ways in found.items()}
