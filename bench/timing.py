"""Timing for the benches: actions in interleaved rounds, so that a busy moment of the machine hits all of them."""

import statistics
import time
from collections.abc import Callable, Mapping

__all__ = ["interleaved", "seconds"]


def seconds(action: Callable[[], object]) -> float:
    """Return how long one call takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def interleaved(actions: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median seconds of every action over `rounds`, after one round that warms up."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for round_ in range(rounds + 1):
        for name, action in actions.items():
            elapsed = seconds(action)
            if round_:
                times[name].append(elapsed)
    return {name: statistics.median(values) for name, values in times.items()}
