"""A journal file of Optuna that is never left with half a line, and whose errors are one line."""

import json
import os
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from mxhw.errors import InputError
from mxhw.passes.search.patience import StorageError, advice

__all__ = ["check_journal", "open_journal"]

_LOCK_SECONDS = 10  # a lock that is held longer belonged to a process that was killed


def open_journal(path: Path, label: str) -> BaseStorage:
    try:
        return JournalStorage(_Journal(path, label))
    except OSError as error:
        raise StorageError(f"{label} cannot be opened: {error.strerror}; give another path") from None
    except (ValueError, KeyError) as error:
        raise StorageError(f"{label} is a damaged journal: {error!s:.200}; give another file") from None


def check_journal(path: Path) -> None:
    with path.open("rb") as file:
        line = file.readline(1 << 20)
    try:
        known = "op_code" in json.loads(line)
    except (ValueError, TypeError):
        known = False
    if not known:
        raise InputError(f"study file {path} is not a journal of a study; give another file")


class _Journal(JournalFileBackend):  # type: ignore[misc]
    """A journal file that is never left with half a line, and whose errors are one line."""

    def __init__(self, path: Path, label: str) -> None:
        self._path, self._label = path, label
        super().__init__(str(path), JournalFileSymlinkLock(str(path), grace_period=_LOCK_SECONDS))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append whole lines or nothing."""
        data = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        self._lock.acquire()
        try:
            with self._path.open("r+b", buffering=0) as file:
                end = _end_of_whole_lines(file)
                file.truncate(end)
                file.seek(end)
                try:
                    written = file.write(data)
                    if written != len(data):  # a full disk takes what still fits
                        file.write(data[written:])
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(end)
                    raise
        except OSError as error:
            raise StorageError(
                f"{self._label} cannot be written: {error.strerror}; {advice(error.strerror or '')}"
            ) from None
        finally:
            self._lock.release()


def _end_of_whole_lines(file: Any) -> int:
    """Return the offset after the last newline."""
    end = int(file.seek(0, os.SEEK_END))
    while end:
        start = max(end - 65536, 0)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + int(found) + 1
        end = start
    return 0
