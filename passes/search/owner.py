"""Who runs a trial: enough of a process to tell on its own machine, without waiting, that it has died.

A process id alone is used again; with the time that the process started at, the boot of its machine and its namespace
of ids it is unique. Of a process on another machine, or in another container, nothing is known here but its signs of
life (:mod:`.signs`).
"""

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

__all__ = ["Owner", "has_died", "owning"]

Owner = Mapping[str, Any]
_live: set[str] = set()  # the runs of this process that have not ended


@contextmanager
def owning() -> Iterator[Owner]:
    """Yield an owner for trials of this process, alive until the block ends."""
    run = uuid4().hex
    _live.add(run)
    try:
        yield {**_place(), "pid": os.getpid(), "started": _started(os.getpid()), "run": run}
    finally:
        _live.discard(run)


def has_died(owner: Owner) -> bool | None:
    """Return whether an owner has ended; None if that cannot be seen from here."""
    if any(owner.get(key) != value for key, value in _place().items()):
        return None
    if owner["pid"] == os.getpid() and owner["started"] == _started(os.getpid()):
        return owner["run"] not in _live
    return owner["started"] is None or _started(owner["pid"]) != owner["started"]


@cache
def _place() -> dict[str, str | None]:
    """Return what processes share that see each other's ids."""
    return {
        "host": socket.gethostname(),
        "boot": _read(Path("/proc/sys/kernel/random/boot_id")),
        "namespace": _link(Path("/proc/self/ns/pid")),
    }


def _started(pid: int) -> int | str | None:
    """Return when a process started, in ticks of its machine; None if there is none, or only its remains."""
    text = _read(Path(f"/proc/{pid}/stat"))
    if text is None:
        return None if Path("/proc/self/stat").exists() else _started_elsewhere(pid)
    fields = text.rpartition(")")[2].split()  # the name before may hold spaces
    return None if fields[0] in "ZX" else int(fields[19])


def _started_elsewhere(pid: int) -> str | None:
    """Return that a process is there, on a system that does not say since when."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "unknown"


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _link(path: Path) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None
