"""A study: made by exactly one process, joined by others, refused if it is of another problem.

A study belongs to one problem. Its fingerprint (model, weights, text, space, what its formats do, platform,
objectives, strategy) is stored with it, and a study of another problem is refused with what differs.

Which process makes it is the storage's decision (the name of a study is unique). That one stores the fingerprint and
the first designs and marks the study ready; the others wait for the mark. If the maker dies before, one that waits
takes over: it writes itself down as maker, and goes on if after a pause it still stands there.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import DuplicatedStudyError

from mxhw.errors import InputError
from mxhw.passes.search.owner import Owner, has_died, owning
from mxhw.passes.search.place import place_of
from mxhw.passes.search.record import SEEDS
from mxhw.passes.search.signs import Signs, Watch
from mxhw.passes.search.storage import GRACE, HEARTBEAT, check_study_file, open_storage, release_storage
from mxhw.progress import Progress, SilentProgress

__all__ = [
    "FINGERPRINT",
    "STUDY_NAME",
    "check_study_file",
    "load_study",
    "open_study",
]

STUDY_NAME = "mxhw"
FINGERPRINT = "mxhw_fingerprint"
READY = "mxhw_ready"  # user attributes of a study
MAKER = "mxhw_maker"
MAKER_SIGN = "mxhw_maker_sign"
_UNOWNED_SECONDS = 5.0  # between making a study and writing down who does lie milliseconds
_TAKEOVER_SECONDS = 1.0
_POLL = 0.5

Begin = Callable[[optuna.Study], Sequence[Mapping[str, Any]]]


def open_study(
    where: str | Path | None,
    fingerprint: Mapping[str, Any],
    *,
    directions: Sequence[str] = ("minimize", "minimize"),
    begin: Begin | None = None,
    name: str = STUDY_NAME,
    progress: Progress | None = None,
    heartbeat: int = HEARTBEAT,
    grace: int = GRACE,
) -> optuna.Study:
    """Return the study at a place, made if it is absent, ready for trials.

    Parameters
    ----------
    where : Path, str or None
        See :func:`.storage.open_storage`.
    fingerprint : mapping
        JSON: everything that the study's numbers depend on.
    directions : sequence of "minimize" or "maximize"
        One for each objective.
    begin : callable, optional
        Called with the study by the one process that makes it; returns parameters of the designs to try first, and may
        store what all workers need as user attributes. It may take minutes.
    name : str
        Of the study in its storage.
    progress : Progress, optional
        Says what is waited for.
    heartbeat, grace : seconds
        See :func:`.storage.open_storage`.

    Raises
    ------
    InputError
        If the storage cannot be opened, is another program's, or has the study of another problem under this name.
    """
    place = place_of(where)
    label = place.label if place.path is not None else f"study {name!r} in {place.label}"
    fingerprint = json.loads(json.dumps(fingerprint))
    shown = progress or SilentProgress()
    storage = open_storage(where, progress=shown, heartbeat=heartbeat, grace=grace)
    with owning() as me:
        study, made = _make_or_load(storage, name, directions, label)
        try:
            if made:
                study.set_user_attr(MAKER, me)
            while not _is_ready(study, fingerprint, len(directions), label):
                if not made:
                    _await(study, me, fingerprint, label, shown, grace)
                    if READY in study.user_attrs:
                        continue
                _prepare(study, me, fingerprint, begin, heartbeat)
                made = False
        except BaseException:
            with suppress(Exception):
                release_storage(study)  # leaves nothing beside the file
            raise
    return study


def load_study(where: str | Path, name: str = STUDY_NAME) -> optuna.Study:
    """Return the study of a place as it is, to be read.

    Raises
    ------
    InputError
        If there is none.
    """
    place = place_of(where)
    if place.path is not None and not place.path.exists():
        raise InputError(f"{place.label} does not exist; make it with `mxhw search`")
    storage = open_storage(where)
    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        known = ", ".join(repr(each) for each in optuna.get_all_study_names(storage)) or "none"
        raise InputError(f"{place.label} has no study {name!r}; it has {known}") from None


def _make_or_load(storage: Any, name: str, directions: Sequence[str], label: str) -> tuple[optuna.Study, bool]:
    try:
        return optuna.create_study(study_name=name, storage=storage, directions=list(directions)), True
    except DuplicatedStudyError:
        pass
    try:
        return optuna.load_study(study_name=name, storage=storage), False
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{label} cannot be opened by Optuna: {reason:.200}; give another file") from error


def _is_ready(study: optuna.Study, fingerprint: Mapping[str, Any], objectives: int, label: str) -> bool:
    """Return whether trials may begin; raise an InputError if the study is not of this problem."""
    trials = study.get_trials(deepcopy=False)  # before the fingerprint: the maker writes that first
    attributes = study.user_attrs
    stored = attributes.get(FINGERPRINT)
    if stored is None:
        if trials:
            raise InputError(f"{label} has trials of another program; give another file or name")
        return False
    if stored != fingerprint:
        raise InputError(f"{label} is of another search: {_difference(stored, fingerprint)}; give another file or name")
    if len(study.directions) != objectives:
        raise InputError(f"{label} has {len(study.directions)} objectives, this search {objectives}; give another file")
    return READY in attributes


def _prepare(
    study: optuna.Study, me: Owner, fingerprint: Mapping[str, Any], begin: Begin | None, heartbeat: float
) -> None:
    """Store what the study begins with; what a maker that died had stored stays."""
    study.set_user_attr(FINGERPRINT, fingerprint)
    with Signs(lambda count: study.set_user_attr(MAKER_SIGN, count), heartbeat):
        if begin is not None and SEEDS not in study.user_attrs:
            study.set_user_attr(SEEDS, [dict(design) for design in begin(study)])
    study.set_user_attr(READY, me["run"])


def _await(
    study: optuna.Study, me: Owner, fingerprint: Mapping[str, Any], label: str, progress: Progress, grace: float
) -> None:
    """Return when the study is ready, or when this process has become its maker because the other died."""
    watch = Watch()
    with progress.task("wait for study", 1) as task:
        task.note("another process prepares it")
        while not _is_ready(study, fingerprint, len(study.directions), label):
            attributes = study.user_attrs
            maker = attributes.get(MAKER)
            look = json.dumps([maker, attributes.get(MAKER_SIGN)])
            patience = grace if maker else _UNOWNED_SECONDS
            if (maker and has_died(maker)) or watch.unchanged("maker", look) > patience:
                task.note("that process has died; taking over")
                study.set_user_attr(MAKER, me)
                time.sleep(_TAKEOVER_SECONDS)
                if study.user_attrs.get(MAKER) == me:
                    return
            time.sleep(_POLL)
        task.advance()


def _difference(stored: Any, given: Mapping[str, Any]) -> str:
    """Name the entries that differ, with both values."""
    if not isinstance(stored, dict):
        return "it has no readable fingerprint"
    keys = [key for key in {**stored, **given} if stored.get(key) != given.get(key)]
    return "; ".join(f"{key} was {stored.get(key)!r:.120} and is {given.get(key)!r:.120}" for key in sorted(keys))
