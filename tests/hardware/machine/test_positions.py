"""Tables over positions are the function at every position, with few questions asked."""

import random

import numpy as np
import pytest

from mxhw.hardware.machine.positions import chunk_starts, table


def pieces(seed: int, positions: int) -> tuple[list[float], set[int]]:
    """Return a function as the longest of a few lines, which stands still from a window on."""
    draw = random.Random(seed)
    lines = [(draw.randint(0, 50), draw.randint(0, 5000)) for _ in range(draw.randint(1, 4))]
    window = draw.choice([positions, draw.randint(1, positions)])
    values = [max(slope * min(p, window - 1) + offset for slope, offset in lines) for p in range(positions)]
    return values, {window - 1}


@pytest.mark.parametrize("seed", range(40))
def test_lines_with_kinks_are_met_everywhere(seed: int) -> None:
    positions = random.Random(seed).choice([1, 2, 3, 7, 100, 2000])
    values, kinks = pieces(seed, positions)
    asked: list[int] = []

    def function(position: int) -> float:
        asked.append(position)
        return values[position]

    assert table(function, positions, kinks).tolist() == pytest.approx(values, rel=1e-12)
    assert len(asked) == len(set(asked)) <= 200


def test_what_is_no_line_is_asked_at_every_position() -> None:
    values = np.arange(50.0) ** 2
    assert np.array_equal(table(lambda position: float(values[position]), 50), values)


def test_chunks_begin_every_so_many_tokens() -> None:
    assert chunk_starts(9, 4).tolist() == [0, 4, 8]
    assert chunk_starts(0, 4).tolist() == []
