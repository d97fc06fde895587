"""Timing for the benches: actions in interleaved rounds, so that a busy moment of the machine hits all of them."""

import math
import statistics
import time
from collections.abc import Callable, Mapping

__all__ = ["interleaved", "samples", "seconds"]

_SHORTEST = 2e-3  # seconds a sample: quicker actions are repeated within one


def seconds(action: Callable[[], object], repeats: int = 1) -> float:
    """Return how long one call takes, on average over `repeats` calls in a row."""
    start = time.perf_counter()
    for _ in range(repeats):
        action()
    return (time.perf_counter() - start) / repeats


def interleaved(actions: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median seconds of every action over `rounds`, after one round that warms up."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for round_ in range(rounds + 1):
        for name, action in actions.items():
            elapsed = seconds(action)
            if round_:
                times[name].append(elapsed)
    return {name: statistics.median(values) for name, values in times.items()}


def samples(
    actions: Mapping[str, Callable[[], object]], base: str, rounds: int, budget: float, between: int = 6
) -> dict[str, list[float]]:
    """Return the seconds of every action, in interleaved rounds after two calls that warm up and size a sample.

    An action that has used `budget` seconds is left out of the later rounds; it has one sample at least. `base` is what
    others are compared with: it is measured again after every `between` actions of a round, whatever it has used.
    """
    repeats, times = {}, {name: [] for name in actions}
    for name, action in actions.items():
        action()
        repeats[name] = max(1, math.ceil(_SHORTEST / seconds(action)))

    def sample(name: str) -> None:
        times[name].append(seconds(actions[name], repeats[name]))

    for _ in range(rounds):
        others = [name for name in actions if name != base and sum(times[name]) * repeats[name] < budget]
        for place, name in enumerate(others):
            if place % between == 0:
                sample(base)
            sample(name)
        if not others:
            sample(base)
    return times
