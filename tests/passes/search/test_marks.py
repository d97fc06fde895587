"""The mark of the chosen design: of complete trials only, replaced by the next one, with notes where there are any."""

import sys
from pathlib import Path

import optuna
import pytest

from mxhw.errors import InputError
from mxhw.passes.search.marks import CHOSEN_TRIAL, FRONT_TRIALS, chosen_of, mark_chosen


def new_study(storage: str | None) -> optuna.Study:
    """Return a study of three complete trials and a failed one."""
    study = optuna.create_study(study_name="mxhw", storage=storage, directions=["minimize", "minimize"])
    for number in range(4):
        trial = study.ask()
        x = trial.suggest_float("x", 0, 1)
        if number == 3:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, [x, 1 - x])
    return study


@pytest.fixture
def without_dashboard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)  # an import that fails


@pytest.mark.usefixtures("without_dashboard")
def test_the_mark_is_of_complete_trials_and_another_takes_its_place(tmp_path: Path) -> None:
    study = new_study(f"sqlite:///{tmp_path / 'study.db'}")
    assert chosen_of(study) is None
    mark_chosen(study, 1, "least edp", front=[2, 0, 1])
    again = optuna.load_study(study_name="mxhw", storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert chosen_of(again) == (1, "least edp")
    assert again.user_attrs[CHOSEN_TRIAL] == {"number": 1, "reason": "least edp"}
    assert again.user_attrs[FRONT_TRIALS] == [0, 1, 2]
    for wrong, front in ((3, []), (9, []), (0, [3])):
        with pytest.raises(InputError, match="is no complete trial of study 'mxhw'"):
            mark_chosen(study, wrong, front=front)
        assert chosen_of(study) == (1, "least edp")
    mark_chosen(study, 2)
    assert chosen_of(study) == (2, "") and study.user_attrs[FRONT_TRIALS] == []


@pytest.mark.slow
def test_the_notes_follow_the_mark(tmp_path: Path) -> None:
    dashboard = pytest.importorskip("optuna_dashboard", reason="needs the extra `dashboard`")
    study = new_study(f"sqlite:///{tmp_path / 'study.db'}")

    def notes() -> list[str]:
        trials = [optuna.Trial(study, trial._trial_id) for trial in study.trials]
        return [dashboard.get_note(each) for each in (study, *trials)]

    assert notes() == [""] * 5
    mark_chosen(study, 0, "least edp")
    assert notes() == ["**Chosen design: trial 0**: least edp", "**★ Chosen design**: least edp", "", "", ""]
    mark_chosen(study, 2)
    assert notes() == ["**Chosen design: trial 2**", "", "", "**★ Chosen design**", ""]
    mark_chosen(study, 2, "least area")
    assert notes()[3] == "**★ Chosen design**: least area"


@pytest.mark.usefixtures("without_dashboard")
def test_a_study_in_memory_has_the_mark() -> None:
    study = new_study(None)
    mark_chosen(study, 1, "why")
    assert chosen_of(study) == (1, "why")
