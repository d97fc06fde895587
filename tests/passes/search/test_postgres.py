"""Workers of several machines share a study on a real PostgreSQL server, which is restarted while they work."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.trial import TrialState

from mxhw.passes.search.record import INDEX
from mxhw.passes.search.storage import StorageError, open_storage
from mxhw.passes.search.worker import OWNER, run_trials
from tests.passes.search import processes
from tests.passes.search.postgres import PASSWORD, QUOTED, Server, server
from tests.passes.search.toy import random_sampler, toy_evaluate, toy_study

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("postgres")]
GRACE = 4  # seconds; signs of life every second


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with server() as found:
        yield found


@pytest.mark.parametrize("machines", [(), ("--machines",)], ids=["one machine", "four machines"])
def test_four_workers_one_killed_and_the_server_restarted(tmp_path: Path, machines: tuple[str, ...]) -> None:
    total = 60
    with server() as running:
        where = running.url
        options = ("--workers", "4", "--seconds", "0.2", "--hang", "9", "--grace", str(GRACE), *machines)
        workers = processes.start(where, total, tmp_path, *options)
        with processes.ended(workers):
            processes.kill_hanging(tmp_path, 9, workers)
            before = processes.finished_now(where)
            processes.wait_for(lambda: len(processes.finished_now(where)) >= 20, workers)
            running.stop()
            time.sleep(1.5)  # long enough for every worker to notice
            running.start()
            before |= processes.finished_now(where)
            assert 20 <= len(before) < total
            assert sorted(processes.codes(workers)) == [-9, 0, 0, 0]
        study = processes.check(where, total, tmp_path, before)
        trials = [t for t in study.trials if t.user_attrs.get(INDEX) == 9]
        assert [t.state for t in trials] == [TrialState.FAIL, TrialState.COMPLETE]
        assert trials[0].params == trials[1].params
        assert len({t.user_attrs[OWNER]["pid"] for t in study.trials}) == 4


def test_one_worker_outlives_a_restart_in_the_middle_of_a_trial(running: Server) -> None:
    study = toy_study(running.url, name="outlives")
    notes = []

    def restarted(trial, index):
        first = trial.suggest_categorical("layer0", ("bitmod3", "bitmod4", "int8"))
        if index == 2:
            running.stop()
            running.start()
        found = toy_evaluate(trial, index)
        assert trial.params["layer0"] == first
        return found

    run_trials(study, 5, restarted, random_sampler, note=lambda study: notes.append(1) or "")
    assert [t.state for t in study.trials] == [TrialState.COMPLETE] * 5
    assert [t.user_attrs[INDEX] for t in study.trials] == list(range(5))


def test_a_wrong_password_is_one_line_at_once(running: Server) -> None:
    started = time.monotonic()
    with pytest.raises(StorageError, match="authentication failed") as refused:
        open_storage(running.url.replace(QUOTED, "wr%2Fong"), patience=60)
    assert time.monotonic() - started < 20
    assert "\n" not in str(refused.value)
    assert "wr/ong" not in str(refused.value)
    assert PASSWORD not in str(refused.value)


def test_studies_of_two_names_share_a_database(running: Server) -> None:
    for name, total in (("one", 3), ("two", 2)):
        run_trials(toy_study(running.url, name=name), total, toy_evaluate, random_sampler)
    assert len(toy_study(running.url, name="one").trials) == 3


def test_a_server_that_stays_away_is_one_line(running: Server) -> None:
    study = toy_study(running.url, name="away")
    study._storage._backend.patience.seconds = 2.0

    def stopped(trial, index):
        if index == 2:
            running.stop()
        return toy_evaluate(trial, index)

    with pytest.raises(StorageError, match=r"could not be reached for \d+ s") as refused:
        run_trials(study, 5, stopped, random_sampler)
    running.start()
    assert "\n" not in str(refused.value)
    assert PASSWORD not in str(refused.value)
    run_trials(toy_study(running.url, name="away"), 5, toy_evaluate, random_sampler)
    assert [t.user_attrs[INDEX] for t in study.trials if t.state == TrialState.COMPLETE] == [0, 1, 2, 3, 4]
