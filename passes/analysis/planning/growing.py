"""Arrays that grow: rows are appended, and found again by their numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Growing", "Pairs"]


class Growing:
    """An array [rows] or [rows, width] of appended rows; shorter ones are filled up.

    Attributes
    ----------
    array : of all rows; not to be kept, since the next row may move it.
    """

    def __init__(self, dtype: Any, fill: Any = 0, *, wide: bool = False) -> None:
        self._fill, self._size = fill, 0
        self._room: NDArray[Any] = np.full((16, 1) if wide else 16, fill, dtype)
        self.array = self._room[:0]

    def append(self, row: Any) -> int:
        """Append a row, a number or several of them; return its number."""
        if self._size == len(self._room):
            self._widen((2 * self._size, *self._room.shape[1:]))
        self._size += 1
        self.array = self._room[: self._size]
        self.put(self._size - 1, row)
        return self._size - 1

    def put(self, number: int, row: Any) -> None:
        """Replace a row."""
        if self._room.ndim == 1:
            self._room[number] = row
            return
        if len(row) > self._room.shape[1]:
            self._widen((len(self._room), len(row)))
        self._room[number, : len(row)] = row
        self._room[number, len(row) :] = self._fill

    def _widen(self, shape: Sequence[int]) -> None:
        room = np.full(shape, self._fill, self._room.dtype)
        room[tuple(slice(0, size) for size in self._room.shape)] = self._room
        self._room, self.array = room, room[: self._size]


class Pairs:
    """A number for each pair of small numbers, found by a method of one's own when it is asked for first."""

    def __init__(self) -> None:
        self._array: NDArray[np.int64] = np.full((64, 64), -1, np.int64)

    def look_up(self, first: NDArray[np.int64], second: NDArray[np.int64], find: Any) -> NDArray[np.int64]:
        """Return the numbers of pairs [pairs]; ``find(a, b)`` gives one that is not known yet."""
        try:
            found = self._array[first, second]
        except IndexError:
            shape = tuple(
                max(size, 2 * int(each.max(initial=0)) + 2)
                for size, each in zip(self._array.shape, (first, second), strict=True)
            )
            grown = np.full(shape, -1, np.int64)
            grown[: self._array.shape[0], : self._array.shape[1]] = self._array
            self._array = grown
            found = grown[first, second]
        if len(found) and found.min() < 0:
            for place in np.flatnonzero(found < 0):
                pair = int(first[place]), int(second[place])
                if self._array[pair] < 0:
                    self._array[pair] = find(*pair)
            found = self._array[first, second]
        return np.asarray(found)
