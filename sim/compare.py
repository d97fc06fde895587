"""Exact comparison of simulated beats with expected ones: every accumulator, as an integer of any width."""

from collections.abc import Sequence
from dataclasses import dataclass

from mxhw.sim.design import GemmDesign

__all__ = ["Comparison", "Mismatch", "compare_beats"]

_SHOWN = 8


@dataclass(frozen=True)
class Mismatch:
    """One wrong accumulator; `got` is None where no beat came."""

    row: int
    column: int
    expected: int
    got: int | None


@dataclass(frozen=True)
class Comparison:
    """How many accumulators differ, and the first of them in stream order."""

    mismatches: int
    first: tuple[Mismatch, ...]


def compare_beats(design: GemmDesign, expected: Sequence[int], got: Sequence[int]) -> Comparison:
    """Compare y beats, padding rows and columns included; a beat that is missing counts with all its columns."""
    count = 0
    first: list[Mismatch] = []
    for beat in range(max(len(expected), len(got))):
        want = expected[beat] if beat < len(expected) else 0
        have = got[beat] if beat < len(got) else None
        if have == want:
            continue
        row, column = design.place(beat)
        wrong = _differences(design, want, have)
        count += len(wrong)
        for offset, right, value in wrong[: _SHOWN - len(first)]:
            first.append(Mismatch(row, column + offset, right, value))
    return Comparison(count, tuple(first))


def _differences(design: GemmDesign, want: int, have: int | None) -> list[tuple[int, int, int | None]]:
    right = design.accumulators(want)
    if have is None:
        return [(column, value, None) for column, value in enumerate(right)]
    pairs = zip(right, design.accumulators(have), strict=True)
    return [(column, value, other) for column, (value, other) in enumerate(pairs) if value != other]
