"""optuna-dashboard on a study of ours, in headless Chromium: it lists the study, its front, and the chosen design."""

import json
import socket
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import optuna
import pytest

from mxhw.passes.search.marks import mark_chosen
from mxhw.passes.search.record import INDEX, INFEASIBLE, OUTCOME, STOPPED
from tests.report.search.browser import Browser, needs_chromium, serving

pytestmark = [
    needs_chromium,
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("optuna_dashboard") is None, reason="needs the extra `dashboard`"),
]
START = "import sys; from optuna_dashboard._cli import main; sys.argv[0] = 'optuna-dashboard'; main()"
NAME = "mxhw-demo"
REASON = "least edp of 3 designs with perplexity up to 2.64"
TEXT = "document.body.innerText"


def new_study(path: Path) -> tuple[optuna.Study, str]:
    """Return a study with trials of every state as searches write them, and its address."""
    address = f"sqlite:///{path}"
    study = optuna.create_study(study_name=NAME, storage=address, directions=["minimize", "minimize"])
    for index in range(12):
        trial = study.ask()
        rows = trial.suggest_categorical("rows", [4, 8, 16])
        trial.suggest_categorical("bitmod/model.layers.0.mlp:weight", ["bitmod3", "bitmod4"])
        trial.set_user_attr(INDEX, index)
        if index % 4 == 3:
            trial.set_user_attr(INFEASIBLE, "the design needs 1,006,840 um2 of 1,000,000")
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        elif index == 10:
            trial.set_user_attr(STOPPED, [0.5, 4.0])
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            trial.set_user_attr(OUTCOME, {"quality": {"perplexity": 2.6}, "assignment": {"formats": {}}})
            study.tell(trial, [((index * 5) % 7) / 10, 20.0 - index + rows / 100])
    return study, address


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path / "profile") as opened:
        yield opened


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def test_the_dashboard_shows_the_study_its_front_and_the_chosen_design(browser: Browser, tmp_path: Path) -> None:
    study, address = new_study(tmp_path / "study.db")
    front = sorted(trial.number for trial in study.best_trials)
    assert 1 < len(front) < 8
    chosen = front[1]
    site = f"http://127.0.0.1:{(port := free_port())}/dashboard"
    command = [sys.executable, "-c", START, address, "--port", str(port), "--server", "wsgiref"]
    with serving(command, "Listening on"):
        browser.open(f"{site}/")
        browser.wait(f"{TEXT}.includes({json.dumps(NAME)})")
        browser.wait("[...document.querySelectorAll('a')].some(link => link.href.endsWith('/dashboard/studies/1'))")

        def trials_page(number: int) -> str:
            browser.open(f"{site}/studies/1/trials?numbers={number}")
            browser.wait(f"{TEXT}.includes('Trial {number} (trial_id=')")
            return str(browser.value(TEXT))

        assert best_trials(trials_page(chosen)) == front
        assert "Chosen design" not in browser.value(TEXT)  # negative control: nothing is marked yet

        mark_chosen(study, front[0], "an earlier choice", front=front)
        mark_chosen(study, chosen, REASON, front=front)
        trials_page(chosen)
        browser.wait(f"{TEXT}.includes('★ Chosen design') && {TEXT}.includes({json.dumps(REASON)})")
        assert best_trials(browser.value(TEXT)) == front
        assert "Chosen design" not in trials_page(front[0])
        browser.open(f"{site}/studies/1/note")
        browser.wait(f"{TEXT}.includes('Chosen design: trial {chosen}') && {TEXT}.includes({json.dumps(REASON)})")
        browser.open(f"{site}/studies/1")
        browser.wait(f"{TEXT}.includes('mxhw_chosen') && {TEXT}.includes('mxhw_front')")
    assert study.user_attrs["mxhw_chosen"] == {"number": chosen, "reason": REASON}


def best_trials(text: str) -> list[int]:
    """Return the trials that the list at the left calls best: "Trial 3", its state, "Best Trial" in three lines."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    names = [line.split() for line in lines]
    found = {
        int(names[i - 2][1])
        for i, line in enumerate(lines)
        if line == "Best Trial" and len(names[i - 2]) == 2 and names[i - 2][0] == "Trial"
    }
    return sorted(found)
