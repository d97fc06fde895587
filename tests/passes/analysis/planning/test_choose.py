"""Choices for distinct shapes are those of :mod:`mxhw.hardware.balance` for every step."""

import numpy as np
import pytest

from mxhw.hardware.balance import OptionTable, smallest_interval, smallest_need
from mxhw.passes.analysis.planning import choose

STEPS = 1500


def drawn(rng: np.random.Generator, resources: int) -> tuple[choose.Shapes, OptionTable]:
    """Return some shapes, and the table of steps of these shapes."""
    shapes, options = int(rng.integers(2, 12)), int(rng.integers(1, 7))
    intervals = np.sort(rng.integers(1, 30, (shapes, options)).astype(float), axis=1)
    for each in range(shapes):
        intervals[each, rng.integers(1, options + 1) :] = np.inf
    amounts = {f"r{i}": np.where(np.isfinite(intervals), rng.random((shapes, options)), 0.0) for i in range(resources)}
    index = np.concatenate([np.arange(shapes), rng.integers(0, shapes, STEPS - shapes)])
    table = OptionTable(intervals, amounts)
    every = OptionTable(intervals[index], {name: each[index] for name, each in amounts.items()})
    return choose.Shapes(table, np.bincount(index), index), every


def rooms(rng: np.random.Generator, every: OptionTable) -> list[dict[str, float]]:
    """Return rooms: any, and those that one choice fits exactly, or misses by a rounding."""
    choice = choose._running(np.ones((1, *every.intervals.shape)), every.intervals)[0, :, -1]
    exact = {name: float(every.take(name, choice).sum()) for name in every.amounts}
    less = {name: float(np.nextafter(amount, 0)) for name, amount in exact.items()}
    loose = {name: float(rng.uniform(0.2, 1.0) * STEPS) for name in exact}
    return [exact, less, loose, dict.fromkeys(exact, -1.0)]


def differences(resources: int, draws: int = 60) -> int:
    rng, wrong = np.random.default_rng(resources), 0
    for _ in range(draws):
        shapes, every = drawn(rng, resources)
        for room in rooms(rng, every):
            found, expected = choose.quickest(shapes, room), smallest_interval(every, room)
            assert choose.least_need(shapes, room) == smallest_need(every, room)
            same = found is expected if found is None or expected is None else (found[shapes.index] == expected).all()
            wrong += not same
    return wrong


@pytest.mark.parametrize("resources", [1, 2, 4])
def test_choices_are_those_of_every_step(resources: int) -> None:
    assert differences(resources) == 0


def test_a_sum_that_rounds_otherwise_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "_CLOSE", 0.0)
    assert differences(1) > 0


def test_equal_prices_take_the_slower_option_and_of_equally_slow_ones_the_first() -> None:
    price = np.array([[[3.0, 2.0, 2.0, 2.0, 5.0]]])
    intervals = np.array([[1.0, 2.0, 4.0, 4.0, 8.0]])
    assert choose._running(price, intervals)[0, 0].tolist() == [0, 1, 2, 2, 2]
    distinct = np.array([[[3.0, 2.0, 4.0, 1.0, 0.0]]])
    assert choose._running(distinct, np.array([[1.0, 2.0, 4.0, 4.0, np.inf]]))[0, 0].tolist() == [0, 1, 1, 3, 3]
