"""Signs of life: a number that a running process counts up, and a watch that notices when it no longer does.

The watch compares what it saw with its own clock, so clocks of different machines are never compared.
"""

import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from threading import Event, Thread
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError

__all__ = ["Signs", "Watch"]

_JOIN_SECONDS = 5.0


class Signs:
    """Calls `give` with 0, 1, 2 … every `interval` seconds from a thread, while the block runs.

    An error of the storage is no reason to stop: the next sign is tried. A trial that another process has taken for
    dead is one.
    """

    def __init__(self, give: Callable[[int], None], interval: float) -> None:
        self._give, self._interval, self._ended = give, interval, Event()
        self._thread = Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Signs":
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._ended.set()
        self._thread.join(_JOIN_SECONDS)  # not longer: the thread may wait for a server that is away

    def _run(self) -> None:
        count = 0
        while not self._ended.is_set():
            try:
                self._give(count)
            except (UpdateFinishedTrialError, KeyError):
                return
            except Exception:
                with suppress(Exception):
                    self._ended.wait(self._interval)
                continue
            count += 1
            self._ended.wait(self._interval)


class Watch:
    """Remembers since when each thing has looked the same."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, tuple[Hashable, float]] = {}

    def unchanged(self, key: Hashable, look: Hashable) -> float:
        """Return for how many seconds `key` has looked like `look`."""
        now = time.monotonic()
        last, since = self._seen.get(key, (None, now))
        if key not in self._seen or last != look:
            self._seen[key] = (look, since := now)
        return now - since
