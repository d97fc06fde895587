"""Headless Chromium for tests, driven by the Chrome DevTools protocol over pipes: no driver and no socket to install.

The protocol is JSON messages that end in a zero byte; Chromium reads them from descriptor 3 and writes them to
descriptor 4 (`--remote-debugging-pipe`). Nothing here sleeps: conditions are waited for in the page, by its own timer,
until a deadline, and whatever Chromium says is read with one.
"""

from __future__ import annotations

import json
import os
import selectors
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Any

import pytest

__all__ = ["Browser", "BrowserError", "chromium", "needs_chromium", "serving"]

DEADLINE = 120.0  # seconds, on a machine with much other work
_NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str | None:
    """Return the path of Chromium, or None if it is not installed."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


needs_chromium = pytest.mark.skipif(
    chromium() is None, reason="chromium is not installed: `make test-browser` installs it where apt-get may"
)


class BrowserError(AssertionError):
    """Chromium ended, did not answer in time, or a script in the page failed."""


class Browser:
    """One page of a Chromium of its own; a context manager that ends it."""

    def __init__(self, profile: Path, *, width: int = 1400, height: int = 1000) -> None:
        path = chromium()
        assert path is not None
        commands, self._write = os.pipe()
        self._read, answers = os.pipe()
        arguments = [
            "--headless",
            "--no-sandbox",  # tests may run as root, where there is none
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--remote-debugging-pipe",
            f"--user-data-dir={profile}",
            f"--window-size={width},{height}",
        ]
        run = f'exec "$@" 3</dev/fd/{commands} 4>/dev/fd/{answers}'  # a plain shell copies one-digit descriptors only
        self._process = subprocess.Popen(
            ["sh", "-c", run, "sh", path, *arguments],
            pass_fds=(commands, answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(commands)
        os.close(answers)
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._read, selectors.EVENT_READ)
        self.errors: list[str] = []

    def __enter__(self) -> Browser:
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._call("Runtime.enable")
        self._call("Page.enable")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._selector.close()
        os.close(self._write)  # Chromium ends when its pipe does
        os.close(self._read)
        try:
            self._process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def open(self, address: str, *, seconds: float = DEADLINE) -> None:
        """Go to an address; BrowserError if it cannot be loaded.

        A server that has said that it listens may open its port a little later: it is asked again until the deadline.
        """
        deadline = time.monotonic() + seconds
        while True:
            self.errors.clear()
            error = self._call("Page.navigate", url=address).get("errorText")
            if not error:
                return
            if "CONNECTION_REFUSED" not in error or time.monotonic() > deadline:
                raise BrowserError(f"{address}: {error}")

    def value(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page; a promise is waited for."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise BrowserError(_words(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def run(self, expression: str) -> None:
        """Evaluate an expression whose value no JSON can hold, and wait for it if it is a promise."""
        self.value(f"(async () => {{ await ({expression}); }})()")

    def wait(self, expression: str, *, seconds: float = DEADLINE) -> Any:
        """Return the value of an expression as soon as it is true, asked anew until then; BrowserError at the deadline.

        The expression may fail meanwhile, as when the page is not there yet.
        """
        deadline, last = time.monotonic() + seconds, "false"
        while (left := deadline - time.monotonic()) > 0:
            script = (
                "new Promise(done => { const stop = performance.now() + " + f"{min(left, 5.0) * 1000:.0f};"
                "let last = 'false'; const ask = () => { let found = null;"
                "try { found = " + expression + "; last = String(found); } catch (error) { last = String(error); }"
                "if (found || performance.now() > stop) done([found ?? null, last]); else setTimeout(ask, 25); };"
                "ask(); })"
            )
            try:
                found, last = self.value(script)
            except BrowserError as error:  # the page was left while it was asked
                last = str(error)
                if self._process.poll() is not None:
                    raise
                continue
            if found:
                return found
        raise BrowserError(f"{expression} was not true within {seconds:g} s, last {last}; {'; '.join(self.errors)}")

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        try:
            while data:
                data = data[os.write(self._write, data) :]
        except BrokenPipeError:
            raise BrowserError(f"{method}: Chromium has ended, code {self._process.wait()}") from None
        for answer in self._answers():
            if answer.get("method") == "Runtime.exceptionThrown":
                self.errors.append(_words(answer["params"]["exceptionDetails"]))
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result
        raise BrowserError(f"{method}: Chromium closed its pipe")

    def _answers(self) -> Iterator[dict[str, Any]]:
        """Yield messages until the pipe ends; BrowserError if none came within the deadline."""
        while True:
            while b"\0" not in self._buffer:
                if not self._selector.select(DEADLINE):
                    raise BrowserError(f"Chromium said nothing for {DEADLINE:g} s")
                if not (data := os.read(self._read, 1 << 20)):
                    return
                self._buffer += data
            text, _, self._buffer = self._buffer.partition(b"\0")
            yield json.loads(text)


@contextmanager
def serving(command: list[str], words: str) -> Iterator[list[str]]:
    """Yield what a server has said, once it has said `words`; it runs while the block does.

    Raises
    ------
    BrowserError
        If it ends, or says nothing of the kind, until the deadline.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    said: list[str] = []
    ready = Event()

    def listen() -> None:  # until the end, so that a talkative server is never held up by a full pipe
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if words in line:
                ready.set()
        ready.set()

    thread = Thread(target=listen, daemon=True)
    thread.start()
    try:
        if not ready.wait(DEADLINE) or not any(words in line for line in said):
            raise BrowserError(f"{command[0]} is not there: {''.join(said)[-2000:]}")
        yield said
    finally:
        process.terminate()
        try:
            process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        thread.join(DEADLINE)


def _words(details: dict[str, Any]) -> str:
    exception = details.get("exception", {})
    return str(exception.get("description") or exception.get("value") or details.get("text"))
