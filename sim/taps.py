"""Taps: beats seen inside a unit, on two outputs `…fire` and `…payload` of its top; a beat moves where fire is high.

A tap is passive: nothing depends on it, so synthesis drops one that is not connected.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mxhw.sim.beats import Array, to_ints, unpack
from mxhw.sim.driver import TapRecord
from mxhw.sim.ports import Port
from mxhw.sim.streams import StreamError

__all__ = ["Tap", "TapComparison", "TapRun", "find_taps"]


@dataclass(frozen=True)
class Tap:
    """A tap of the top module; `prefix` is what its ports' names begin with, separator included."""

    name: str
    prefix: str
    payload: Port

    @property
    def fire(self) -> str:
        """Name of the port that says that a beat moves."""
        return f"{self.prefix}fire"


@dataclass(frozen=True)
class TapComparison:
    """What passed a tap against what was expected.

    Attributes
    ----------
    expected, moved : beats to expect, and those that passed.
    different : wrong beats, those too many included.
    first, cycle, got : number, clock cycle since reset and pattern of the first wrong one; None if there is none.
    """

    expected: int
    moved: int
    different: int
    first: int | None
    cycle: int | None
    got: int | None

    @property
    def equal(self) -> bool:
        """Whether exactly the expected beats passed."""
        return self.different == 0 and self.moved == self.expected


def find_taps(ports: Mapping[str, Port]) -> dict[str, Tap]:
    """Return the taps by name: what their ports' names begin with, without the separator."""
    return {tap.name: tap for tap in _taps(ports)}


def _taps(ports: Mapping[str, Port]) -> Iterator[Tap]:
    for name, payload in ports.items():
        prefix = name.removesuffix("payload")
        fire = ports.get(f"{prefix}fire")
        if prefix == name or not prefix.endswith("_") or fire is None:
            continue
        if not payload.is_input and not fire.is_input and fire.width == 1:
            yield Tap(prefix.rstrip("_"), prefix, payload)


class TapRun:
    """The taps of one run as the driver takes them: those to record, and those to compare while they pass.

    Arrays of patterns: of `recorded`, room for the beats; of `compared`, the beats to expect. With `times` the cycles
    of all beats become known, too.
    """

    def __init__(
        self,
        taps: Mapping[str, Tap],
        numbers: Mapping[str, int],
        recorded: Mapping[str, Array],
        compared: Mapping[str, Array],
        *,
        times: bool = False,
    ) -> None:
        self._recorded, self._compared = recorded, compared
        arrays = {**recorded, **compared}
        self.times = {name: np.zeros(len(array), np.uint64) for name, array in arrays.items()} if times else {}
        self._got = {name: np.zeros_like(array, shape=(1, *array.shape[1:])) for name, array in arrays.items()}
        self._taps: Sequence[Tap] = [taps[name] for name in arrays]
        self.records = (TapRecord * len(arrays))(
            *(
                TapRecord(
                    numbers[taps[name].fire],
                    numbers[taps[name].payload.name],
                    len(array),
                    array.ctypes.data if name in recorded else None,
                    array.ctypes.data if name in compared else None,
                    self._got[name].ctypes.data,
                    self.times[name].ctypes.data if times else None,
                    taps[name].payload.stride,
                )
                for name, array in arrays.items()
            )
        )

    def beats(self) -> dict[str, Array]:
        """Return what was recorded; raise StreamError if a tap moved more or fewer beats than expected."""
        found = {}
        for tap, record in zip(self._taps, self.records, strict=True):
            if tap.name not in self._recorded:
                continue
            if record.moved != record.count:
                raise StreamError(
                    f"tap {tap.name} moved {record.moved} beats, not {record.count}", tap.name, record.moved
                )
            found[tap.name] = unpack(self._recorded[tap.name], tap.payload.width, tap.payload.signed)
        return found

    def comparisons(self) -> dict[str, TapComparison]:
        """Return what was compared."""
        return {
            tap.name: TapComparison(
                record.count,
                record.moved,
                record.different,
                *((record.first, record.cycle, to_ints(self._got[tap.name])[0]) if record.different else (None,) * 3),
            )
            for tap, record in zip(self._taps, self.records, strict=True)
            if tap.name in self._compared
        }
