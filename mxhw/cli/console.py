"""What the command line shows: bars on a terminal, plain lines elsewhere, tables, and one JSON object on request.

With ``--json`` standard output carries exactly one JSON object; everything else goes to standard error.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table

from mxhw.progress import Task

__all__ = ["ConsoleProgress", "Output"]

LINE_INTERVAL = 10.0  # seconds between plain progress lines
PLAIN_WIDTH = 150  # columns where there is no terminal to ask


class _BarTask:
    def __init__(self, bars: Progress, task: TaskID) -> None:
        self._bars, self._task = bars, task

    def advance(self, steps: float = 1) -> None:
        self._bars.advance(self._task, steps)

    def note(self, text: str) -> None:
        self._bars.update(self._task, note=text)


class _LineTask:
    """Says how far a task is at most every :data:`LINE_INTERVAL` seconds, with an estimate of what is left."""

    def __init__(self, console: Console, description: str, total: float) -> None:
        self._console, self._description, self._total = console, description, total
        self._done, self._note = 0.0, ""
        self._start = self._shown = time.monotonic()

    def advance(self, steps: float = 1) -> None:
        self._done += steps
        now = time.monotonic()
        if now - self._shown >= LINE_INTERVAL and 0 < self._done < self._total:
            self._shown = now
            left = (now - self._start) * (self._total - self._done) / self._done
            text = f"  {self._description}: {self._done:g} of {self._total:g}, about {left:.0f} s left"
            self._console.print(f"{text}  {self._note}".rstrip(), highlight=False, markup=False)

    def note(self, text: str) -> None:
        self._note = text

    def finish(self) -> None:
        seconds = time.monotonic() - self._start
        self._console.print(
            f"{self._description}: done in {seconds:.1f} s  {self._note}".rstrip(), highlight=False, markup=False
        )


class ConsoleProgress:
    """Shows tasks on a terminal as bars with estimates, elsewhere as lines."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: Progress | None = None

    @contextmanager
    def task(self, description: str, total: float) -> Iterator[Task]:
        if not self._console.is_terminal:
            line = _LineTask(self._console, description, total)
            yield line
            line.finish()
            return
        outermost = self._bars is None
        if self._bars is None:
            self._bars = Progress(
                TextColumn("{task.description:<20}"),
                BarColumn(bar_width=18),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(compact=True),
                TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
                console=self._console,
            )
            self._bars.start()
        task = self._bars.add_task(description, total=total, note="")
        try:
            yield _BarTask(self._bars, task)
        finally:
            if outermost:
                self._bars.stop()
                self._bars = None


class Output:
    """One command's output: people's text, or with ``as_json`` one object on standard output."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self.console = Console(stderr=as_json)
        if not self.console.is_terminal:
            self.console.width = PLAIN_WIDTH
        self.progress = ConsoleProgress(self.console)

    def say(self, text: str) -> None:
        """Print a line for people."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def table(self, title: str, columns: list[str], rows: list[list[str]]) -> None:
        """Print a table for people; all but the first column are aligned right when they hold numbers."""
        table = Table(title=title, title_justify="left")
        for index, column in enumerate(columns):
            numeric = bool(rows) and index > 0 and all(_is_number(row[index]) for row in rows)
            table.add_column(column, justify="right" if numeric else "left", overflow="fold")
        for row in rows:
            table.add_row(*row)
        self.console.print(table, highlight=False, markup=False)

    def result(self, value: dict[str, Any]) -> None:
        """Write the command's JSON object, if asked for."""
        if self.as_json:
            json.dump(value, sys.stdout, indent=1, default=str)
            sys.stdout.write("\n")


def _is_number(text: str) -> bool:
    return bool(text) and (text[0].isdigit() or text[0] in "-+–")
