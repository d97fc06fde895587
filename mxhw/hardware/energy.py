"""The energy of a design: of its logic, each of its memories, memory outside, and what it spends by being switched on.

- Logic: what a unit takes of the platform times the energy of an area, LUT, flip-flop or DSP block and cycle, for the
  cycles that it works. The platform's figures hold at an activity of their own (`energy.activity` of its file: toggles
  of a register bit in a cycle in which the logic works, 0.5 for unrelated data every cycle); ``activity`` is the ratio
  to it, 1 where nothing was measured (:func:`relative_activity` gives it from measured toggles).
- Memories: the words that each is read and written for every token, times the energy of an access. What grows with a
  token's position (caches of keys and values, rows of scores) is counted here.
- Memory outside: bits times the energy of a bit. Static power: of the logic's area and the memories' bits (ASIC) or of
  the whole part (FPGA), times seconds.

Not counted: clock trees beyond those that a platform's figure has, wires between units, refresh of memory outside.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from mxhw.errors import InputError
from mxhw.hardware.platform import (
    AsicPlatform,
    FpgaPlatform,
    OffChipMemory,
    Platform,
    memory_access_energy,
    memory_leakage,
)
from mxhw.hardware.sizes.resources import Resources
from mxhw.hardware.structure import AttentionUnit, MemoryShape, Scores, SoftmaxWeights, Unit, Values

__all__ = [
    "Accesses",
    "EnergyBreakdown",
    "access_energy",
    "logic_energy",
    "looked_at",
    "memory_accesses",
    "offchip_energy",
    "relative_activity",
    "static_energy",
    "static_power",
    "unit_energy",
]

_PICO = 1e-12
_LOGIC, _OFFCHIP, _STATIC = "logic", "off-chip", "static"


@dataclass(frozen=True)
class EnergyBreakdown:
    """Energies [pJ] by name.

    Attributes
    ----------
    terms : "logic", "off-chip", "static", and memories by their names.
    unknown : terms that something belongs to for which the platform has no figure; they may be in ``terms`` too.
    """

    terms: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    unknown: frozenset[str] = frozenset()

    @property
    def known(self) -> float:
        """The sum of all terms [pJ], of those that are known."""
        return sum(self.terms.values())

    @property
    def total(self) -> float | None:
        """The sum of all terms [pJ]; None if one is not known."""
        return None if self.unknown else self.known

    def __add__(self, other: "EnergyBreakdown") -> "EnergyBreakdown":
        names = {**self.terms, **other.terms}
        terms = {name: self.terms.get(name, 0.0) + other.terms.get(name, 0.0) for name in names}
        return EnergyBreakdown(terms, self.unknown | other.unknown)

    def __mul__(self, times: float) -> "EnergyBreakdown":
        return EnergyBreakdown({name: energy * times for name, energy in self.terms.items()}, self.unknown)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"terms": dict(self.terms), "unknown": sorted(self.unknown), "known": self.known, "total": self.total}


@dataclass(frozen=True)
class Accesses:
    """Words that a memory is read and written."""

    reads: float = 0.0
    writes: float = 0.0


def unit_energy(
    unit: Unit,
    tokens: int,
    start: int,
    platform: Platform,
    sizes: Resources,
    active_cycles: float,
    activity: float = 1.0,
) -> EnergyBreakdown:
    """Return what a unit spends for the tokens at positions ``start`` to ``start + tokens - 1`` [pJ].

    Parameters
    ----------
    sizes : Resources
        Of the unit's logic, memories excluded.
    active_cycles : float
        Cycles that the unit works for all those tokens; in the others its clock stands.
    activity : float
        Of the logic, as a ratio to what the platform's figures were found at.

    Raises
    ------
    InputError
        If a number is negative.
    """
    for name, value in (("tokens", tokens), ("start", start), ("active_cycles", active_cycles), ("activity", activity)):
        if not value >= 0:
            raise InputError(f"energy of a unit: {name} must be 0 or more, not {value!r}")
    found = logic_energy(sizes, platform, active_cycles, activity)
    for shape, accesses in zip(unit.memories(), memory_accesses(unit, tokens, start), strict=True):
        found += access_energy(shape, accesses, platform)
    return found


def logic_energy(sizes: Resources, platform: Platform, cycles: float, activity: float = 1.0) -> EnergyBreakdown:
    """Return what logic of these sizes spends in so many cycles that it works [pJ]; activity as a ratio."""
    each = _logic(sizes, platform)
    if each is None:
        return EnergyBreakdown(unknown=frozenset({_LOGIC}))
    return EnergyBreakdown({_LOGIC: each * cycles * activity})


def access_energy(shape: MemoryShape, accesses: Accesses, platform: Platform) -> EnergyBreakdown:
    """Return what accesses of a memory spend [pJ]."""
    numbers, energies = (accesses.reads, accesses.writes), memory_access_energy(shape, platform)
    pairs = list(zip(numbers, energies, strict=True))
    unknown = frozenset({shape.name} if any(energy is None and number for number, energy in pairs) else ())
    known = [number * (energy or 0.0) for number, energy in pairs if energy is not None or not number]
    return EnergyBreakdown({shape.name: sum(known)} if known else {}, unknown)


def _logic(sizes: Resources, platform: Platform) -> float | None:
    """Return the energy [pJ] of a cycle of logic at the platform's own activity; None where it has no figure."""
    if isinstance(platform, AsicPlatform):
        density = platform.logic_density
        return None if density is None else sizes["area"] * density
    assert isinstance(platform, FpgaPlatform)
    energy, total = platform.energy, 0.0
    for name, each in (("lut", energy.lut), ("ff", energy.ff), ("dsp", energy.dsp)):
        if each is None and sizes[name]:
            return None
        total += sizes[name] * (each.value if each is not None else 0.0)
    return total


def memory_accesses(unit: Unit, tokens: int, start: int) -> tuple[Accesses, ...]:
    """Return how often each of ``unit.memories()`` is read and written for tokens at positions from ``start`` on."""
    count = next((count for kind, count in _GROWING.items() if isinstance(unit, kind)), None)
    grown = {} if count is None else count(unit, tokens, start)
    return tuple(
        grown.get(shape.name, Accesses(shape.reads * tokens, shape.writes * tokens)) for shape in unit.memories()
    )


def looked_at(tokens: int, start: int, most: int) -> int:
    """Return the keys that tokens at positions from ``start`` on meet: those up to itself each, ``most`` at most."""
    growing = max(0, min(tokens, most - start))
    return growing * start + growing * (growing + 1) // 2 + (tokens - growing) * most


def _scores(unit: Scores, tokens: int, start: int) -> dict[str, Accesses]:
    scores, heads = unit.heads * looked_at(tokens, start, unit.most), tokens * unit.heads
    return {
        **_cache(unit, tokens, start),
        "queries": Accesses(scores * unit.words, heads * unit.words),
        "query scales": Accesses(heads, heads),
    }


def _values(unit: Values, tokens: int, start: int) -> dict[str, Accesses]:
    weights, heads = unit.heads * looked_at(tokens, start, unit.most), tokens * unit.heads
    return {
        **_cache(unit, tokens, start),
        "sums": Accesses(weights * unit.words, weights * unit.words),
        "reciprocals": Accesses(heads),
        "largest scales": Accesses(heads, tokens * unit.kv_heads),
        "sums that wait": Accesses(heads * unit.words, heads * unit.words),
    }


def _cache(unit: AttentionUnit, tokens: int, start: int) -> dict[str, Accesses]:
    """Return the accesses of a cache: a token's own vectors are stored, and those that it meets are read by each head.

    What lies outside passes through the unit's store: each vector that a token meets is written once.
    """
    met = looked_at(tokens, start, unit.most)
    stored = unit.kv_heads * (tokens + met if unit.outside else tokens)
    return {
        "cache": Accesses(unit.heads * met * unit.words, stored * unit.words),
        "scales": Accesses(unit.heads * met, stored),
    }


def _softmax(unit: SoftmaxWeights, tokens: int, start: int) -> dict[str, Accesses]:
    scores = unit.heads * looked_at(tokens, start, unit.most)
    return {"row": Accesses(scores, scores), "table": Accesses(scores)}


_GROWING: Mapping[type[Unit], Callable[..., dict[str, Accesses]]] = {
    Scores: _scores,
    Values: _values,
    SoftmaxWeights: _softmax,
}


def offchip_energy(bits: float, memory: OffChipMemory | None) -> EnergyBreakdown:
    """Return what moving bits from or to a memory outside spends [pJ]; None: the platform has none."""
    if not bits:
        return EnergyBreakdown()
    if memory is None or memory.energy is None:
        return EnergyBreakdown(unknown=frozenset({_OFFCHIP}))
    return EnergyBreakdown({_OFFCHIP: bits * memory.energy.value})


def static_power(platform: Platform, sizes: Resources, memories: Iterable[MemoryShape]) -> float | None:
    """Return the static power [W] of logic of these sizes and of memories; None where there is no figure.

    An FPGA spends that of the whole part, whatever is used of it.
    """
    if isinstance(platform, FpgaPlatform):
        return None if platform.static.part is None else platform.static.part.value
    logic = platform.static.logic
    if logic is None and sizes["area"]:
        return None
    total = sizes["area"] * (logic.value if logic is not None else 0.0)
    for shape in memories:
        leakage = memory_leakage(shape, platform)
        if leakage is None:
            return None
        total += leakage
    return total


def static_energy(
    platform: Platform, sizes: Resources, memories: Iterable[MemoryShape], seconds: float
) -> EnergyBreakdown:
    """Return what a whole design spends in so many seconds by being switched on [pJ]."""
    power = static_power(platform, sizes, memories)
    if power is None:
        return EnergyBreakdown(unknown=frozenset({_STATIC}))
    return EnergyBreakdown({_STATIC: power * seconds / _PICO})


def relative_activity(toggles: float, platform: Platform) -> float:
    """Return the activity that measured toggles (of a register bit, a cycle) are, as :func:`unit_energy` takes it.

    Raises
    ------
    InputError
        If the platform does not say at which activity its figures were found.
    """
    energy = platform.energy if isinstance(platform, AsicPlatform | FpgaPlatform) else None
    if energy is None or energy.activity is None:
        raise InputError(
            f"platform {platform.name!r} has no 'energy.activity', so that measured toggles cannot be compared: give "
            "the activity as a ratio"
        )
    return toggles / energy.activity.value
