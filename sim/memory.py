"""A memory behind a port of a design: so many bits a cycle, after a latency, with gaps while it refreshes itself.

Bits come (or, at an output, places for them) every cycle until as many wait as the buffer between memory and port
holds; a beat passes when all its bits are there. That is a controller that asks ahead, so that the latency is paid
once. Not modelled: banks, pages, turns of the bus, other users; what they cost goes into the bits a cycle.
"""

from dataclasses import dataclass
from fractions import Fraction

from mxhw.errors import InputError

__all__ = ["Memory"]

_FINEST = 1 << 20  # parts of a bit a cycle


@dataclass(frozen=True)
class Memory:
    """What a memory gives, or takes.

    Attributes
    ----------
    bits : a cycle, at most; any positive number.
    latency : cycles from the end of reset to the first bits.
    buffer : bits that wait at most; by default two beats, and at least a beat and the bits of a cycle.
    period, pause : of every ``period`` cycles after the latency, the last ``pause`` bring nothing (refresh); 0: none.
    """

    bits: float | Fraction
    latency: int = 0
    buffer: int | None = None
    period: int = 0
    pause: int = 0

    def __post_init__(self) -> None:
        """Raise InputError for what no memory is."""
        if not self.bits > 0 or self.bits == float("inf"):
            raise InputError(f"a memory gives more than 0 bits a cycle, not {self.bits}")
        if self.rate == 0:
            raise InputError(f"a memory that gives {self.bits} bits a cycle stands; give it at least 1/{_FINEST}")
        for name in ("latency", "period", "pause"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} of a memory is a number of cycles, not {getattr(self, name)}")
        if self.pause and self.pause >= self.period:
            raise InputError(f"a memory that pauses {self.pause} of {self.period} cycles never gives anything")

    @property
    def rate(self) -> Fraction:
        """Bits a cycle, to the 2**20th of a bit."""
        return Fraction(round(Fraction(self.bits) * _FINEST), _FINEST)

    @property
    def average(self) -> float:
        """Bits a cycle, pauses counted."""
        return float(self.rate) * (1 - self.pause / self.period if self.period else 1)

    def in_units(self, width: int) -> tuple[int, int, int, int, int, int]:
        """Return rate, cost of a beat of ``width`` bits, room (whole numbers of parts of a bit), and the cycles."""
        unit, cost = self.rate.denominator, Fraction(width)
        least = cost + self.rate
        if self.buffer is not None and self.buffer < least:
            raise InputError(
                f"a buffer of {self.buffer} bits is too small for beats of {width} bits and {float(self.rate):g} bits"
                f" a cycle: it takes {float(least):g}"
            )
        room = max(2 * cost, least) if self.buffer is None else Fraction(self.buffer)
        return (int(self.rate * unit), int(cost * unit), int(room * unit), self.latency, self.period, self.pause)
