"""The choice of parallelism: with one resource the optimum, always within the room, and never better than possible."""

from itertools import product

import numpy as np
import pytest

from mxhw.hardware.balance import OptionTable, smallest_interval, smallest_need, smallest_sum

Options = list[list[tuple[float, dict[str, float]]]]


def drawn(seed: int, resources: tuple[str, ...]) -> Options:
    """Return steps with one to four options, quicker ones larger."""
    rng = np.random.default_rng(seed)
    options: Options = []
    for _ in range(int(rng.integers(1, 5))):
        count = int(rng.integers(1, 5))
        intervals = np.sort(rng.integers(1, 40, count))[::-1]
        taken = {name: np.sort(rng.integers(0, 30, count)) for name in resources}
        options.append(
            [(float(intervals[i]), {name: float(taken[name][i]) for name in resources}) for i in range(count)]
        )
    return options


def best(options: Options, room: dict[str, float], least: float = 0.0) -> float | None:
    """Return the smallest interval of all choices that fit."""
    found = [
        max(least, *(interval for interval, _ in choice))
        for choice in product(*options)
        if all(sum(taken[name] for _, taken in choice) <= amount for name, amount in room.items())
    ]
    return min(found, default=None)


@pytest.mark.parametrize("seed", range(60))
def test_with_one_resource_the_choice_is_the_best_there_is(seed: int) -> None:
    options, room = drawn(seed, ("area",)), {"area": float(np.random.default_rng(seed).integers(0, 80))}
    table = OptionTable.of(options, ["area"])
    choice, optimum = smallest_interval(table, room), best(options, room)
    assert (choice is None) == (optimum is None)
    if choice is not None:
        assert table.interval(choice) == optimum
        assert table.take("area", choice).sum() <= room["area"]


@pytest.mark.parametrize("seed", range(60))
def test_with_several_resources_it_fits_and_is_seldom_far_from_the_best(seed: int) -> None:
    names = ("lut", "dsp", "bram")
    rng = np.random.default_rng(1000 + seed)
    options, room = drawn(seed, names), {name: float(rng.integers(10, 80)) for name in names}
    table = OptionTable.of(options, names)
    choice, optimum = smallest_interval(table, room), best(options, room)
    if choice is None:
        return  # a choice that fits may be missed; one that does not is never given
    assert optimum is not None
    assert optimum <= table.interval(choice) <= 2 * optimum
    assert all(table.take(name, choice).sum() <= amount for name, amount in room.items())


def test_no_step_is_quicker_than_the_others_need() -> None:
    options: Options = [[(8.0, {"area": 1.0})], [(8.0, {"area": 1.0}), (2.0, {"area": 5.0})]]
    choice = smallest_interval(OptionTable.of(options, ["area"]), {"area": 100.0})
    assert choice is not None
    assert choice.tolist() == [0, 0]


def test_what_takes_its_time_anyway_lets_steps_be_slow() -> None:
    options: Options = [[(9.0, {"area": 1.0}), (3.0, {"area": 5.0})]]
    table = OptionTable.of(options, ["area"])
    assert smallest_interval(table, {"area": 9.0}).tolist() == [1]  # type: ignore[union-attr]
    assert smallest_interval(table, {"area": 9.0}, least=9.0).tolist() == [0]  # type: ignore[union-attr]


def test_what_fits_nothing_has_no_choice_but_a_smallest_need() -> None:
    options: Options = [[(4.0, {"lut": 9.0, "dsp": 1.0}), (2.0, {"lut": 12.0, "dsp": 1.0})]] * 2
    table = OptionTable.of(options, ["lut", "dsp"])
    room = {"lut": 17.0, "dsp": 8.0}
    assert smallest_interval(table, room) is None
    assert smallest_interval(table, {"lut": -1.0}) is None
    assert smallest_need(table, room) == {"lut": 18.0, "dsp": 2.0}


@pytest.mark.parametrize("seed", range(60))
def test_a_sum_fits_and_is_at_most_one_options_gain_above_the_best(seed: int) -> None:
    options, room = drawn(seed, ("area",)), {"area": float(np.random.default_rng(seed).integers(0, 80))}
    table = OptionTable.of(options, ["area"])
    choice = smallest_sum(table, room)
    sums = [
        sum(interval for interval, _ in each)
        for each in product(*options)
        if sum(taken["area"] for _, taken in each) <= room["area"]
    ]
    assert (choice is None) == (not sums)
    if choice is None:
        return
    assert table.take("area", choice).sum() <= room["area"]
    found = float(np.take_along_axis(table.intervals, choice[:, None], axis=1).sum())
    gain = max(each[0][0] - each[-1][0] for each in options)
    assert min(sums) <= found <= min(sums) + gain


def test_a_sum_takes_the_quickest_options_where_there_is_room_for_all() -> None:
    options: Options = [[(9.0, {"area": 1.0}), (3.0, {"area": 5.0})], [(4.0, {"area": 1.0}), (2.0, {"area": 8.0})]]
    table = OptionTable.of(options, ["area"])
    assert smallest_sum(table, {"area": 13.0}).tolist() == [1, 1]  # type: ignore[union-attr]
    assert smallest_sum(table, {"area": 12.9}).tolist() == [1, 0]  # type: ignore[union-attr]
    assert smallest_sum(table, {"area": 1.9}) is None
