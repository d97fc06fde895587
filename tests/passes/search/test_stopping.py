"""A trial stops only where the text seen so far says so: dominated by a cheaper one, or beyond a bound of quality."""

from typing import Any

import pytest
import torch

from mxhw.passes.analysis.quality import Partial, Quality
from mxhw.passes.search.record import TrialRecord
from mxhw.passes.search.stopping import LEAST_WINDOWS, stop_of

ALL = 8


def partial(kls: list[float], losses: list[float] | None = None) -> Partial:
    pairs = tuple(zip(losses or [1.0] * len(kls), kls, strict=True))
    mean = sum(kls) / len(kls)
    return Partial(Quality(2.0, None, mean, 1.0, 10), pairs, len(kls) == ALL)


def record(number: int, kls: list[float], cost: float) -> TrialRecord:
    quality = {"kl": sum(kls) / len(kls), "perplexity": 2.0}
    outcome: dict[str, Any] = {"quality": quality, "windows": [[1.0, kl] for kl in kls]}
    return TrialRecord(number, (quality["kl"], cost), {}, outcome)


def stop(kls: list[float], cost: float, records: list[TrialRecord], **constraints: float):
    return stop_of(partial(kls), ALL, "kl", [cost], records, [[r.values[1]] for r in records], constraints)


GOOD = [0.10, 0.12, 0.09, 0.11, 0.10, 0.12, 0.09, 0.11]


def test_a_clearly_dominated_design_stops_and_its_quality_is_estimated() -> None:
    found = stop([0.30, 0.33, 0.28], 5.0, [record(7, GOOD, 5.0)])
    assert found.dominated_by == 7
    assert found.quality == pytest.approx(0.105 + (0.20 + 0.21 + 0.19) / 3)


@pytest.mark.parametrize(
    ("kls", "cost", "why"),
    [
        ([0.30, 0.33, 0.28], 4.9, "cheaper than the other one"),
        ([0.05, 0.06, 0.04], 5.0, "better in quality"),
        ([0.101, 0.30, 0.05], 5.0, "differences as large as their spread"),
        ([0.30], 5.0, "one window says nothing of the spread"),
        ([0.30] * ALL, 5.0, "all of the text is seen"),
    ],
)
def test_others_go_on(kls: list[float], cost: float, why: str) -> None:
    assert stop(kls, cost, [record(7, GOOD, 5.0)]) is None, why


def test_only_whole_trials_are_compared_with() -> None:
    known = record(7, GOOD, 5.0)
    half = TrialRecord(7, known.values, {}, {**known.outcome, "windows": known.outcome["windows"][:3]})
    assert stop([0.30, 0.33, 0.28], 5.0, [half]) is None
    guessed = TrialRecord(7, known.values, {}, known.outcome, state="stopped")
    assert stop([0.30, 0.33, 0.28], 5.0, [guessed]) is None


def test_a_bound_of_quality_stops_what_is_beyond_it() -> None:
    assert stop([0.30, 0.33, 0.28], 1.0, [], kl=0.09).dominated_by is None
    assert stop([0.30, 0.33, 0.28], 1.0, [], kl=0.4) is None
    assert stop([0.30, 0.33, 0.28], 1.0, [], perplexity=2.0).dominated_by is None  # e > 2
    assert stop([0.30, 0.33, 0.28], 1.0, [], perplexity=4.0) is None


def test_designs_that_turn_out_better_are_seldom_stopped() -> None:
    """Draws of designs that are equal but for noise: of those that the whole text finds better, few were stopped."""
    rng = torch.Generator().manual_seed(0)
    wrong = 0
    for _ in range(2000):
        base = 0.1 * (1 + 0.3 * torch.randn(ALL, generator=rng)).clamp(min=0.01)
        own = (base * (1 + 0.15 * torch.randn(ALL, generator=rng))).tolist()
        other = record(0, (base * (1 + 0.15 * torch.randn(ALL, generator=rng))).tolist(), 1.0)
        better = sum(own) < ALL * other.values[0]
        wrong += better and any(stop(own[:n], 1.0, [other]) is not None for n in range(LEAST_WINDOWS, ALL))
    assert wrong / 2000 < 0.05


def test_designs_that_are_worse_by_half_are_mostly_stopped_early() -> None:
    rng = torch.Generator().manual_seed(1)
    seen = []
    for _ in range(500):
        base = 0.1 * (1 + 0.3 * torch.randn(ALL, generator=rng)).clamp(min=0.01)
        own = (1.5 * base * (1 + 0.1 * torch.randn(ALL, generator=rng))).tolist()
        other = record(0, (base * (1 + 0.1 * torch.randn(ALL, generator=rng))).tolist(), 1.0)
        seen.append(next((n for n in range(1, ALL) if stop(own[:n], 1.0, [other]) is not None), ALL))
    assert sum(seen) / len(seen) < 5
