"""`mxhw search` on a tiny model: what it writes, its trials again, several workers, other storages, bad input."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from mxhw.ir import Assignment
from mxhw.report.search import load_search_report
from tests.cli.conftest import Ran

Command = Callable[..., Ran]
pytestmark = pytest.mark.xdist_group("search")


@pytest.fixture(scope="module")
def found(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished search with a bound."""
    from mxhw.flow import load_config, prepare, run_search, write_config
    from mxhw.flow.search import write_results
    from mxhw.progress import SilentProgress

    out = tmp_path_factory.mktemp("search")
    settings = load_config(tiny_config)
    changed = {"trials": 14, "constraints": {"bits": 5.5}, "objectives": ("kl", "edp", "bits"), "rows": (1, 2)}
    settings = settings.model_copy(update={"search": settings.search.model_copy(update=changed)})
    write_config(settings, out / "settings.toml")
    prepared = prepare(settings, SilentProgress(), simulate=False)
    searched = run_search(prepared, out / "study.db")
    searched.result.choice.record.assignment.save(out / "assignment.json")
    write_results(prepared, searched, out)
    return out


def test_a_report_says_what_the_study_has(found: Path) -> None:
    report = load_search_report(found)
    study = optuna.load_study(study_name="mxhw", storage=f"sqlite:///{found / 'study.db'}")
    assert len(report.trials) == 14
    assert [objective.name for objective in report.objectives] == ["kl", "edp", "bits"]
    assert report.constraints["bits"].limit == 5.5
    for trial in report.trials:
        if trial.state == "complete":
            assert trial.figures["bits"] <= 5.5
            assert list(trial.values) == [trial.figures[name] for name in ("kl", "edp", "bits")]
    assert report.chosen.number in report.front
    assert Assignment.load(found / "assignment.json").formats == report.trial(report.chosen.number).formats
    assert list(report.hypervolume) == sorted(report.hypervolume)
    assert {trial.source for trial in report.trials} >= {"first designs", "guided", "tpe"}
    (sensitivity,) = report.sensitivity
    assert sensitivity.metric == "kl"
    assert 0.3 < sensitivity.spearman <= 1
    assert study.user_attrs["mxhw_versions"]["optuna"] == optuna.__version__
    assert sum(report.importance["bits"].values()) == pytest.approx(1)
    assert (found / "search.html").stat().st_size > 1e6
    assert (found / "hypervolume.svg").exists()


def test_any_trial_is_the_same_again(mxhw_command: Command, found: Path) -> None:
    report = load_search_report(found)
    numbers = [trial.number for trial in report.trials if trial.state != "infeasible"]
    for number in (numbers[0], numbers[-1], report.chosen.number):
        ran = mxhw_command("search", found / "settings.toml", "--out", found, "--replay", number, "--json")
        assert ran.code == 0, ran.err
        assert ran.json["different"] == []
        assert ran.json["again"] == pytest.approx(ran.json["stored"], rel=1e-9)


def test_a_trial_that_was_tampered_with_is_noticed(mxhw_command: Command, found: Path, tmp_path: Path) -> None:
    import sqlite3

    shutil.copy(found / "study.db", tmp_path / "study.db")
    number = load_search_report(found).chosen.number
    connection = sqlite3.connect(tmp_path / "study.db")
    rows = connection.execute("SELECT trial_user_attribute_id, value_json FROM trial_user_attributes WHERE key = ?",
                              ("mxhw_outcome",)).fetchall()  # fmt: skip
    for row, text in rows:
        outcome = json.loads(text)
        outcome["figures"]["kl"] *= 1.01
        connection.execute(
            "UPDATE trial_user_attributes SET value_json = ? WHERE trial_user_attribute_id = ?",
            (json.dumps(outcome), row),
        )
    connection.commit()
    connection.close()
    where = ("--storage", tmp_path / "study.db")
    ran = mxhw_command("search", found / "settings.toml", "--out", tmp_path, *where, "--replay", number, "--json")
    assert ran.code == 1
    assert ran.json["different"] == ["kl"]


def test_evaluate_of_the_chosen_design_says_what_the_study_says(
    mxhw_command: Command, found: Path, tiny_config: Path
) -> None:
    folder = tiny_config.parent
    words = ("--text", folder / "text.txt", "--context", 32, "--windows", 4, "--json")
    ran = mxhw_command("evaluate", folder / "model", "--assignment", found / "assignment.json", *words)
    assert ran.code == 0, ran.err
    report = load_search_report(found)
    figures = report.trial(report.chosen.number).figures
    scores = ran.json["scores"]["float emulation"]
    assert scores["kl"] == pytest.approx(figures["kl"], rel=1e-6)
    assert scores["perplexity"] == pytest.approx(figures["perplexity"], rel=1e-9)
    assert ran.json["bits"]["bits_per_weight"] == figures["bits"]


def test_the_chosen_design_can_be_emitted(
    mxhw_command: Command, found: Path, tiny_config: Path, tmp_path: Path
) -> None:
    model, text = tiny_config.parent / "model", tiny_config.parent / "text.txt"
    words = ("--assignment", found / "assignment.json", "--node", "lm_head", "--out", tmp_path / "rtl", "--tokens", 2)
    ran = mxhw_command("emit", model, "--text", text, "--calibration", text, *words)
    assert ran.code == 0, ran.err


@pytest.mark.parametrize("storage", ["study.db", "study.log"])
def test_two_processes_share_the_trials(mxhw_command: Command, tiny_config: Path, tmp_path: Path, storage: str) -> None:
    out = tmp_path / "out"
    words = ("--storage", tmp_path / storage, "--trials", 16, "--workers", 2, "--json")
    ran = mxhw_command("search", tiny_config, "--out", out, *words)
    assert ran.code == 0, ran.err
    assert ran.json["trials"] == 16
    numbers = [trial.number for trial in load_search_report(out).trials]
    assert len(set(numbers)) == 16
    assert (out / "workers" / "worker-1.log").exists()


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("objectives = ['kl', 'speed']", ("objective must be one of", "'speed'")),
        ("constraints = { aera = 1e5 }", ("'aera'", "did you mean 'area'")),
        ("constraints = { area = 10.0 }", ("constraint 'area' of 10", "cannot be met", "% too much")),
        ("strategy = 'genetic'", ("search.strategy = 'genetic'", "'hybrid'")),
        ("granularity = 'row'", ("search.granularity = 'row'", "'channels'")),
        ("objectives = ['accuracy:no_such_task', 'area']", ("no_such_task",)),
    ],
)
def test_bad_settings_are_one_line(
    mxhw_command: Command, tiny_config: Path, tmp_path: Path, lines: str, words: tuple[str, ...]
) -> None:
    text = tiny_config.read_text().replace("[search]\n", f"[search]\n{lines}\n")
    config = tiny_config.parent / f"bad-{abs(hash(lines))}.toml"
    config.write_text(text)
    ran = mxhw_command("search", config, "--out", tmp_path / "out")
    config.unlink()
    assert ran.code == 2
    line = ran.err.strip().splitlines()[-1]
    assert "Traceback" not in ran.err
    assert line.startswith("mxhw: error: ")
    for word in words:
        assert word in line
    assert not (tmp_path / "out" / "study.db").exists()


def test_a_trial_that_is_not_there_and_a_study_that_is_not_there(
    mxhw_command: Command, found: Path, tmp_path: Path
) -> None:
    ran = mxhw_command("search", found / "settings.toml", "--out", found, "--replay", 99)
    assert (ran.code, "no finished trial 99" in ran.err) == (2, True)
    ran = mxhw_command("search", found / "settings.toml", "--out", tmp_path, "--replay", 0)
    assert (ran.code, "does not exist" in ran.err) == (2, True)
    assert not (tmp_path / "study.db").exists()
    ran = mxhw_command("search", found / "settings.toml", "--out", found, "--trials", 15, "--study", "mxhw", "--join",
                       "--workers", 2)  # fmt: skip
    assert (ran.code, "--join is of one process" in ran.err) == (2, True)
