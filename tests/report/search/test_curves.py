"""Curves of pictures against their definitions, over drawn records."""

from statistics import median

import pytest

from mxhw.report.search.curves import band, front_of_pair, value_at
from tests.report.search.records import drawn_record


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("axis", ["trials", "seconds"])
def test_a_band_is_median_and_range_of_the_seeds_everywhere(seed: int, axis: str) -> None:
    comparison = drawn_record(seed).comparison
    assert comparison is not None
    for strategy in comparison.strategies:
        drawn = band(strategy, axis)  # type: ignore[arg-type]
        ends = [place for curve in strategy.curves for place in getattr(curve, axis)]
        assert drawn.at[0] == min(ends) and drawn.at[-1] == max(ends)
        for place in [*ends, *(end + 0.25 for end in ends if end + 0.25 < max(ends))]:
            seen = [
                max((v for at, v in zip(getattr(c, axis), c.hypervolume, strict=True) if at <= place), default=0.0)
                for c in strategy.curves
            ]  # hypervolumes rise, so the last one is the largest
            assert seen == [value_at(curve, axis, place) for curve in strategy.curves]  # type: ignore[arg-type]
            step = max(i for i, at in enumerate(drawn.at) if at <= place)
            assert (drawn.low[step], drawn.median[step], drawn.high[step]) == (min(seen), median(seen), max(seen))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("x", "y"), [(0, 1), (1, 0), (2, 0), (0, 2), (1, 2)])
def test_the_front_of_a_pair_is_what_nothing_beats(seed: int, x: int, y: int) -> None:
    record = drawn_record(seed, objectives=3)
    points = {(float(t.values[x] or 0), float(t.values[y] or 0)) for t in record.complete}

    def beats(a: tuple[float, float], b: tuple[float, float]) -> bool:
        signs = [1 if record.objectives[i].direction == "minimize" else -1 for i in (x, y)]
        return a != b and all(s * p <= s * q for s, p, q in zip(signs, a, b, strict=True))

    assert front_of_pair(record, x, y) == sorted(p for p in points if not any(beats(other, p) for other in points))
