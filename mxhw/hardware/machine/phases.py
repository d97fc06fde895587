"""From the cycles of a phase to all that it costs: bits, energy and roofline, of every step and in total."""

from collections.abc import Iterable, Iterator, Mapping

from mxhw.hardware.energy import EnergyBreakdown
from mxhw.hardware.machine.capacity import Capacity
from mxhw.hardware.machine.energy import Spans, between_energy, loaded_energy, static_of, step_energy
from mxhw.hardware.machine.passes import Part
from mxhw.hardware.machine.report import PhaseCost, StepCost
from mxhw.hardware.machine.roofline import Roofline, peak_macs
from mxhw.hardware.machine.timing import Span
from mxhw.hardware.machine.traffic import Tokens
from mxhw.hardware.platform import Platform
from mxhw.hardware.resources import unit_resources
from mxhw.hardware.structure import AttentionUnit, Product, Unit

__all__ = ["phase_cost"]


def phase_cost(
    name: str, span: Span, run: Spans, last: Spans, parts: Iterable[Part], found: Capacity, bandwidth: float
) -> PhaseCost:
    """Return what a phase costs.

    Parameters
    ----------
    run, last : its tokens, and those whose logits are wanted.
    parts : of the model.
    found : what the design takes.
    bandwidth : bytes a second of the port.
    """
    platform, clock = found.platform, found.platform.clock.value
    seconds = span.cycles / clock
    steps: list[StepCost] = []
    energy = static_of(found, seconds)
    for part in parts:
        tokens = last if part.name == "back" else run
        steps += _steps(part, tokens, span.cycles, platform, bandwidth)
        energy += between_energy(part, tokens, platform)
    energy = sum((step.energy for step in steps), energy)
    bits: dict[str, float] = {}
    for step in steps:
        for kind, amount in step.bits.items():
            bits[kind] = bits.get(kind, 0.0) + amount
    peak = sum(peak_macs(unit) for unit in found.steps.values()) * clock
    macs = sum(step.macs for step in steps)
    return PhaseCost(
        name=name,
        tokens=span.tokens,
        cycles=span.cycles,
        seconds=seconds,
        bounds=span.bounds,
        bits=bits,
        energy=energy,
        steps=tuple(steps),
        roofline=Roofline(macs, sum(bits.values()) / 8, seconds, peak, bandwidth),
        slowest=float(span.steps.max(initial=0.0)),
    )


def _steps(part: Part, run: Spans, cycles: float, platform: Platform, bandwidth: float) -> Iterator[StepCost]:
    clock = platform.clock.value
    for name, busy in part.busy(run.groups).items():
        step = part.design.steps[name]
        works = float(busy.sum()) * part.layers
        bits, written = _moved(part, name, run.groups, platform)
        moved, macs, peak = sum(bits.values()), _macs(step.unit, run.groups) * part.layers, peak_macs(step.unit)
        yield StepCost(
            part=part.name,
            name=name,
            node=step.node,
            kind=type(step.unit).__name__,
            cycles=works,
            share=works / cycles if cycles else 0.0,
            macs=macs,
            bits=bits,
            energy=written + step_energy(part, name, works, run, moved, platform),
            resources=unit_resources(step.unit, platform).amounts,
            roofline=Roofline(macs, moved / 8, cycles / clock, peak * clock, bandwidth) if peak else None,
        )


def _moved(part: Part, name: str, tokens: Tokens, platform: Platform) -> tuple[Mapping[str, float], EnergyBreakdown]:
    """Return the bits that a step moves from and to memory outside, by kind, and what writing them inside spends."""
    bits: dict[str, float] = {}
    energy = EnergyBreakdown()
    for move in part.moves:
        if move.step == name:
            times = float(move.times(tokens).sum()) * part.layers
            energy += loaded_energy(part, move, times, platform)
            for kind, amount in move.kinds.items():
                kind = "head" if part.name == "back" else kind
                bits[kind] = bits.get(kind, 0.0) + amount * times
    return bits, energy


def _macs(unit: Unit, tokens: Tokens) -> float:
    """Return the multiplications of a unit for tokens, padding left out."""
    if isinstance(unit, Product):
        return float(unit.n * unit.k * unit.active_experts * len(tokens.positions))
    if isinstance(unit, AttentionUnit):
        return float(unit.heads * unit.head_dim * (tokens.positions + 1).clip(max=unit.most).sum())
    return 0.0
