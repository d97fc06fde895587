"""The energy of a run of an emitted design: at the activity that its platform's figures assume, and at the measured.

Activity is toggles of a register bit in a cycle; a register that takes unrelated data every cycle has 0.5
(:data:`mxhw.sim.activity.RANDOM_RATE`). A platform's figures hold for logic that works, with an activity that
`energy.activity` of its file states, with its source. So there are two ways to the energy of a step's logic:

assumed   energy of a cycle, times the cycles that the step works (those of FIFOs, converters, forks: their beats)
measured  energy of a cycle, times the toggles of a register bit in the whole run over the activity of the platform:
          how long the step works does not matter, since what stands does not toggle

Accesses of memories, memory outside and static power are the same in both. The share of the clock's tree in a
platform's figure goes with the data's toggles like the rest, since no figure states it apart: where data hardly moves,
the measured energy is a lower bound, unless clocks of registers that keep their values stand.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from mxhw.hardware.cycles import unit_interval
from mxhw.hardware.energy import (
    Accesses,
    EnergyBreakdown,
    access_energy,
    logic_energy,
    offchip_energy,
    relative_activity,
    static_energy,
    unit_energy,
)
from mxhw.hardware.machine.positions import table
from mxhw.hardware.platform import AsicPlatform, FpgaPlatform, Platform, Quantity
from mxhw.hardware.sizes import NOTHING, Resources, unit_sizes
from mxhw.hardware.sizes.connections import Connection, placed_connections
from mxhw.hardware.structure import AttentionUnit, Control, Design, MemoryShape, Product, SoftmaxWeights, Unit

__all__ = ["CountedRun", "RunEnergy", "StepEnergy", "StreamRun", "run_energy"]

_LOGIC = "logic"


@dataclass(frozen=True)
class StreamRun:
    """What passed a stream in a run.

    Attributes
    ----------
    beats : of the stream.
    positions : of its tokens in their sequences, in order; those of an input are not needed.
    bits, toggles : registers that were counted with it, and how often they toggled, all together.
    """

    beats: int
    positions: Sequence[int] = ()
    bits: int = 0
    toggles: int = 0


@dataclass(frozen=True)
class CountedRun:
    """A run of a design.

    Attributes
    ----------
    cycles : first beat in to last beat out.
    streams : inputs and steps.
    outside : bits that came through a port of a memory outside.
    loads : how often weights of a layer came through it.
    """

    cycles: int
    streams: Mapping[str, StreamRun]
    outside: float = 0.0
    loads: int = 0


@dataclass(frozen=True, kw_only=True)
class StepEnergy:
    """A step with what stands in front of it, or an input with what it is forked by.

    Attributes
    ----------
    name, kind : of the stream; class of its unit, "" of an input.
    working : cycles that it works in the run.
    bits, toggles : of registers that were counted.
    assumed, measured : pJ by term.
    """

    name: str
    kind: str
    working: float
    bits: int
    toggles: int
    assumed: EnergyBreakdown
    measured: EnergyBreakdown

    @property
    def activity(self) -> float | None:
        """Toggles of a register bit in a cycle in which the step works; None where nothing was counted."""
        return self.toggles / (self.bits * self.working) if self.bits and self.working else None

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        plain = {name: getattr(self, name) for name in ("name", "kind", "working", "bits", "toggles", "activity")}
        return {**plain, "assumed": self.assumed.to_json(), "measured": self.measured.to_json()}


@dataclass(frozen=True, kw_only=True)
class RunEnergy:
    """A run on a platform.

    Attributes
    ----------
    platform, clock : name, Hz.
    cycles : of the run.
    activity : that the platform's figures assume, toggles of a register bit and cycle; None: it states none.
    steps : a row each.
    common : pJ of what belongs to no step: "off-chip", "static".
    uncounted : steps that the energy lacks, since no record of them says what they are.
    """

    platform: str
    clock: float
    cycles: int
    activity: Quantity | None
    steps: tuple[StepEnergy, ...]
    common: EnergyBreakdown
    uncounted: tuple[str, ...] = ()

    @property
    def assumed(self) -> EnergyBreakdown:
        """pJ by term of the whole run, at the platform's activity."""
        return sum((step.assumed for step in self.steps), self.common)

    @property
    def measured(self) -> EnergyBreakdown:
        """pJ by term of the whole run, at the measured activity."""
        return sum((step.measured for step in self.steps), self.common)

    def to_json(self) -> dict[str, Any]:
        """Return the content of energy.json: energies in pJ."""
        activity = self.activity
        return {
            "platform": self.platform,
            "clock": self.clock,
            "cycles": self.cycles,
            "activity": None
            if activity is None
            else {"value": activity.value, "unit": activity.unit, "source": activity.source},
            "assumed": self.assumed.to_json(),
            "measured": self.measured.to_json(),
            "uncounted": list(self.uncounted),
            "steps": [step.to_json() for step in self.steps],
        }


def run_energy(design: Design, run: CountedRun, platform: Platform) -> RunEnergy:
    """Return what a run spends; ``design`` by the names of ``run.streams``.

    Raises
    ------
    InputError
        If a unit has no size in the platform's library, or no rule for its cycles.
    """
    assert isinstance(platform, AsicPlatform | FpgaPlatform)
    activity = None if platform.energy is None else platform.energy.activity
    beside: dict[str, list[Connection]] = {name: [] for name in (*design.inputs, *design.steps)}
    for each in placed_connections(design):
        beside[each.owner].append(each)
    steps, total, memories = [], NOTHING, list[MemoryShape]()
    for name, around in beside.items():
        unit = design.steps[name].unit if name in design.steps else None
        if unit is None and not around:
            continue
        steps.append(_step(name, unit, around, run, platform))
        for part in [*([] if unit is None else [unit]), *(connection.unit for connection in around)]:
            total = total + unit_sizes(part, platform)
            memories += part.memories()
    return RunEnergy(
        platform=platform.name,
        clock=platform.clock.value,
        cycles=run.cycles,
        activity=activity,
        steps=tuple(steps),
        common=static_energy(platform, total, memories, run.cycles / platform.clock.value)
        + offchip_energy(run.outside, platform.main_memory),
        uncounted=tuple(name for name in run.streams if name not in beside),
    )


def _step(
    name: str, unit: Unit | None, around: Sequence[Connection], run: CountedRun, platform: Platform
) -> StepEnergy:
    found = run.streams[name]
    accessed, logic, sizes, working = EnergyBreakdown(), EnergyBreakdown(), NOTHING, float(found.beats)
    if unit is not None:
        working, sizes = _working(unit, found), unit_sizes(unit, platform)
        logic = logic_energy(sizes, platform, working)
        accessed = _accessed(unit, found.positions, run, platform)
    for each in around:
        beats, own = run.streams[each.source].beats, unit_sizes(each.unit, platform)
        logic, sizes = logic + logic_energy(own, platform, beats), sizes + own
        for shape in each.unit.memories():  # every beat is written once, and read once
            accessed += access_energy(shape, Accesses(beats, beats), platform)
    return StepEnergy(
        name=name,
        kind="" if unit is None else type(unit).__name__,
        working=working,
        bits=found.bits,
        toggles=found.toggles,
        assumed=logic + accessed,
        measured=_measured(sizes, found, run.cycles, platform) + accessed,
    )


def _measured(sizes: Resources, found: StreamRun, cycles: int, platform: Platform) -> EnergyBreakdown:
    """Return the energy of logic of these sizes by the toggles of its registers.

    Logic whose registers were not counted (wires and gates alone) is not known, unless it is nothing.
    """
    assert isinstance(platform, AsicPlatform | FpgaPlatform)
    stated = platform.energy is not None and platform.energy.activity is not None
    if not found.bits or not stated:
        return EnergyBreakdown(unknown=frozenset({_LOGIC} if any(sizes[name] for name in sizes) else ()))
    return logic_energy(sizes, platform, cycles, relative_activity(found.toggles / (found.bits * cycles), platform))


def _working(unit: Unit, found: StreamRun) -> float:
    """Return the cycles that a unit works in a run."""
    if isinstance(unit, Control):
        return float(found.beats)
    if isinstance(unit, AttentionUnit | SoftmaxWeights):
        most = max(found.positions, default=0) + 1
        cycles = table(lambda position: unit_interval(unit, position), most, {unit.most - 1})
        return float(cycles[list(found.positions)].sum()) if found.positions else 0.0
    return unit_interval(unit) * len(found.positions)


def _accessed(unit: Unit, positions: Sequence[int], run: CountedRun, platform: Platform) -> EnergyBreakdown:
    """Return what accesses of a unit's memories spend."""
    if isinstance(unit, Product) and run.loads:
        unit = replace(unit, chunk=max(1, round(len(positions) / run.loads)))
    total = EnergyBreakdown()
    for start, tokens in _runs(positions):
        total = total + unit_energy(unit, tokens, start, platform, NOTHING, 0.0)
    return total


def _runs(positions: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield runs of successive positions: the first one, and how many."""
    starts = [0, *(i + 1 for i, (a, b) in enumerate(pairwise(positions)) if b != a + 1), len(positions)]
    for start, end in pairwise(starts):
        if end > start:
            yield positions[start], end - start
