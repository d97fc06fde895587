"""Further processes of a search on this machine: started, logged, stopped with their parent, and missed if they die.

They run the same command with `--join`, and meet their parent only in the study's storage: the loop that shares trials
is :mod:`mxhw.passes.search.worker`. This module deliberately knows nothing of other machines; there the same command is
started by whoever manages them (examples/search_slurm.sbatch, examples/search_kubernetes.yaml).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from mxhw.errors import InputError, MxhwWarning
from mxhw.passes.search.place import split_password

__all__ = ["working"]

_CHILD = "MXHW_WORKER"  # in the environment of a further process: its number
_READY_SECONDS = 2.0  # a worker that sees the last trial finish ends by itself
_FAREWELL_SECONDS = 15.0  # one that is told to stop first gives its trial back
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@contextmanager
def working(further: int, arguments: Sequence[str], out: Path, *, program: Sequence[str] = ()) -> Iterator[None]:
    """Run the block beside `further` processes that join its search.

    The cores are shared out. Output of the others goes to `out`/workers/worker-N.log; one that dies is a warning with
    the last line of that file, and the search goes on. Ctrl-C, SIGTERM and SIGHUP stop all of them in order: trials
    that run are given back. If the parent is killed, the others stop too.

    Parameters
    ----------
    further : int
        0: only the signals are handled.
    arguments : sequence of str
        Of `mxhw search`, without `--join`. A password in the value of `--storage` goes through the environment, where
        other users of the machine do not see it.
    out : Path
    program : sequence of str, optional
        In place of ``python -m mxhw search``.

    Raises
    ------
    InputError
        If the logs cannot be written.
    """
    with _interruptible():
        if _CHILD in os.environ:
            threading.Thread(target=_follow_parent, daemon=True).start()
        if not further:
            yield
            return
        command = [*(program or (sys.executable, "-m", "mxhw", "search")), *arguments, "--join"]
        with _share_of_cores(further + 1) as cores:
            group = _Group(command, further, out / "workers", cores)
            try:
                yield
                group.wait(_READY_SECONDS)
            finally:
                group.stop()


class _Group:
    def __init__(self, command: list[str], count: int, folder: Path, cores: int) -> None:
        self._ending = False
        self._processes: list[subprocess.Popen[bytes]] = []
        command, secret = _without_password(command)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(1, count + 1):
                log = folder / f"worker-{number}.log"
                environment = {**os.environ, **secret, **dict.fromkeys(_THREADS, str(cores)), _CHILD: str(number)}
                with log.open("wb") as file:
                    process = subprocess.Popen(
                        command,
                        stdin=subprocess.PIPE,  # its end tells the worker that the parent is gone
                        stdout=file,
                        stderr=subprocess.STDOUT,
                        env=environment,
                        start_new_session=True,  # Ctrl-C reaches the parent alone, which passes it on once
                    )
                self._processes.append(process)
                threading.Thread(target=self._watch, args=(number, process, log), daemon=True).start()
        except OSError as error:
            self.stop()
            raise InputError(f"workers cannot write to {folder}: {error.strerror}; give another --out") from None

    def wait(self, seconds: float) -> None:
        """Wait for the workers to end by themselves."""
        self._ending = True
        deadline = time.monotonic() + seconds
        for process in self._processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(deadline - time.monotonic(), 0))

    def stop(self) -> None:
        """Stop the workers: give them time to give back their trials, but not more."""
        self._ending = True
        for process in self._processes:
            process.terminate()
        self.wait(_FAREWELL_SECONDS)
        for process in self._processes:
            process.kill()
            process.wait()
            if process.stdin is not None:
                process.stdin.close()

    def _watch(self, number: int, process: subprocess.Popen[bytes], log: Path) -> None:
        code = process.wait()
        if code == 0 or self._ending:
            return
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        last = _last_line(log)
        warnings.warn(
            f"worker {number} {how}{f': {last}' if last else ''}; the others go on ({log})", MxhwWarning, stacklevel=1
        )


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let signals that end a process end it as Ctrl-C does; a second one is ignored while it says farewell."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    before: dict[signal.Signals, object] = {}
    if threading.current_thread() is threading.main_thread():
        for each in _SIGNALS:
            if signal.getsignal(each) is not signal.SIG_IGN:  # nohup
                before[each] = signal.signal(each, interrupt)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)  # type: ignore[arg-type]


@contextmanager
def _share_of_cores(processes: int) -> Iterator[int]:
    """Yield how many cores each process gets, and hold this one to it."""
    import torch

    before = torch.get_num_threads()
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = max(1, min(available // processes, before))
    torch.set_num_threads(share)
    try:
        yield share
    finally:
        torch.set_num_threads(before)


def _follow_parent() -> None:
    """Stop this process when its parent, which holds the other end of its input, is gone."""
    with suppress(OSError, ValueError):
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)


def _without_password(command: list[str]) -> tuple[list[str], dict[str, str]]:
    """Return a command without the password of its storage, and the environment that has it."""
    if "--storage" not in command:
        return command, {}
    at = command.index("--storage") + 1
    where, password = split_password(command[at])
    return [*command[:at], where, *command[at + 1 :]], {"PGPASSWORD": password} if password else {}


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n")
    return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")
