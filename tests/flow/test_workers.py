"""Further processes of a search: what they are given, what is said when one dies, and that none stays behind."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch

from mxhw.errors import InputError, MxhwWarning
from mxhw.flow.workers import working
from mxhw.passes.search.place import split_password
from tests.passes.search.processes import ROOT

SHOW = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))"
SLEEP = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"


def program(text: str) -> tuple[str, ...]:
    return (sys.executable, "-c", text)


def log(out: Path, number: int) -> str:
    """Return what a worker has written, once it has."""
    path = out / "workers" / f"worker-{number}.log"
    deadline = time.monotonic() + 60
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return path.read_text()


def test_workers_get_the_command_their_share_of_cores_and_no_password_in_sight(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    storage = "postgresql://user:se%2Fcr@host/db?connect_timeout=3"
    with working(2, ["x.toml", "--storage", storage, "--trials", "9"], tmp_path, program=program(SHOW)):
        shown = [json.loads(log(tmp_path, number)) for number in (1, 2)]
        share = torch.get_num_threads()
    for number, (arguments, environment) in enumerate(shown, 1):
        plain = "postgresql://user@host/db?connect_timeout=3"
        assert arguments == ["x.toml", "--storage", plain, "--trials", "9", "--join"]
        assert environment["PGPASSWORD"] == "se/cr"
        assert environment["MXHW_WORKER"] == str(number)
        assert environment["OMP_NUM_THREADS"] == str(share) == str(max(1, min(os.cpu_count() // 3, before)))
    assert torch.get_num_threads() == before


def test_places_without_a_password_stay_as_they_are() -> None:
    for where in ("study.db", "journal:x", "sqlite:///x.db", "postgresql://user@host/db"):
        assert split_password(where) == (where, None)
    assert split_password("postgresql://u@h/d?password=p&sslmode=require") == (
        "postgresql://u@h/d?sslmode=require",
        "p",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import sys; sys.exit('mxhw: error: no such file')", "worker 1 ended with code 1: mxhw: error: no such file"),
        (
            "import os; print('half a trial', flush=True); os.kill(os.getpid(), 9)",
            "was killed by SIGKILL: half a trial",
        ),
    ],
)
def test_a_worker_that_dies_is_a_warning_with_its_last_line(tmp_path: Path, text: str, message: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with working(1, [], tmp_path, program=program(text)):
            deadline = time.monotonic() + 60
            while not caught:
                assert time.monotonic() < deadline
                time.sleep(0.02)
    (warning,) = caught
    assert warning.category is MxhwWarning
    assert message in str(warning.message)
    assert "the others go on" in str(warning.message)


def test_none_stays_behind_when_the_parent_is_interrupted(tmp_path: Path) -> None:
    with (
        warnings.catch_warnings(record=True) as caught,
        pytest.raises(KeyboardInterrupt),
        working(2, [], tmp_path, program=program(SLEEP)),
    ):
        warnings.simplefilter("always")
        pids = [int(log(tmp_path, number)) for number in (1, 2)]
        raise KeyboardInterrupt
    assert not caught
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_signals_that_end_a_process_stop_it_in_order(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    hangup = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, and stays so
    try:
        for number in (signal.SIGTERM, signal.SIGHUP):
            with pytest.raises(KeyboardInterrupt), working(0, [], tmp_path):
                os.kill(os.getpid(), number)
                time.sleep(10)
    finally:
        signal.signal(signal.SIGHUP, hangup)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.slow  # it imports all of the flow once more
def test_a_worker_stops_when_its_parent_is_gone() -> None:
    text = (
        "import time; from pathlib import Path; from mxhw.flow.workers import working\n"
        "with working(0, [], Path()):\n    print('works', flush=True)\n    time.sleep(600)"
    )
    environment = os.environ | {"MXHW_WORKER": "1", "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    child = subprocess.Popen(program(text), stdin=pipe, stdout=pipe, stderr=pipe, env=environment, cwd=ROOT, text=True)
    try:
        assert child.stdout.readline() == "works\n"
        child.stdin.close()  # as the system does for a parent that is killed
        assert child.wait(30) != 0
        assert "KeyboardInterrupt" in child.stderr.read()
    finally:
        child.kill()
        child.wait()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "workers").write_text("a file")
    with pytest.raises(InputError, match="workers cannot write to"), working(1, [], tmp_path, program=program(SHOW)):
        pass
