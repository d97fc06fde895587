"""Series of events: earliest and latest times against a fixed point that is computed event by event."""

from collections.abc import Iterator

import numpy as np
import pytest

from mxhw.sim.performance.events import DeadlockError, Events, LateError


class Drawn:
    """A drawn system: series in a chain or a fan, with waits forward and, some events later, back."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.events, self.waits = Events(), []
        self.counts = [int(n) for n in rng.integers(4, 24, 6)]
        self.paces = [int(n) for n in rng.integers(1, 4, 6)]
        for name, (count, pace) in enumerate(zip(self.counts, self.paces, strict=True)):
            self.events.series(str(name), count, pace)
        for target in range(1, 6):
            for cause in rng.choice(target, min(2, target), replace=False):
                of = np.sort(rng.integers(-1, self.counts[cause], self.counts[target]))
                self._after(target, int(cause), int(rng.integers(0, 5)), of)
                # A place is free when all that needed what lay in it have happened.
                gone = np.arange(self.counts[cause]) - int(rng.integers(4, 20))
                self._after(int(cause), target, 1, np.searchsorted(of, gone, side="right") - 1, back=True)

    def _after(self, target: int, cause: int, delay: int, of: np.ndarray, back: bool = False) -> None:
        self.events.after(target, cause, delay, of=of, back=back)
        self.waits.append((target, cause, delay, of))

    def pairs(self) -> Iterator[tuple[tuple[int, int], tuple[int, int], int]]:
        """Every wait as (event, what it waits for, delay)."""
        for series, (count, pace) in enumerate(zip(self.counts, self.paces, strict=True)):
            yield from (((series, k), (series, k - 1), pace) for k in range(1, count))
        for target, cause, delay, of in self.waits:
            yield from (((target, k), (cause, int(at)), delay) for k, at in enumerate(of) if at >= 0)


def fixed_point(drawn: Drawn, limit: int = 2000) -> list[list[int]] | None:
    times = [[0] * count for count in drawn.counts]
    pairs, moved = list(drawn.pairs()), True
    while moved:
        moved = False
        for (target, k), (cause, at), delay in pairs:
            if times[target][k] < times[cause][at] + delay:
                times[target][k], moved = times[cause][at] + delay, True
                if times[target][k] > limit:
                    return None
    return times


SEEDS = range(40)


def test_earliest_times_are_the_least_fixed_point_and_deadlocks_are_found() -> None:
    deadlocks = 0
    for seed in SEEDS:
        drawn = Drawn(seed)
        expected = fixed_point(drawn)
        if expected is None:
            deadlocks += 1
            with pytest.raises(DeadlockError, match="deadlock"):
                drawn.events.earliest()
        else:
            assert [times.tolist() for times in drawn.events.earliest()] == expected
    assert 2 < deadlocks < len(SEEDS) - 2, "both happen"


def test_latest_times_keep_all_waits_and_deadlines_and_none_can_be_later() -> None:
    for seed in SEEDS:
        drawn = Drawn(seed)
        if fixed_point(drawn) is None:
            continue
        last = len(drawn.counts) - 1
        deadline = drawn.events.earliest()[last] + 7
        latest = drawn.events.latest({last: deadline})
        end = int(deadline.max())
        bound = [[end] * count for count in drawn.counts]
        bound[last] = deadline.tolist()
        pairs, moved = list(drawn.pairs()), True
        while moved:
            moved = False
            for (target, k), (cause, at), delay in pairs:
                if bound[cause][at] > bound[target][k] - delay:
                    bound[cause][at], moved = bound[target][k] - delay, True
        assert [times.tolist() for times in latest] == bound


def test_a_run_that_is_later_than_asked_for_is_given_up() -> None:
    events = Events()
    first, second = events.series("first", 5), events.series("second", 5, 3)
    events.after(second, first, 2)
    assert events.earliest(end=14)[second].tolist() == [2, 5, 8, 11, 14]
    with pytest.raises(LateError, match="second is later than cycle 13"):
        events.earliest(end=13)


def test_given_times_are_kept_and_waited_for() -> None:
    events = Events()
    first, second = events.series("first", 3), events.series("second", 3)
    events.after(second, first, 1)
    assert events.earliest({first: np.array([0, 10, 11])})[second].tolist() == [1, 11, 12]
