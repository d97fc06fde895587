"""How long work tells how far it is, without printing: passes call a :class:`Progress`, the command line shows it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

__all__ = ["Progress", "SilentProgress", "Task"]


class Task(Protocol):
    """One bar: call :meth:`advance` as steps finish."""

    def advance(self, steps: float = 1) -> None:
        """Count ``steps`` more of the total as done."""

    def note(self, text: str) -> None:
        """Show a few words beside the bar, for instance the best value so far."""


class Progress(Protocol):
    """Where tasks are shown."""

    def task(self, description: str, total: float) -> AbstractContextManager[Task]:
        """Return a context manager that yields a :class:`Task` of ``total`` steps."""


class _SilentTask:
    def advance(self, steps: float = 1) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class SilentProgress:
    """Shows nothing: the default of every pass."""

    @contextmanager
    def task(self, description: str, total: float) -> Iterator[Task]:
        yield _SilentTask()
