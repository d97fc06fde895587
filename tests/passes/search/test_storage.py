"""Storages: opened, joined, refused, full or away; passwords are never shown; nothing finished is lost."""

import errno
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import InMemoryStorage, JournalStorage, RDBStorage
from optuna.trial import TrialState

from mxhw.errors import InputError, MissingToolError
from mxhw.passes.search import journal, patience, study
from mxhw.passes.search.owner import has_died, owning
from mxhw.passes.search.patience import Patience
from mxhw.passes.search.place import place_of
from mxhw.passes.search.record import SEEDS, read_records
from mxhw.passes.search.storage import StorageError, open_storage
from mxhw.passes.search.study import MAKER, READY, load_study, open_study
from mxhw.passes.search.worker import run_trials
from tests.passes.search.processes import ROOT
from tests.passes.search.toy import DESIGNS, FINGERPRINT, random_sampler, toy_evaluate, toy_study

SECRET = "pa{ss}/w%rd"
QUOTED = "pa%7Bss%7D%2Fw%25rd"


class Notes:
    """A progress that remembers what it was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    @contextmanager
    def task(self, description: str, total: float):
        yield self

    def advance(self, steps: float = 1) -> None:
        pass

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_what_a_place_is(tmp_path: Path) -> None:
    assert place_of(None).kind == "memory"
    assert isinstance(open_storage(None), InMemoryStorage)
    strange = tmp_path / "a b?c%d#e" / "study.db"
    assert isinstance(open_storage(strange), RDBStorage)
    assert strange.exists()
    assert place_of(f"sqlite:///{tmp_path}/x.log").kind == "sqlite"
    for text in ("x.log", "x.journal", "journal:x.db"):
        assert place_of(text).kind == "journal"
    assert isinstance(open_storage(f"journal:{tmp_path}/x"), JournalStorage)
    for scheme in ("postgresql", "postgresql+psycopg"):
        assert place_of(f"{scheme}://u@h/d").url == "postgresql+psycopg://u@h/d"


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("mysql://h/d", "storage of kind 'mysql' is not known; give a path, sqlite:///PATH"),
        ("redis://h", "storage of kind 'redis' is not known|cannot be read"),
        ("postgresql://u:secret@h:port/d", "URL cannot be read"),
        ("sqlite://", "names no file"),
    ],
)
def test_unknown_places_are_refused(where: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        open_storage(where)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_an_unreachable_server_is_tried_again_and_then_one_line_without_password() -> None:
    pytest.importorskip("psycopg", reason="extra `distributed` is not installed")
    notes, started = Notes(), time.monotonic()
    url = f"postgresql://user:{QUOTED}@127.0.0.1:{closed_port()}/mxhw?password={QUOTED}"
    with pytest.raises(StorageError) as refused:
        open_storage(url, progress=notes, patience=1.5)
    assert 1 < time.monotonic() - started < 10
    text = str(refused.value)
    assert "storage postgresql://user:***@127.0.0.1" in text
    assert "could not be reached for" in text
    assert "\n" not in text
    assert len(notes.notes) >= 2
    assert all("next try in" in note for note in notes.notes)
    for shown in (text, *notes.notes):
        assert SECRET not in shown
        assert QUOTED not in shown


def test_a_missing_driver_names_the_extra(monkeypatch) -> None:
    monkeypatch.setattr("mxhw.errors.find_spec", lambda name: None)
    with pytest.raises(MissingToolError, match=r"pip install 'mxhw\[distributed\]'"):
        open_storage("postgresql://u@h/d")


def test_errors_are_told_apart() -> None:
    import sqlite3

    from sqlalchemy import exc

    def error(kind: type, original: Exception) -> Exception:
        try:
            raise optuna.exceptions.StorageInternalError("commit") from kind("SELECT 'locked'", {}, original)
        except optuna.exceptions.StorageInternalError as raised:
            return raised

    class DriverError(Exception):
        def __init__(self, state: str | None, text: str = "") -> None:
            super().__init__(text)
            self.sqlstate = state

    locked = error(exc.OperationalError, sqlite3.OperationalError("database is locked"))
    full = error(exc.OperationalError, sqlite3.OperationalError("database or disk is full"))
    cases = {
        "again": [
            locked,
            error(exc.OperationalError, DriverError("57P01")),
            error(exc.OperationalError, DriverError("40P01")),
            error(exc.OperationalError, DriverError(None, "connection refused")),
        ],
        "hopeless": [
            full,
            error(exc.OperationalError, DriverError("53100", "could not extend file")),
            error(exc.OperationalError, DriverError(None, 'FATAL: password authentication failed for user "u"')),
            error(exc.DatabaseError, sqlite3.DatabaseError("database disk image is malformed")),
        ],
        "other": [
            error(exc.IntegrityError, sqlite3.IntegrityError("UNIQUE constraint failed")),
            ValueError("ours"),
            UpdateFinishedTrialError("finished"),
        ],
    }
    for fate, errors in cases.items():
        assert [patience._fate(each, False) for each in errors] == [fate] * len(errors)


def test_operations_are_repeated_until_the_storage_is_back() -> None:
    from sqlalchemy import exc

    calls, said = [], []

    def restarting() -> str:
        calls.append(1)
        if len(calls) < 3:
            raise exc.OperationalError("SELECT", {}, Exception("server closed the connection unexpectedly"))
        return "answer"

    patient = Patience(place_of("postgresql://u@h/d"), 30)
    patient.say = said.append
    assert patient(restarting) == "answer"
    assert len(said) == 2


def test_of_two_processes_that_finish_a_trial_the_later_is_told(tmp_path: Path) -> None:
    """Optuna reads a trial's state, then writes it: another process must not write between the two."""
    first, second = (toy_study(tmp_path / "study.db") for _ in range(2))
    assert overtaken(first, second) == (True, TrialState.FAIL)


def test_without_the_lock_a_finished_trial_is_lost(tmp_path: Path) -> None:
    toy_study(tmp_path / "study.db")
    first, second = (
        optuna.load_study(study_name="mxhw", storage=RDBStorage(f"sqlite:///{tmp_path}/study.db")) for _ in range(2)
    )
    assert overtaken(first, second) == (False, TrialState.FAIL)


def overtaken(first: optuna.Study, second: optuna.Study) -> tuple[bool, TrialState]:
    """Let one process tell a trial's values while another fails it; return whether the first hears of it, and the end.

    The second has read that the trial runs when the first tells, and writes when the first has.
    """
    trial = first._storage.create_new_trial(first._study_id)
    reading, told, refused = threading.Event(), threading.Event(), False
    storage = second._storage._backend
    check = storage.check_trial_is_updatable

    def slow(trial_id: int, state: TrialState) -> None:
        check(trial_id, state)
        reading.set()
        told.wait(0.5)

    storage.check_trial_is_updatable = slow
    thread = threading.Thread(target=storage.set_trial_state_values, args=(trial, TrialState.FAIL))
    thread.start()
    assert reading.wait(10)
    try:
        first._storage.set_trial_state_values(trial, TrialState.COMPLETE, [1.0, 2.0])
    except UpdateFinishedTrialError:
        refused = True
    told.set()
    thread.join()
    return refused, first._storage._backend.get_trial(trial).state


@pytest.mark.parametrize("name", ["study.db", "study.log"])
def test_a_study_is_made_once_and_joined(tmp_path: Path, name: str) -> None:
    made, opened, errors, ready = [], [], [], threading.Barrier(4)

    def begin(study: optuna.Study) -> list[dict]:
        made.append(study)
        time.sleep(0.3)
        study.set_user_attr("known", 1)
        return DESIGNS

    def join() -> None:
        try:
            ready.wait()
            found = open_study(tmp_path / name, FINGERPRINT, begin=begin)
            opened.append((found.user_attrs[SEEDS], found.user_attrs["known"]))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=join) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(made) == 1
    assert opened == [(DESIGNS, 1)] * 4


def test_one_takes_over_from_a_maker_that_died(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(study, "_TAKEOVER_SECONDS", 0.2)
    monkeypatch.setattr(study, "_UNOWNED_SECONDS", 0.3)
    where = tmp_path / "study.db"

    def die(study: optuna.Study) -> list[dict]:
        raise InputError("no table")

    with pytest.raises(InputError, match="no table"):
        toy_study(where, begin=die)
    assert READY not in optuna.load_study(study_name="mxhw", storage=open_storage(where)).user_attrs
    notes = Notes()
    assert toy_study(where, progress=notes).user_attrs[SEEDS] == DESIGNS
    assert "that process has died; taking over" in notes.notes
    # One that died before it could even write down that it is the maker, and one of another machine.
    for name, change in (("unowned", lambda made: None), ("away", elsewhere)):
        made = optuna.create_study(
            study_name="mxhw", storage=open_storage(tmp_path / f"{name}.db"), directions=["minimize"] * 2
        )
        change(made)
        assert toy_study(tmp_path / f"{name}.db", grace=1, heartbeat=1).user_attrs[SEEDS] == DESIGNS


def elsewhere(made: optuna.Study) -> None:
    with owning() as me:
        made.set_user_attr(MAKER, {**me, "host": "elsewhere"})


def test_a_study_of_another_problem_is_refused_with_the_difference(tmp_path: Path) -> None:
    toy_study(tmp_path / "study.db")
    with pytest.raises(InputError, match="is of another search: model was 'toy' and is 'other'; give another file"):
        open_study(tmp_path / "study.db", {**FINGERPRINT, "model": "other"})
    with pytest.raises(InputError, match="has 2 objectives, this search 3"):
        toy_study(tmp_path / "study.db", directions=["minimize", "maximize", "minimize"])
    foreign = optuna.create_study(study_name="mxhw", storage=open_storage(tmp_path / "foreign.db"))
    foreign.add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(InputError, match="has trials of another program"):
        toy_study(tmp_path / "foreign.db", directions=["minimize"])


def test_a_study_is_loaded_by_its_name(tmp_path: Path) -> None:
    run_trials(toy_study(tmp_path / "study.db", name="mine"), 2, toy_evaluate, random_sampler)
    assert len(read_records(load_study(tmp_path / "study.db", "mine"))) == 2
    with pytest.raises(InputError, match="has no study 'yours'; it has 'mine'"):
        load_study(tmp_path / "study.db", "yours")
    with pytest.raises(InputError, match="does not exist"):
        load_study(tmp_path / "absent.db")


def test_an_sqlite_study_is_one_file_when_a_worker_is_done(tmp_path: Path) -> None:
    run_trials(toy_study(tmp_path / "study.db"), 3, toy_evaluate, random_sampler)
    copy = tmp_path / "copy.db"
    copy.write_bytes((tmp_path / "study.db").read_bytes())
    assert len(read_records(load_study(copy))) == 3


def test_files_that_are_no_journal_are_refused_and_left_alone(tmp_path: Path) -> None:
    for text, message in (("a diary\n", "is not a journal"), ('{"x": 1}\n', "is not a journal")):
        path = tmp_path / "study.log"
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            toy_study(path)
        assert path.read_text() == text
    path.write_text('{"op_code": 0}\nnonsense\n')
    with pytest.raises(InputError, match="is a damaged journal"):
        toy_study(path)


def test_half_a_line_of_a_journal_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "study.log"
    run_trials(toy_study(path), 2, toy_evaluate, random_sampler)
    with path.open("a") as file:
        file.write('{"op_code":4,"worker_id":"killed while it wr')
    run_trials(toy_study(path), 4, toy_evaluate, random_sampler)
    assert len(read_records(load_study(path))) == 4


def test_a_journal_on_a_full_disk_keeps_whole_lines(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "study.log"
    study = toy_study(path)
    run_trials(study, 2, toy_evaluate, random_sampler)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(journal.os, "fsync", full)
    with pytest.raises(StorageError, match=r"No space left on device; make room .* what was finished is kept"):
        run_trials(study, 4, toy_evaluate, random_sampler)
    assert path.read_bytes() == before
    monkeypatch.undo()
    run_trials(toy_study(path), 4, toy_evaluate, random_sampler)
    assert len(read_records(load_study(path))) == 4


FULL = """
import resource, sys
from mxhw.errors import InputError
from mxhw.passes.search.worker import run_trials
from tests.passes.search.toy import random_sampler, toy_evaluate, toy_study
study = toy_study(sys.argv[1])
run_trials(study, 3, toy_evaluate, random_sampler)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    run_trials(study, 400, toy_evaluate, random_sampler)
except InputError as error:
    sys.exit(str(error))
"""


@pytest.mark.parametrize(
    ("name", "room"), [("study.db", 170_000), pytest.param("study.log", 20_000, marks=pytest.mark.slow)]
)
def test_a_file_that_can_grow_no_more_keeps_what_was_finished(tmp_path: Path, name: str, room: int) -> None:
    """A limit on the size of files stands for a full disk: the writes of the storage itself fail, not a stand-in."""
    path = tmp_path / name
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path), str(room)], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert f"study file {path} cannot be" in done.stderr
    assert "what was finished is kept" in done.stderr
    kept = len(read_records(load_study(path)))
    assert 3 <= kept < 400
    run_trials(toy_study(path), kept + 2, toy_evaluate, random_sampler)
    assert [r.number for r in read_records(load_study(path))] == list(range(kept + 2))


def test_whether_a_process_has_died() -> None:
    with owning() as me:
        assert has_died(me) is False
        assert has_died({**me, "host": "elsewhere"}) is None
        assert has_died({**me, "boot": "another"}) is None
        assert has_died({**me, "started": 1}) is True
        assert has_died({**me, "run": "an earlier one of this process"}) is True
    assert has_died(me) is True
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    from mxhw.passes.search.owner import _started

    owner = {**me, "pid": child.pid, "started": _started(child.pid), "run": "its own"}
    assert has_died(owner) is False
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert has_died(owner) is True  # though its parent has not taken notice yet
    child.communicate()
    assert has_died(owner) is True
