"""Operations of a database, repeated while it is away; what repetition cannot mend is one line without passwords."""

import sqlite3
import time
from collections.abc import Callable
from random import SystemRandom
from typing import Literal, TypeVar

from optuna.exceptions import StorageInternalError

from mxhw.errors import InputError
from mxhw.passes.search.place import Place, secrets_of

__all__ = ["Patience", "StorageError", "advice"]

_PAUSES = (0.25, 15.0)  # seconds: the first pause between two tries, and the longest
_HOPELESS = ("authentication failed", "no password supplied", "no pg_hba.conf entry", "does not exist")
_RETURNING = ("08", "40", "53300", "55P03", "57P")  # SQLSTATE: connection, deadlock, connections, lock, shutdown
_RACING = ("23505", "42P07", "42710", "42P06")  # SQLSTATE: two processes made the same table
_random = SystemRandom()  # pauses of workers must differ, and must not touch a seeded generator
T = TypeVar("T")


class StorageError(InputError):
    """A storage that cannot be opened, read or written; what was finished before is kept."""


class Patience:
    """Repeats an operation of a database while it is away, with pauses that grow, and names what cannot be mended.

    Attributes
    ----------
    seconds : float
        After which it gives up.
    say : callable
        Told in a few words what is waited for.
    """

    def __init__(self, place: Place, seconds: float, *, opening: bool = False) -> None:
        self.place, self.seconds, self.opening = place, seconds, opening
        self.say: Callable[[str], None] = lambda text: None

    def __call__(self, operation: Callable[[], T]) -> T:
        """Return what the operation returns.

        Raises
        ------
        StorageError
            If the storage stays away, or the operation cannot succeed.
        """
        started, pause = time.monotonic(), _PAUSES[0]
        while True:
            try:
                return operation()
            except Exception as error:
                fate = _fate(error, self.opening)
                if fate == "other":
                    raise
                reason = self._reason(error)
                away = time.monotonic() - started
                if fate == "hopeless":
                    verb = "opened" if self.opening else "used"
                    raise StorageError(f"{self.place.label} cannot be {verb}: {reason}; {advice(reason)}") from None
                if away >= self.seconds:
                    raise StorageError(
                        f"{self.place.label} could not be reached for {away:.0f} s: {reason}; "
                        "start it, or check the address, and run the same command again"
                    ) from None
            pause = min(pause, max(self.seconds - away, 0.01))
            self.say(f"storage is away ({reason}); next try in {pause:.1f} s")
            time.sleep(pause * _random.uniform(0.5, 1))
            pause = min(2 * pause, _PAUSES[1])

    def _reason(self, error: BaseException) -> str:
        """Return the database's own words, on one line and without the password."""
        database = _database_error(error)
        text = " ".join(str(getattr(database, "orig", None) or database or error).split())
        for secret in secrets_of(self.place.url):
            text = text.replace(secret, "***")
        return f"{text or type(error).__name__:.240}".rstrip(".")


def _database_error(error: BaseException) -> BaseException | None:
    """Return the error of SQLAlchemy behind one that Optuna raised."""
    from sqlalchemy.exc import SQLAlchemyError

    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, SQLAlchemyError):
        seen = seen.__cause__ if isinstance(seen, StorageInternalError) else None
    return seen


def _fate(error: Exception, opening: bool) -> Literal["again", "hopeless", "other"]:
    """Say whether repeating may help ("again"), cannot ("hopeless"), or the fault is not the storage's ("other")."""
    from sqlalchemy import exc

    if opening and isinstance(error, RuntimeError) and "no longer compatible" in str(error):
        return "hopeless"  # tables of another version of Optuna
    database = _database_error(error)
    if database is None:
        return "other"
    cause = getattr(database, "orig", None) or database  # the driver's error, without the statement and its values
    text, state = str(cause).lower(), getattr(cause, "sqlstate", None) or ""
    if isinstance(database, exc.TimeoutError | exc.PendingRollbackError) or getattr(
        database, "connection_invalidated", False
    ):
        return "again"
    if opening and (state in _RACING or "already exists" in text or isinstance(database, exc.IntegrityError)):
        return "again"
    if state.startswith(_RETURNING):
        return "again"
    damaged = type(cause) is sqlite3.DatabaseError
    if not damaged and not isinstance(database, exc.OperationalError | exc.InterfaceError | exc.InternalError):
        return "hopeless" if opening else "other"
    if isinstance(cause, sqlite3.Error):
        return "again" if "locked" in text or "busy" in text else "hopeless"
    return "hopeless" if state or any(words in text for words in _HOPELESS) else "again"


def advice(reason: str) -> str:
    """Return what to do about a storage that fails for a reason."""
    if any(words in reason.lower() for words in ("full", "space", "too large", "quota", "disk i/o")):
        return "make room and run the same command again; what was finished is kept"
    if any(words in reason for words in _HOPELESS):
        return "correct the storage's user, password or database"
    return "give another storage"
