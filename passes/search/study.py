"""The study file: an SQLite database of Optuna that holds every finished trial, checked before it is continued.

A study belongs to one problem. Its fingerprint (model, weights, text, space, what its formats do, platform, objective,
sampler) is stored with it, and a file of another problem is refused with what differs. Trials that a killed process
left running are marked as failed; finished ones are kept.
"""

import json
import sqlite3
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from optuna.trial import TrialState
from torch import Tensor

from mxhw.errors import InputError
from mxhw.formats import parse_format
from mxhw.ir import Graph

__all__ = [
    "FINGERPRINT",
    "STUDY_NAME",
    "check_study_file",
    "fingerprint_of_format",
    "fingerprint_of_graph",
    "fingerprint_of_tensor",
    "open_study",
]

STUDY_NAME = "mxhw"
FINGERPRINT = "mxhw_fingerprint"
_DRAWS = 1 << 13
_MULTIPLIER = 1103515245  # a linear congruential generator's, modulo 2^31
_SQLITE_HEADER = b"SQLite format 3\x00"


def open_study(path: Path | None, fingerprint: Mapping[str, Any]) -> optuna.Study:
    """Return the study in a file, made if it is absent; without a path one that lives in memory.

    Raises
    ------
    InputError
        If the file is not SQLite, is another program's, or is the study of another problem.
    """
    if path is not None:
        check_study_file(path)
    fingerprint = json.loads(json.dumps(fingerprint))
    try:
        study = optuna.create_study(
            study_name=STUDY_NAME, storage=_storage(path), directions=["minimize", "minimize"], load_if_exists=True
        )
        stored = study.user_attrs.get(FINGERPRINT)
        if stored is None and study.trials:
            raise InputError(f"study file {path} has trials of another program; give another file")
    except InputError:
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"study file {path} cannot be opened by Optuna: {reason:.200}; give another file") from error
    if stored is None:
        study.set_user_attr(FINGERPRINT, fingerprint)
    elif stored != fingerprint:
        raise InputError(
            f"study file {path} is of another search: {_difference(stored, fingerprint)}; give another file"
        )
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    return study


def fingerprint_of_tensor(tensor: Tensor) -> str:
    """Return a short digest of a tensor's values, type and shape."""
    digest = sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    digest.update(tensor.detach().contiguous().cpu().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def fingerprint_of_format(name: str) -> str:
    """Return a short digest of what a format rounds numbers of many magnitudes to, and of the bits that they cost.

    A format of a user's own may change under its name; trials with the old rule are not trials with the new one.
    """
    fmt = parse_format(name)
    draws = (torch.arange(_DRAWS, dtype=torch.int64) * _MULTIPLIER + 1) % (1 << 31)  # no generator's stream to rely on
    x = ((draws >> 7) - (1 << 23)).float() * torch.exp2(-(draws % 12).float())
    rounded = fmt.fake_quantize(x.reshape(-1, _DRAWS // 8))
    return sha256(f"{fingerprint_of_tensor(rounded)} {fmt.bits(rounded.shape)}".encode()).hexdigest()[:16]


def fingerprint_of_graph(graph: Graph) -> str:
    """Return a short digest of the names and weights of the nodes that can be quantized."""
    digest = sha256()
    weighted = {info.name for info in graph.weighted}
    for info in graph.nodes.values():
        if info.sites:
            digest.update(info.name.encode())
        if info.name in weighted:
            digest.update(fingerprint_of_tensor(graph.weight(info.name)).encode())
    return digest.hexdigest()[:16]


def _storage(path: Path | None) -> BaseStorage:
    if path is None:
        return InMemoryStorage()
    path.parent.mkdir(parents=True, exist_ok=True)
    return RDBStorage(f"sqlite:///{path.resolve()}")


def check_study_file(path: Path) -> None:
    """Raise an InputError for a file that Optuna would crash on or, worse, add its tables to."""
    if path.is_dir():
        raise InputError(f"study file {path} is a folder; give the path of a file")
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("rb") as file:
        if file.read(len(_SQLITE_HEADER)) != _SQLITE_HEADER:
            raise InputError(f"study file {path} is not an SQLite database; give another file")
    connection = sqlite3.connect(f"file:{path.resolve()}?mode=ro", uri=True)
    try:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.DatabaseError as error:
        raise InputError(f"study file {path} is a damaged SQLite database: {error}; give another file") from None
    finally:
        connection.close()
    if tables and "studies" not in tables:
        raise InputError(f"study file {path} is an SQLite database of another program; give another file")


def _difference(stored: Any, given: Mapping[str, Any]) -> str:
    """Name the entries that differ, with both values."""
    if not isinstance(stored, dict):
        return "it has no readable fingerprint"
    keys = [key for key in {**stored, **given} if stored.get(key) != given.get(key)]
    return "; ".join(f"{key} was {stored.get(key)!r:.120} and is {given.get(key)!r:.120}" for key in sorted(keys))
