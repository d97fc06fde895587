"""What both simulation engines say and share about streams: the error, its words, where pauses begin."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from mxhw.errors import InputError, nearest

__all__ = ["IDLE_LIMIT", "LONGEST_PAUSE", "SimulationError", "StreamError", "check_known", "check_names", "pause_state"]

IDLE_LIMIT = 4096
# Cycles of the longest pause of a whole design; limits of deadlocks grow with slow steps, pauses need not.
LONGEST_PAUSE = 1024


class SimulationError(RuntimeError):
    """The simulation ended without a result: an image that is damaged, $finish, a loop, a fault of the installation."""


class StreamError(RuntimeError):
    """A unit broke a promise of its ports, sent a wrong beat, or stopped.

    Attributes
    ----------
    port : the stream that broke it; None where all stand still.
    beat : how many of its beats had passed.
    cycle : clock cycle since reset; None where the engine does not count them.
    received : output stream → the beats that came before, as in a run that ends well; None from cocotb.
    compared : tap → what differed before; empty where nothing was compared.
    moved : stream → its beats that passed before; empty from cocotb.
    """

    def __init__(
        self,
        message: str,
        port: str | None,
        beat: int | None,
        cycle: int | None = None,
        received: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.port, self.beat, self.cycle, self.received = port, beat, cycle, received
        self.compared: Mapping[str, Any] = {}
        self.moved: Mapping[str, int] = {}


def check_known(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise InputError unless the names that are given are known."""
    names = list(known)
    for name in given:
        if name not in names:
            raise InputError(
                f"there is no {what} {name!r}{nearest(name, names)}; there is {', '.join(names) or 'none'}"
            )


def check_names(what: str, given: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise InputError unless exactly the known names are given."""
    names = list(known)
    check_known(what, given, names)
    if missing := [name for name in names if name not in given]:
        raise InputError(f"{what} {missing[0]} is missing")


def pause_state(seed: int, stream: str) -> int:
    """Return the first state of the generator of a stream's pauses; `bench.py`, which stands alone, has the same."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{stream}".encode()).digest()[:8], "little") | 1
