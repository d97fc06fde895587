"""What other programs see of the chosen design: attributes of the study, and notes in optuna-dashboard if it is here.

A finished trial cannot be changed, so the mark is the study's: user attributes ``mxhw_chosen`` (number and reason) and
``mxhw_front`` (numbers), which optuna-dashboard lists. Notes (Markdown) are its own, of the study and of the trial.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optuna

from mxhw.errors import InputError

__all__ = ["CHOSEN_TRIAL", "FRONT_TRIALS", "chosen_of", "mark_chosen"]

CHOSEN_TRIAL = "mxhw_chosen"  # user attribute of the study: {"number": int, "reason": str}
FRONT_TRIALS = "mxhw_front"  # user attribute of the study: numbers of the trials on the front


def mark_chosen(study: optuna.Study, number: int, reason: str = "", *, front: Sequence[int] = ()) -> None:
    """Mark a complete trial as the chosen design, and those of the front; an earlier mark is taken back.

    Parameters
    ----------
    number : int
        Optuna's number of the trial.
    reason : str
        The rule in words.
    front : sequence of int
        Optuna's numbers of the trials on the front.

    Raises
    ------
    InputError
        If a trial is absent or not complete.
    """
    trials = {trial.number: trial for trial in study.get_trials(deepcopy=False)}
    for each in (number, *front):
        if each not in trials or trials[each].state != optuna.trial.TrialState.COMPLETE:
            raise InputError(f"trial {each} is no complete trial of study {study.study_name!r}, so it cannot be chosen")
    before = chosen_of(study)
    study.set_user_attr(FRONT_TRIALS, sorted(front))
    study.set_user_attr(CHOSEN_TRIAL, {"number": number, "reason": reason})
    if before is not None and before[0] != number and before[0] in trials:
        _note(study, "", trials[before[0]])
    because = f": {reason}" if reason else ""
    _note(study, f"**Chosen design: trial {number}**{because}", None)
    _note(study, f"**★ Chosen design**{because}", trials[number])


def chosen_of(study: optuna.Study) -> tuple[int, str] | None:
    """Return number and reason of the trial that is marked as chosen, or None."""
    mark: Any = study.user_attrs.get(CHOSEN_TRIAL)
    return (int(mark["number"]), str(mark["reason"])) if isinstance(mark, dict) else None


def _note(study: optuna.Study, text: str, trial: optuna.trial.FrozenTrial | None) -> None:
    """Save a note of a trial, or of the study, where optuna-dashboard is installed and can open the study."""
    if isinstance(study._storage, optuna.storages.InMemoryStorage):
        return
    try:
        from optuna_dashboard import save_note
    except ImportError:
        return
    save_note(study if trial is None else optuna.Trial(study, trial._trial_id), text)
