"""How far a search is: counts and best values by definition, and a time left that outliers cannot move."""

from datetime import datetime, timedelta
from random import Random
from statistics import median

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from mxhw.passes.search.record import INDEX, INFEASIBLE, STOPPED
from mxhw.passes.search.status import FinishedTrial, SearchStatus, duration_text, search_status, study_status

OBJECTIVES = {"kl": "minimize", "throughput": "maximize"}
STATES = ("complete", "infeasible", "stopped")


def drawn(seed: int, number: int) -> list[FinishedTrial]:
    """Return trials of every state; those that break a bound are quick."""
    draw = Random(seed)
    trials, at = [], 0.0
    for _ in range(number):
        state = draw.choices(STATES, (5, 4, 1))[0]
        seconds = draw.uniform(0.001, 0.003) if state == "infeasible" else draw.uniform(1.8, 2.2)
        values = (draw.random(), draw.random()) if state == "complete" else ()
        at += seconds
        trials.append(FinishedTrial(state, seconds, values, at))  # type: ignore[arg-type]
    return trials


@pytest.mark.parametrize("seed", range(8))
def test_counts_and_best_values_are_what_they_say(seed: int) -> None:
    trials = drawn(seed, 50)
    status = search_status(trials, 80, OBJECTIVES)  # type: ignore[arg-type]
    complete = [trial.values for trial in trials if trial.state == "complete"]
    assert (status.done, status.total) == (50, 80)
    assert status.feasible == 50 - sum(trial.state == "infeasible" for trial in trials)
    assert status.best == {"kl": min(v[0] for v in complete), "throughput": max(v[1] for v in complete)}
    for words in ("50 of 80 trials", f"kl {status.best['kl']:.5g}", f"{2 * status.feasible} % feasible", "left"):
        assert words in status.text
    assert "50 of 80" not in status.note and status.note in status.text


@pytest.mark.parametrize("seed", range(8))
def test_the_time_left_is_that_of_the_last_trials_by_state(seed: int) -> None:
    trials = drawn(seed, 60)
    last = trials[-20:]
    each = sum(
        len(took) / 20 * median(took) for state in STATES if (took := [t.seconds for t in last if t.state == state])
    )
    left = search_status(trials, 160, OBJECTIVES).left  # type: ignore[arg-type]
    assert left == pytest.approx(100 * each)
    assert left == pytest.approx(100 * sum(t.seconds for t in last) / 20, rel=0.1)  # a median of all would be far off
    half = search_status(trials, 160, OBJECTIVES, workers=2).left  # type: ignore[arg-type]
    assert half == pytest.approx(50 * each)
    stuck = [*trials[:-1], FinishedTrial("complete", 4000.0, (0.5, 0.5), trials[-1].at)]
    assert search_status(stuck, 160, OBJECTIVES).left == pytest.approx(left, rel=0.2)  # type: ignore[arg-type]


def test_the_clock_takes_off_what_has_passed_but_never_more_than_a_trial() -> None:
    trials = [FinishedTrial("complete", 2.0, (0.1,), at=10.0 + 2 * i) for i in range(5)]

    def left(now: float) -> float | None:
        return search_status(trials, 10, {"kl": "minimize"}, now=now).left

    assert (left(18.0), left(19.0), left(20.0), left(100.0), left(5.0)) == (10.0, 9.0, 8.0, 8.0, 10.0)
    assert search_status(trials, 5, {"kl": "minimize"}, now=18.0).left == 0.0
    assert "left" not in search_status(trials, 5, {"kl": "minimize"}).note
    assert search_status(trials, 3, {"kl": "minimize"}).left == 0.0  # of a study that already holds more


def test_words_before_there_is_anything_to_say() -> None:
    empty = search_status([], 40, OBJECTIVES)  # type: ignore[arg-type]
    assert empty == SearchStatus(0, 40, 0, {}, None)
    assert empty.note == "" and empty.text == "0 of 40 trials"
    refused = search_status([FinishedTrial("infeasible", 0.5)], 3, OBJECTIVES)  # type: ignore[arg-type]
    assert refused.note == "no complete design yet; 0 % feasible; about 1 s left"
    assert [duration_text(s) for s in (7.6, 59.4, 90.0, 3599.0, 9000.0)] == [
        "about 8 s",
        "about 59 s",
        "about 2 min",
        "about 60 min",
        "about 2.5 h",
    ]


def test_the_status_of_a_study_is_that_of_its_trials() -> None:
    study = optuna.create_study(directions=["minimize", "maximize"])
    start = datetime(2026, 1, 1)
    rows = [
        (TrialState.COMPLETE, {}, [0.5, 3.0], 4.0),
        (TrialState.FAIL, {INFEASIBLE: "too large"}, None, 1.0),
        (TrialState.FAIL, {}, None, 50.0),  # of a process that died: not a trial of the search
        (TrialState.PRUNED, {STOPPED: [0.4, 9.0]}, None, 2.0),
        (TrialState.PRUNED, {INFEASIBLE: "too slow"}, None, 1.0),
        (TrialState.COMPLETE, {}, [0.7, 5.0], 4.0),
        (TrialState.RUNNING, {}, None, None),
    ]
    for index, (state, attributes, values, seconds) in enumerate(rows):
        trial = create_trial(
            state=state, values=values, params={"x": 0.5}, distributions={"x": FloatDistribution(0, 1)},
            user_attrs={INDEX: index, **attributes},
        )  # fmt: skip
        trial.datetime_start = start
        trial.datetime_complete = None if seconds is None else start + timedelta(seconds=seconds)
        study.add_trial(trial)
    status = study_status(study, 11, OBJECTIVES)  # type: ignore[arg-type]
    assert (status.done, status.feasible) == (5, 3)
    assert status.best == {"kl": 0.5, "throughput": 5.0}
    each = (2 * 4.0 + 2 * 1.0 + 1 * 2.0) / 5
    assert status.left == pytest.approx(each * 6 / 2)  # one runs a trial, one asks
    assert study_status(study, 11, OBJECTIVES, workers=1).left == pytest.approx(each * 6)  # type: ignore[arg-type]
    now = (start + timedelta(seconds=5)).timestamp()
    assert study_status(study, 11, OBJECTIVES, workers=1, now=now).left == pytest.approx(each * 6 - 1)  # type: ignore[arg-type]
