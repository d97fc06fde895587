"""What holds up a port of a design: random pauses, and a memory of a bandwidth.

Pauses have one law with those of the benches (`sim/native/bench.h`): at a probability ``p`` a beat pauses
geometrically, ``p / (1 - p)`` cycles in the mean, but one pause in sixteen is anything up to ``longest``; at an output
one in four is cut short, since ready comes and goes in it. At an input a pause begins in the cycle after a beat has
passed, whatever the design does; at an output when a beat is there.
"""

from dataclasses import dataclass

import numpy as np

from mxhw.errors import InputError
from mxhw.hardware.cycles.marked import Times
from mxhw.hardware.cycles.streams import IntArray

__all__ = ["PortStalls"]

_LONG_PAUSES = 1 / 16
_FICKLE = 1 / 4


@dataclass(frozen=True)
class PortStalls:
    """What holds a port up.

    Attributes
    ----------
    stall : probability a cycle of a pause.
    longest : cycles of a pause that is no geometric one; 1 for next to none of them.
    pace : cycles a beat that the memory behind it needs: bits of a beat / bits a cycle. Two beats' bits wait at most.
    latency : cycles before the memory's first bits.
    """

    stall: float = 0.0
    longest: int = 1
    pace: float = 1.0
    latency: int = 0

    def __post_init__(self) -> None:
        """Raise InputError for what cannot be."""
        if not 0 <= self.stall <= 0.95:
            raise InputError(f"the stall probability of a port must be 0 to 0.95, not {self.stall!r}")
        if self.longest < 1:
            raise InputError(f"the longest pause of a port must be 1 cycle or more, not {self.longest!r}")
        if not 0 < self.pace < float("inf"):
            raise InputError(f"a port needs more than 0 cycles a beat, not {self.pace!r}")
        if self.latency < 0:
            raise InputError(f"the latency of a port must be 0 cycles or more, not {self.latency!r}")

    @property
    def has_memory(self) -> bool:
        """Whether bits for a beat may have to be waited for."""
        return self.pace > 1 or self.latency > 0

    def bits_gaps(self, beats: int) -> IntArray:
        """Return the cycle in which the first beat's bits are there, and how long each other one's come after [beats].

        They are those of a memory whose bits always have room.
        """
        there = self.latency - 1 + np.arange(1, beats + 1) * max(1.0, self.pace)
        # Bits are counted exactly; what a float lacks of a whole cycle is none.
        gaps: IntArray = np.diff(np.ceil(there - 1e-9).astype(np.int64), prepend=0)
        return gaps

    def pauses(self, rng: np.random.Generator, shape: tuple[int, int], *, is_output: bool) -> Times:
        """Return cycles of the pause of each beat [beats, draws]."""
        pauses = rng.geometric(1 - self.stall, size=shape) - 1
        long = (pauses > 0) & (rng.random(shape) < _LONG_PAUSES)
        pauses = np.where(long, rng.integers(1, self.longest + 1, size=shape), pauses)
        if is_output:
            cut = np.minimum(pauses, rng.geometric(0.5, size=shape) - 1)
            pauses = np.where(rng.random(shape) < _FICKLE, cut, pauses)
        return pauses.astype(np.float64)
