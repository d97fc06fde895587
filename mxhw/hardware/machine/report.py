"""What a run of a machine costs: totals, phases, and a row a step."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mxhw.hardware.energy import EnergyBreakdown
from mxhw.hardware.machine.placement import Placement
from mxhw.hardware.machine.roofline import Roofline

__all__ = ["MachineCost", "PhaseCost", "StepCost"]

_JOULE = 1e-12


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """A step of a phase, in all layers that it serves.

    Attributes
    ----------
    part, name, node, kind : "block 0", name of the step, node of the model, class of its unit.
    cycles : that it works.
    share : of the phase's cycles.
    macs : multiplications with accumulation, without padding.
    bits : moved from and to memory outside, by kind.
    energy : pJ by term, memory outside included.
    resources : that it takes of the platform.
    roofline : None for a step without products.
    """

    part: str
    name: str
    node: str
    kind: str
    cycles: float
    share: float
    macs: float
    bits: Mapping[str, float]
    energy: EnergyBreakdown
    resources: Mapping[str, float]
    roofline: Roofline | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        plain = {name: getattr(self, name) for name in ("part", "name", "node", "kind", "cycles", "share", "macs")}
        return {
            **plain,
            "bits": dict(self.bits),
            "energy": self.energy.to_json(),
            "resources": dict(self.resources),
            "roofline": None if self.roofline is None else self.roofline.to_json(),
        }


@dataclass(frozen=True, kw_only=True)
class PhaseCost:
    """A prefill, or all steps of decoding.

    Attributes
    ----------
    name : "prefill" or "decode".
    tokens : of all sequences.
    cycles, seconds : of the phase.
    bounds : cycles by what holds the design up: "compute", "memory", "latency".
    bits : moved from and to memory outside, by kind; those of the head are "head".
    energy : pJ by term: "logic", memories by name, "off-chip", "static".
    steps : a row each; their cycles overlap.
    roofline : of the whole.
    slowest : cycles of the longest step of decoding; of the prefill itself.
    """

    name: str
    tokens: int
    cycles: float
    seconds: float
    bounds: Mapping[str, float]
    bits: Mapping[str, float]
    energy: EnergyBreakdown
    steps: tuple[StepCost, ...]
    roofline: Roofline
    slowest: float

    @property
    def tokens_per_second(self) -> float:
        """Tokens a second, of all sequences together."""
        return self.tokens / self.seconds if self.seconds else 0.0

    @property
    def bytes_per_token(self) -> float:
        """Bytes that move from and to memory outside for a token."""
        return sum(self.bits.values()) / 8 / self.tokens if self.tokens else 0.0

    @property
    def joules_per_token(self) -> float | None:
        """J a token; None where the platform lacks a figure (:attr:`energy` says which)."""
        total = self.energy.total
        return None if total is None or not self.tokens else total * _JOULE / self.tokens

    @property
    def known_joules_per_token(self) -> float:
        """J a token of what the platform has figures for."""
        return self.energy.known * _JOULE / self.tokens if self.tokens else 0.0

    def by(self, attribute: str) -> dict[str, dict[str, float]]:
        """Return figures of the steps with the same "part", "node" or "kind".

        Cycles of the one that works longest, since steps work at the same time; sums of MACs, bits, known energy [pJ].
        """
        found: dict[str, dict[str, float]] = {}
        for step in self.steps:
            row = found.setdefault(getattr(step, attribute), dict.fromkeys(("cycles", "macs", "bits", "energy"), 0.0))
            row["cycles"] = max(row["cycles"], step.cycles)
            row["macs"] += step.macs
            row["bits"] += sum(step.bits.values())
            row["energy"] += step.energy.known
        return found

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "name": self.name,
            "tokens": self.tokens,
            "cycles": self.cycles,
            "seconds": self.seconds,
            "tokens_per_second": self.tokens_per_second,
            "bytes_per_token": self.bytes_per_token,
            "joules_per_token": self.joules_per_token,
            "known_joules_per_token": self.known_joules_per_token,
            "bounds": dict(self.bounds),
            "bits": dict(self.bits),
            "energy": self.energy.to_json(),
            "roofline": self.roofline.to_json(),
            "slowest": self.slowest,
            "blocks": self.by("part"),
            "kinds": self.by("kind"),
            "steps": [step.to_json() for step in self.steps],
        }


@dataclass(frozen=True, kw_only=True)
class MachineCost:
    """What a prefill and the decoding behind it cost.

    Attributes
    ----------
    platform, clock : its name, Hz.
    placement : where everything lies.
    port : bits of a beat of memory outside; 0: there is no port.
    chunk, batch : tokens that a loaded layer serves; sequences.
    prefill, decode : phases.
    resources, budget : that the design takes, and that there is.
    by_part : part → resources.
    outside : bits of memory outside by what lies there.
    without_rtl : steps that mxhw has no component for, by part.
    """

    platform: str
    clock: float
    placement: Placement
    port: int
    chunk: int
    batch: int
    prefill: PhaseCost
    decode: PhaseCost
    resources: Mapping[str, float]
    budget: Mapping[str, float]
    by_part: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    outside: Mapping[str, float] = field(default_factory=dict)
    without_rtl: tuple[str, ...] = ()

    @property
    def time_to_first_token(self) -> float:
        """Seconds from the first token of the prompts to the token that follows the last one."""
        return self.prefill.seconds

    @property
    def tokens_per_second(self) -> float:
        """Generated tokens a second, of all sequences together."""
        return self.decode.tokens_per_second

    def to_json(self) -> dict[str, Any]:
        """Return all figures as plain values."""
        return {
            "platform": self.platform,
            "clock": self.clock,
            "placement": {name: getattr(self.placement, name) for name in self.placement.__dataclass_fields__},
            "port": self.port,
            "chunk": self.chunk,
            "batch": self.batch,
            "time_to_first_token": self.time_to_first_token,
            "tokens_per_second": self.tokens_per_second,
            "resources": dict(self.resources),
            "budget": dict(self.budget),
            "by_part": {part: dict(each) for part, each in self.by_part.items()},
            "outside": dict(self.outside),
            "without_rtl": list(self.without_rtl),
            "prefill": self.prefill.to_json(),
            "decode": self.decode.to_json(),
        }
