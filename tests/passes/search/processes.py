"""Worker processes of the toy search, and what must hold when they are done."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import optuna
from optuna.trial import TrialState

from mxhw.passes.search.record import INDEX, OUTCOME, counts
from tests.passes.search.toy import toy_study

ROOT = Path(__file__).parents[3]


def start(where: str | Path, total: int, folder: Path, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.passes.search.toy", str(where), str(total), str(folder), *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )


@contextmanager
def ended(*processes: subprocess.Popen) -> Iterator[None]:
    """Leave no process behind, nor what it forked."""
    try:
        yield
    finally:
        for process in processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(condition: Callable[[], bool], *processes: subprocess.Popen, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        for process in processes:
            assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kill_hanging(folder: Path, index: int, process: subprocess.Popen) -> None:
    """Kill the worker that hangs in a trial."""
    marker = folder / f"hangs-{index}"
    wait_for(lambda: marker.exists() and marker.read_text() != "", process)
    os.kill(int(marker.read_text()), signal.SIGKILL)


def codes(process: subprocess.Popen) -> list[int]:
    """Wait for the workers, and return how each ended."""
    output, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    assert "Traceback" not in error, error
    return json.loads(output)


def finished_now(where: str | Path) -> dict[int, list[float]]:
    """Return the values of the trials that are complete, by number."""
    study = toy_study(where)
    return {t.number: t.values for t in study.get_trials(states=(TrialState.COMPLETE,))}


def check(where: str | Path, total: int, folder: Path, before: dict[int, list[float]]) -> optuna.Study:
    """Assert that nothing was lost, invented or counted twice."""
    study = toy_study(where)
    trials = study.get_trials(deepcopy=False)
    counted = [t for t in trials if counts(t)]
    assert len(counted) == total
    assert {t.number: t.values for t in counted}.items() >= before.items()
    assert {t.state for t in trials} <= {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}
    turns = [t.user_attrs[INDEX] for t in counted]
    assert len(set(turns)) == total
    nonces = [t.user_attrs[OUTCOME]["nonce"] for t in counted if t.state == TrialState.COMPLETE]
    evaluated = "".join(file.read_text() for file in folder.glob("outcomes-*")).split()
    assert len(set(nonces)) == len(nonces)
    assert set(nonces) <= set(evaluated)
    assert len(set(evaluated)) == len(evaluated)
    return study
