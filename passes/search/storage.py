"""Where a study lives: in memory, an SQLite file, a journal file, or a PostgreSQL server; opened with care.

The storage is all that workers share. What each kind is for:

* SQLite file: workers of one machine. Every transaction begins with the write lock (``BEGIN IMMEDIATE``): Optuna reads
  a trial's state and then writes it, and without the lock two processes can both find it running and overwrite each
  other. The write-ahead log makes a parameter cost 1 ms rather than 3; a killed process loses nothing by it, a power
  cut at most the last commits.
* Journal file: likewise, and the one to take on a network file system. A line that a killed process or a full disk
  left half written is cut off before the next one is appended.
* PostgreSQL: workers of many machines (extra `distributed`).

Operations are repeated with growing pauses while a server is away or a file is locked; what repetition cannot mend (a
full disk, a refused password) is one line. Passwords are never part of a message.
"""

import sqlite3
from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage

from mxhw.errors import InputError, require_extra
from mxhw.passes.search.journal import check_journal, open_journal
from mxhw.passes.search.patience import Patience, StorageError
from mxhw.passes.search.place import Place, place_of
from mxhw.progress import Progress, SilentProgress, Task

__all__ = [
    "GRACE",
    "HEARTBEAT",
    "StorageError",
    "check_study_file",
    "database_of",
    "open_storage",
    "release_storage",
]

HEARTBEAT = 30  # seconds between signs of life of a running trial
GRACE = 120  # seconds without one after which a trial is taken for dead
_OPEN_SECONDS = 30.0
_OUTAGE_SECONDS = 600.0  # a server's restart, or its move to another machine
_BUSY_SECONDS = 60.0  # SQLite waits so long for another process's lock
_SQLITE_HEADER = b"SQLite format 3\x00"
_OPERATIONS = (  # what workers call of a storage; `_…`: what Optuna's cache calls
    "create_new_study",
    "set_study_user_attr",
    "set_study_system_attr",
    "get_study_id_from_name",
    "get_study_name_from_id",
    "get_study_directions",
    "get_study_user_attrs",
    "get_study_system_attrs",
    "get_all_studies",
    "_create_new_trial",
    "_set_trial_param",
    "get_trial_id_from_study_id_trial_number",
    "set_trial_state_values",
    "set_trial_intermediate_value",
    "set_trial_user_attr",
    "set_trial_system_attr",
    "get_trial",
    "_get_trials",
    "record_heartbeat",
    "_get_stale_trial_ids",
)


def open_storage(
    where: str | Path | None,
    *,
    progress: Progress | None = None,
    patience: float = _OPEN_SECONDS,
    outage: float = _OUTAGE_SECONDS,
    heartbeat: int = HEARTBEAT,
    grace: int = GRACE,
) -> BaseStorage:
    """Return the storage at a place, made if it is absent.

    Parameters
    ----------
    where : Path, str or None
        None: memory. A path: an SQLite file, or with suffix .log or .journal, or `journal:` before it, a journal file.
        Or ``sqlite:///PATH``, ``postgresql://USER@HOST/DATABASE`` (libpq's variables, for instance PGPASSWORD, hold).
    progress : Progress, optional
        Says what is waited for.
    patience : seconds
        How long opening is tried.
    outage : seconds
        How long an operation is repeated while the storage is away.
    heartbeat, grace : seconds
        Between signs of life of a running trial; without one after which it is taken for dead.

    Raises
    ------
    InputError
        If there is no such storage, it cannot be reached, or it is another program's file.
    """
    place = place_of(where)
    if place.kind == "memory":
        return InMemoryStorage()
    if place.path is not None:
        check_study_file(place.path, place.kind)
        try:
            place.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{place.label} cannot be made: {error.strerror}; give another path") from None
    if place.kind == "journal":
        assert place.path is not None
        return open_journal(place.path, place.label)
    if place.kind == "postgresql":
        require_extra("psycopg", "distributed", "a PostgreSQL storage")
    opening = Patience(place, patience, opening=True)
    with ExitStack() as shown:
        tasks: list[Task] = []

        def say(text: str) -> None:
            if not tasks:  # nothing is shown of a storage that opens at once
                tasks.append(shown.enter_context((progress or SilentProgress()).task("open storage", 1)))
            tasks[0].note(text)

        opening.say = say
        storage = opening(lambda: _open_database(place, heartbeat, grace))
        for task in tasks:
            task.advance()
            task.note("")
    storage.patience.seconds = outage
    return storage


def database_of(study: optuna.Study) -> Any:
    """Return a study's own storage, without the cache that Optuna wraps around a database."""
    return getattr(study._storage, "_backend", None) if _is_database(study) else study._storage


def release_storage(study: optuna.Study) -> None:
    """Close the connections of a database: SQLite then leaves one file that can be copied. It opens again when used."""
    if _is_database(study):
        database_of(study).engine.dispose()


def check_study_file(path: Path, kind: str | None = None) -> None:
    """Raise an InputError for a file that Optuna would crash on or, worse, add its tables to."""
    if path.is_dir():
        raise InputError(f"study file {path} is a folder; give the path of a file")
    if not path.exists() or path.stat().st_size == 0:
        return
    if (kind or place_of(path).kind) == "journal":
        check_journal(path)
        return
    with path.open("rb") as file:
        if file.read(len(_SQLITE_HEADER)) != _SQLITE_HEADER:
            raise InputError(f"study file {path} is not an SQLite database; give another file")
    connection = sqlite3.connect(f"file:{path.resolve()}?mode=ro", uri=True, timeout=_BUSY_SECONDS)
    try:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.DatabaseError as error:
        raise InputError(f"study file {path} is a damaged SQLite database: {error}; give another file") from None
    finally:
        connection.close()
    if tables and not tables & {"studies", "version_info", "study_directions"}:
        raise InputError(f"study file {path} is an SQLite database of another program; give another file")


class _Database(RDBStorage):  # type: ignore[misc]
    """A database of Optuna whose operations are patient."""

    def __init__(self, place: Place, **settings: Any) -> None:
        self.patience = Patience(place, _OUTAGE_SECONDS)
        super().__init__(place.url.replace("{", "{{").replace("}", "}}"), **settings)


def _patiently(name: str) -> Callable[..., Any]:
    method = getattr(RDBStorage, name)

    @wraps(method)
    def call(self: _Database, *arguments: Any, **named: Any) -> Any:
        return self.patience(lambda: method(self, *arguments, **named))

    return call


for _name in _OPERATIONS:
    setattr(_Database, _name, _patiently(_name))


def _open_database(place: Place, heartbeat: int, grace: int) -> _Database:
    with catch_warnings():
        simplefilter("ignore", ExperimentalWarning)  # heartbeats
        storage = _Database(place, engine_kwargs=_engine(place), heartbeat_interval=heartbeat, grace_period=grace)
    if place.kind == "sqlite":
        _lock_first(storage.engine)
    return storage


def _engine(place: Place) -> dict[str, Any]:
    if place.kind == "sqlite":
        return {"connect_args": {"timeout": _BUSY_SECONDS}}
    return {
        "pool_pre_ping": True,  # a connection that a restart cut is replaced unseen
        "pool_size": 2,  # trials, and their signs of life
        "connect_args": {
            "connect_timeout": 10,
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": 60_000,  # milliseconds: a machine that vanished
            "application_name": "mxhw",
        },
    }


def _lock_first(engine: Any) -> None:
    """Let every transaction of an SQLite engine begin with the write lock, and write ahead."""
    from sqlalchemy import event

    def connect(connection: sqlite3.Connection, record: object) -> None:
        connection.isolation_level = None  # the module would begin only before a write, after Optuna's reads
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")

    event.listen(engine, "connect", connect)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    engine.dispose()  # connections from before know nothing of this


def _is_database(study: optuna.Study) -> bool:
    return isinstance(getattr(study._storage, "_backend", None), RDBStorage)
