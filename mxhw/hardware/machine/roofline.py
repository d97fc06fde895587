"""Where a model, and each of its steps, lies under the roof of its arrays and of memory outside.

Source: Williams, Waterman, Patterson, Roofline (Communications of the ACM 52, 2009). Operations are multiplications
with accumulation of products and attention; bytes are those of memory outside. The roof over a point is the peak of the
arrays that work on it, or its intensity times the bandwidth, whichever is lower.
"""

from dataclasses import asdict, dataclass
from math import inf, isinf
from typing import Any, Literal

from mxhw.hardware.structure import AttentionUnit, Product, Unit

__all__ = ["Roofline", "peak_macs"]


@dataclass(frozen=True)
class Roofline:
    """A point under a roof.

    Attributes
    ----------
    macs, bytes : of the work.
    seconds : that it takes.
    peak : MACs a second of its arrays.
    bandwidth : bytes a second of memory outside; 0: there is none.
    """

    macs: float
    bytes: float
    seconds: float
    peak: float
    bandwidth: float

    @property
    def intensity(self) -> float:
        """MACs a byte; infinite where nothing moves."""
        return self.macs / self.bytes if self.bytes else inf

    @property
    def attained(self) -> float:
        """MACs a second."""
        return self.macs / self.seconds if self.seconds else 0.0

    @property
    def roof(self) -> float:
        """MACs a second that are possible at this intensity."""
        return min(self.peak, self.intensity * self.bandwidth) if self.bytes else self.peak

    @property
    def bound(self) -> Literal["compute", "memory"]:
        """Which part of the roof is over the point."""
        return "memory" if self.roof < self.peak else "compute"

    def to_json(self) -> dict[str, Any]:
        """Return all figures; an infinite intensity is None."""
        intensity = None if isinf(self.intensity) else self.intensity
        return {
            **asdict(self),
            "intensity": intensity,
            "attained": self.attained,
            "roof": self.roof,
            "bound": self.bound,
        }


def peak_macs(unit: Unit) -> float:
    """Return the MACs a cycle of a unit whose array is never idle."""
    if isinstance(unit, Product):
        return unit.rows * unit.columns * unit.lanes / unit.terms
    return float(unit.lanes) if isinstance(unit, AttentionUnit) else 0.0
