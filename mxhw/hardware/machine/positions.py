"""Functions of a token's position, as tables: exact where they are made of straight lines.

Cycles of a decoder depend on a token's position through the keys that it meets: along straight lines, with kinks where
another unit becomes the slowest or where a window is full. A line is drawn where the function meets it in the middle
and at a quarter; elsewhere the interval is divided. Between kinks that are closer than four positions every position is
asked.
"""

from collections.abc import Callable, Iterable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["FloatArray", "chunk_starts", "table"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
_EQUAL = 1e-9


def table(function: Callable[[int], float], positions: int, kinks: Iterable[int] = ()) -> FloatArray:
    """Return a function of positions 0 … ``positions`` - 1; ``kinks``: positions that lines begin at."""
    found = np.empty(positions)
    ends = sorted({0, positions - 1, *(kink for kink in kinks if 0 < kink < positions - 1)}) if positions else []
    known: dict[int, float] = {}

    def at(position: int) -> float:
        if position not in known:
            known[position] = float(function(position))
        return known[position]

    waiting = list(pairwise(ends)) or [(end, end) for end in ends]
    while waiting:
        first, last = waiting.pop()
        middle = (first + last) // 2
        if last - first > 3 and not (
            _on_line(at, first, last, middle) and _on_line(at, first, last, (first + middle) // 2)
        ):
            waiting += [(first, middle), (middle, last)]
            continue
        if last - first > 3:
            found[first : last + 1] = np.linspace(at(first), at(last), last - first + 1)
        else:
            found[first : last + 1] = [at(position) for position in range(first, last + 1)]
    return found


def chunk_starts(tokens: int, chunk: int) -> IntArray:
    """Return the first token of every chunk."""
    return np.arange(0, tokens, chunk)


def _on_line(at: Callable[[int], float], first: int, last: int, position: int) -> bool:
    line = at(first) + (at(last) - at(first)) * (position - first) / (last - first)
    return abs(at(position) - line) <= _EQUAL * max(1.0, abs(line))
