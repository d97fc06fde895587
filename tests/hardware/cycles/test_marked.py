"""Marked graphs against a slow oracle: every inequality, over and over, until none is violated."""

import random
from itertools import pairwise

import numpy as np
import pytest

from mxhw.hardware.cycles.marked import MarkedGraph, StuckError

Drawn = list[np.ndarray]
Wait = tuple[int, int, int, list[int], int]  # target, cause, delay, of, number of what is drawn


def drawn_graph(rng: random.Random) -> tuple[MarkedGraph, list[list[int]], list[Wait], list[int]]:
    """A chain of series of some room, with some waits more; gaps, waits, events of what is drawn."""
    graph, count = MarkedGraph(), rng.randrange(2, 9)
    gaps = [[rng.randrange(4) for _ in range(count)] for _ in range(rng.randrange(2, 6))]
    waits: list[Wait] = []
    sizes: list[int] = []
    for each in gaps:
        graph.paced(each)
    for target in range(1, len(gaps)):
        lag, cause = rng.choice([0, 1, 1, 1, 2, 2]), rng.randrange(target)
        chance = len(sizes) if rng.random() < 0.5 else -1
        if chance >= 0:
            sizes.append(count)
        block = rng.randrange(1, 3)
        of = [min(count - 1, k // block * block + block - 1) for k in range(count)]
        waits.append((target, target - 1, rng.randrange(5), of, chance))
        back = [k - block * lag for k in range(count)]
        waits.append((target - 1, target, rng.randrange(3), back, -1))
        if cause != target - 1:
            waits.append((target, cause, rng.randrange(9), [k - 1 for k in range(count)], -1))
    for target, cause, delay, of, chance in waits:
        steps = {b - a for a, b in pairwise(of)}
        if steps <= {1} and of[0] <= 0 and rng.random() < 0.5:
            graph.after(target, cause, delay, lag=-of[0], drawn=chance)
        else:
            graph.after(target, cause, delay, of=of, drawn=chance)
    return graph, gaps, waits, sizes


def oracle(gaps: list[list[int]], waits: list[Wait], drawn: Drawn, paused: int, draw: int) -> list[list[int]]:
    """Least times of one draw; ``paused``: the series whose gaps the last of what is drawn lengthens, -1 for none."""
    times = [[0] * len(each) for each in gaps]
    while True:
        before = [list(each) for each in times]
        for series, each in enumerate(gaps):
            for k, gap in enumerate(each):
                more = drawn[-1][k, draw] if series == paused else 0
                times[series][k] = max(times[series][k], (times[series][k - 1] if k else 0) + gap + more)
        for target, cause, delay, of, chance in waits:
            for k, at in enumerate(of):
                if at >= 0:
                    more = drawn[chance][k, draw] if chance >= 0 else 0
                    times[target][k] = max(times[target][k], times[cause][at] + delay + more)
        if times == before:
            return times
        if max(map(max, times)) > 1_000:
            raise StuckError


def test_times_are_the_least_that_keep_all_waits() -> None:
    stuck = solved = 0
    for seed in range(100):
        rng = random.Random(seed)
        graph, gaps, waits, sizes = drawn_graph(rng)
        paused = rng.randrange(-1, len(gaps))
        numbers = np.random.default_rng(seed)
        if paused >= 0:
            graph.pause(paused, len(sizes))
            sizes = [*sizes, len(gaps[0])]
        drawn = [numbers.integers(0, 20, (size, 3)).astype(np.float64) for size in sizes]
        try:
            found = graph.solve(drawn)
        except StuckError:
            stuck += 1
            # Events that wait for each other: their times grow without end, or they do not for a delay of 0 only.
            later = [(t, c, delay + 1, of, chance) for t, c, delay, of, chance in waits]
            with pytest.raises(StuckError):
                oracle(gaps, later, drawn, paused, 0)
            continue
        solved += 1
        for draw in range(3 if drawn else 1):
            want = oracle(gaps, waits, drawn, paused, draw)
            assert [[int(t[draw]) if drawn else t for t in each] for each in found] == want, seed
    assert solved > 40 and stuck > 10


def test_who_waits_for_each_other_is_stuck() -> None:
    graph = MarkedGraph()
    one, other = graph.series(4), graph.series(4)
    graph.after(other, one, 1)
    graph.after(one, other, 0, lag=1)
    assert graph.solve() == [[0, 1, 2, 3], [1, 2, 3, 4]]
    graph.after(one, other, 0)
    with pytest.raises(StuckError, match="8 events of 8 can never happen"):
        graph.solve()
