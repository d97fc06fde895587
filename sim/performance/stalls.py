"""What holds up the ports of a design: the random pauses of the benches, and memories of a bandwidth.

Cycle for cycle the other sides of the streams in `native/bench.h`: the same generator, seeds, pauses and bits, so that
a simulated schedule can be told beat by beat from what the RTL does under them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mxhw.sim.memory import Memory
from mxhw.sim.ports import check_stall
from mxhw.sim.streams import LONGEST_PAUSE, pause_state

__all__ = ["PortHold", "Stalls"]

_LONG_PAUSES = 1 << 28  # of 2**32: one pause in sixteen
_WORD = 2**64 - 1


@dataclass(frozen=True)
class Stalls:
    """How a run is held up, in the terms of :meth:`mxhw.sim.library.Library.run`.

    Attributes
    ----------
    stall : probability a cycle and port of a pause, 0 to 0.95; some pauses are long (up to ``longest`` cycles).
    seed : of the pauses, which differ from port to port.
    longest : cycles of a pause.
    memories : port → the memory behind it.
    """

    stall: float = 0.0
    seed: int = 0
    longest: int = LONGEST_PAUSE
    memories: Mapping[str, Memory] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise InputError for a probability that none is."""
        check_stall(self.stall)

    def at(self, port: str, width: int, *, is_output: bool) -> "PortHold | None":
        """Return what holds up a port whose beats have ``width`` bits; None if nothing does."""
        memory = self.memories.get(port)
        if not self.stall and memory is None:
            return None
        units = None if memory is None else memory.in_units(width)
        return PortHold(int(self.stall * 2**32), pause_state(self.seed, port), self.longest, units, is_output)


@dataclass(frozen=True)
class PortHold:
    """A :class:`.events.Hold`: of an input's offers, or of an output's transfers.

    Attributes
    ----------
    threshold : stall probability, of 2**32.
    state : of the generator, at first.
    longest : cycles of a pause.
    memory : as :meth:`.Memory.in_units` says it.
    """

    threshold: int
    state: int
    longest: int
    memory: tuple[int, int, int, int, int, int] | None
    is_output: bool

    def begin(self) -> Callable[[int, int], int]:
        """See :class:`.events.Hold`."""
        return _Output(self) if self.is_output else _Input(self)


class _Side:
    """Pauses are drawn when a beat has passed; bits come every cycle."""

    def __init__(self, hold: PortHold) -> None:
        self._threshold, self._state, self._longest = hold.threshold, hold.state, hold.longest
        self._memory = hold.memory
        self._bits = 0
        self._cycle = -1  # the last one whose bits have come
        self._draw_pause()

    def draw(self) -> int:
        """Return 32 random bits: xorshift64*, the upper half."""
        state = self._state
        state ^= state >> 12
        state ^= state << 25 & _WORD
        state ^= state >> 27
        self._state = state
        return (state * 0x2545F4914F6CDD1D & _WORD) >> 32

    def _draw_pause(self) -> None:
        self._pause, self._fickle = 0, False
        while self._threshold and self.draw() < self._threshold:
            self._pause += 1
        if self._pause:
            if self.draw() < _LONG_PAUSES:
                self._pause = 1 + self.draw() % self._longest
            self._fickle = self.draw() & 3 == 0

    def _has_bits(self, cycle: int) -> bool:
        """Return whether there are bits for a beat in a cycle; cycles are asked about in order."""
        if self._memory is None:
            return True
        rate, cost, room, latency, period, pause = self._memory
        for now in range(max(latency, self._cycle + 1), cycle + 1):
            if not period or (now - latency) % period < period - pause:
                self._bits = min(room, self._bits + rate)
        self._cycle = max(self._cycle, cycle)
        return self._bits >= cost

    def _pass(self, cycle: int) -> None:
        """Note that a beat passes."""
        if self._memory is not None:
            self._has_bits(cycle)
            self._bits -= self._memory[1]
        self._draw_pause()


class _Input(_Side):
    """Offers: a pause begins in the cycle after a beat has passed, whatever the design does."""

    def __init__(self, hold: PortHold) -> None:
        super().__init__(hold)
        self._offered = False

    def __call__(self, since: int, time: int) -> int:
        if self._offered:
            self._pass(time - 1)
        self._offered = True
        time += self._pause
        while not self._has_bits(time):
            time += 1
        return time


class _Output(_Side):
    """Transfers: a pause begins when a beat is there, and ready may come and go until it ends."""

    def __init__(self, hold: PortHold) -> None:
        super().__init__(hold)
        # A valid that waits for ready never comes if ready waits for valid.
        if self._threshold:
            self._pause, self._fickle = max(1, self._pause), False

    def __call__(self, since: int, time: int) -> int:
        if self._memory is None and not self._fickle:
            time += self._pause
        else:
            time = self._taken(since, time)
        self._pass(time)
        return time

    def _taken(self, since: int, time: int) -> int:
        """Return the first cycle from ``time`` on in which ready is high; it may have been from ``since`` on."""
        cycle = since if self._fickle else time
        while True:
            wants = not self._pause or (self._fickle and bool(self.draw() & 1))
            if cycle >= time:
                if wants and self._has_bits(cycle):
                    return cycle
                self._pause = max(0, self._pause - 1)
            cycle += 1
