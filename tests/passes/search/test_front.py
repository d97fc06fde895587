"""Fronts and volumes of any number of values, against their definitions."""

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxhw.errors import InputError
from mxhw.passes.search.front import hypervolume, hypervolume_curve, pareto_front

SIZES = {1: 9, 2: 9, 3: 6, 4: 4, 5: 3}  # values to cells a side


@st.composite
def clouds(draw: st.DrawFn) -> tuple[list[tuple[float, ...]], tuple[float, ...]]:
    count = draw(st.sampled_from(sorted(SIZES)))
    side = st.integers(0, SIZES[count]).map(float)
    points = draw(st.lists(st.tuples(*[side] * count), max_size=10))
    return points, draw(st.tuples(*[side] * count))


@given(clouds())
def test_front_is_the_set_that_nothing_dominates(drawn: tuple[list[tuple[float, ...]], tuple[float, ...]]) -> None:
    points, _ = drawn
    front = pareto_front(list(range(len(points))), points)
    unbeaten = [p for p in points if not any(q != p and all(a <= b for a, b in zip(q, p, strict=True)) for q in points)]
    assert {points[i] for i in front} == set(unbeaten)
    assert front == sorted(front, key=lambda i: (points[i][-1], points[i][:-1]))
    assert all(points.index(points[i]) == i for i in front)  # of equal ones the first


@given(clouds())
def test_hypervolume_counts_dominated_cells(drawn: tuple[list[tuple[float, ...]], tuple[float, ...]]) -> None:
    points, reference = drawn
    cells = itertools.product(*(range(int(end)) for end in reference))
    count = sum(any(all(a <= x for a, x in zip(p, cell, strict=True)) for p in points) for cell in cells)
    assert hypervolume(points, reference) == count
    assert hypervolume_curve(points, reference) == [hypervolume(points[: i + 1], reference) for i in range(len(points))]


@pytest.mark.parametrize("count", [2, 3, 4])
def test_hypervolume_is_inclusion_and_exclusion_of_boxes(count: int) -> None:
    draw = random.Random(count)
    for _ in range(20):
        points = [tuple(draw.random() for _ in range(count)) for _ in range(7)]
        reference = tuple(draw.uniform(0.7, 1.2) for _ in range(count))
        total = 0.0
        for size in range(1, len(points) + 1):
            for some in itertools.combinations(points, size):
                sides = [max(0.0, r - max(values)) for r, *values in zip(reference, *some, strict=True)]
                total -= (-1) ** size * math.prod(sides)
        assert hypervolume(points, reference) == pytest.approx(total, abs=1e-12)
        assert hypervolume_curve(points, reference)[-1] == pytest.approx(total, abs=1e-12)
        assert hypervolume(draw.sample(points, 7), reference) == pytest.approx(total, abs=1e-12)


def test_two_values_are_the_sweep_to_the_last_bit() -> None:
    draw = random.Random(3)
    for _ in range(50):
        points = [(draw.random(), draw.random()) for _ in range(30)]
        best, volume, previous = math.inf, 0.0, 1.0
        for first, second in sorted(points, key=lambda p: (p[1], p[0])):
            if first < best:
                best = first
                volume += (previous - first) * (1.0 - second)
                previous = first
        assert hypervolume(points, (1.0, 1.0)) == volume


def test_wrong_lengths_are_refused_and_what_is_not_a_number_is_left_out() -> None:
    with pytest.raises(InputError, match="same number of values, not 2, 3"):
        pareto_front(["a", "b"], [(1.0, 2.0), (1.0, 2.0, 3.0)])
    with pytest.raises(InputError, match="same number of values, not 1, 2"):
        hypervolume([(1.0, 2.0)], (3.0,))
    with pytest.raises(InputError, match="values for each of 2 items, not 1"):
        pareto_front(["a", "b"], [(1.0, 2.0)])
    with pytest.raises(InputError, match="at least one value"):
        pareto_front(["a"], [()])
    assert pareto_front(["a", "b"], [(math.nan, 0.0, 0.0), (1.0, 1.0, 1.0)]) == ["b"]
    assert hypervolume([(math.nan, 0.0, 0.0)], (1.0, 1.0, 1.0)) == 0.0
    assert pareto_front([], []) == [] and hypervolume([], (1.0, 1.0)) == 0.0
