"""The folder in which compiled simulators are kept: found by content, made by one process at a time, put in whole."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mxhw.errors import InputError
from mxhw.sim.toolchain import Verilator

__all__ = ["BuildError", "content_key", "default_cache", "install", "locked", "read_source", "run_tool", "scratch"]


class BuildError(RuntimeError):
    """Verilator or the C++ compiler refused the design: a fault of the emitted Verilog or of the installation."""


def default_cache() -> Path:
    """Return the user's cache folder: MXHW_CACHE if set, else `mxhw/sim` under XDG_CACHE_HOME or `~/.cache`."""
    if chosen := os.environ.get("MXHW_CACHE"):
        return Path(chosen) / "sim"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "mxhw" / "sim"


def content_key(texts: Sequence[str], rest: Any) -> str:
    """Hash everything that decides what a compiled program does."""
    return hashlib.sha256(json.dumps([*texts, rest], sort_keys=True).encode()).hexdigest()[:24]


def run_tool(command: list[str], folder: Path, verilator: Verilator) -> None:
    """Run a tool in `folder`; raise BuildError with its last lines if it fails."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=verilator.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-20:])
        raise BuildError(f"{Path(command[0]).name} failed with exit code {done.returncode}:\n{tail}")


def read_source(source: Path) -> str:
    """Return the text of a Verilog file; raise InputError if it cannot be read."""
    try:
        return source.read_text()
    except OSError as error:
        raise InputError(f"cannot read the Verilog file {source}: {error.strerror}") from error


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a folder for a build; make cannot work in a path with spaces."""
    folder = tempfile.gettempdir()
    if len(folder.split()) != 1:
        raise InputError(
            f"the temporary folder {folder!r} has a space, which make does not allow; set TMPDIR to another"
        )
    with tempfile.TemporaryDirectory(prefix="mxhw-build-", dir=folder) as made:
        yield Path(made)


def install(made: Path, folder: Path) -> None:
    """Put a finished file into `folder` under its name, atomically even across file systems."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor, beside = tempfile.mkstemp(dir=folder)
    os.close(descriptor)
    shutil.copy(made, beside)
    os.replace(beside, folder / made.name)


@contextmanager
def locked(cache: Path, key: str) -> Iterator[None]:
    """Let one process at a time build `key`; a second waits and then finds it built."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        handle = (cache / f"{key}.lock").open("w")
    except OSError as error:
        raise InputError(
            f"cannot write to the build cache {cache}: {error.strerror}; set MXHW_CACHE to another folder"
        ) from error
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
