"""The front is what nothing beats; the choice keeps its promise or says that it could not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxhw.errors import InputError
from mxhw.passes.search import TrialRecord, choose, hypervolume, pareto_front

POINTS = st.lists(
    st.tuples(st.integers(0, 8), st.integers(0, 8)).map(lambda p: (float(p[0]), float(p[1]))), max_size=12
)


@given(POINTS)
def test_front_is_the_set_that_nothing_dominates(points: list[tuple[float, float]]) -> None:
    front = pareto_front(points, points)

    def beaten(a: tuple[float, float]) -> bool:
        return any(b[0] <= a[0] and b[1] <= a[1] and b != a for b in points)

    assert set(front) == {point for point in points if not beaten(point)}
    assert len(front) == len(set(front))
    assert [point[1] for point in front] == sorted(point[1] for point in front)


@given(POINTS, st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_hypervolume_counts_dominated_cells(points: list[tuple[float, float]], reference: tuple[int, int]) -> None:
    cells = sum(any(a <= x and b <= y for a, b in points) for x in range(reference[0]) for y in range(reference[1]))
    assert hypervolume(points, (float(reference[0]), float(reference[1]))) == cells


def record(number: int, perplexity: float, cost: float) -> TrialRecord:
    return TrialRecord(number, (perplexity, cost), {}, {"quality": {"perplexity": perplexity}})


def test_choice_is_the_cheapest_within_the_limit() -> None:
    records = [record(0, 10.0, 9.0), record(1, 10.19, 5.0), record(2, 10.21, 1.0), record(3, 10.1, 5.0)]
    choice = choose(records, 10.0, 0.02)
    assert choice.within
    assert choice.record.number == 3
    assert "least cycles of 3 designs with perplexity up to 10.2000" in choice.reason


def test_choice_falls_back_to_the_best_and_says_so() -> None:
    choice = choose([record(0, 12.0, 1.0), record(1, 11.0, 2.0)], 10.0, 0.02)
    assert not choice.within
    assert choice.record.number == 1
    assert choice.reason.startswith("no design has a perplexity up to 10.2000")
    with pytest.raises(InputError, match="no finished trial"):
        choose([], 10.0, 0.02)
