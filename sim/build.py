"""Verilog to a simulator that cocotb drives: Verilator, g++, and a cache of what they made.

A build is found again by a hash of the Verilog, the options and the tools' versions, so layers of equal geometry share
one. Memory images are not part of it: `$readmemh` reads them from the working directory when the simulation starts.

Measured on two cores (8×8 array): most of a small build is Verilator's own runtime, which does not depend on the design
and is therefore compiled once and kept; and making every signal public to VPI multiplies the rest, so only the ports of
the top are public.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from mxhw.errors import InputError
from mxhw.progress import Progress, SilentProgress
from mxhw.sim import toolchain

__all__ = ["Build", "BuildError", "build_simulator", "default_cache", "lint"]

_PORTS = ("clk", "rst", "x_valid", "x_ready", "x_payload", "y_valid", "y_ready", "y_payload")
_RUNTIME_OBJECTS = ("verilated.o", "verilated_dpi.o", "verilated_vpi.o", "verilated_threads.o")
_PREFIX = "Vtop"  # cocotb's main program includes Vtop.h
_OPTIMISATION = ("OPT_FAST=-O1", "OPT_SLOW=-O0", "OPT_GLOBAL=-O2")
_VERILATOR_OPTIONS = (
    *("--cc", "--exe", "--vpi", "--prefix", _PREFIX, "--timescale", "1ns/1ps", "--no-timing"),
    *("--x-initial", "fast", "-Wno-fatal", "-Wno-lint", "-Wno-PROCASSINIT"),
)
# Yosys writes all of these on purpose in generated Verilog (`!vector`, a shift that keeps one bit); what is left finds
# undriven and doubly driven signals, latches, loops, missing pins, ranges.
_LINT_OPTIONS = (
    *("--lint-only", "-Wall", "-Wno-PROCASSINIT", "-Wno-UNUSEDSIGNAL"),
    *("-Wno-UNUSEDPARAM", "-Wno-DECLFILENAME", "-Wno-WIDTHEXPAND", "-Wno-WIDTHTRUNC"),
)


class BuildError(RuntimeError):
    """Verilator or the C++ compiler refused the design: a fault of the emitted Verilog or of the installation."""


@dataclass(frozen=True)
class Build:
    """A compiled simulator.

    Attributes
    ----------
    executable : Path
        Runs in the folder that holds the memory images.
    key : str
        Hash that it was found by.
    seconds : float
        Time spent here; near zero when `reused`.
    """

    executable: Path
    key: str
    seconds: float
    reused: bool


def default_cache() -> Path:
    """Return the user's cache folder: MXHW_CACHE if set, else `mxhw/sim` under XDG_CACHE_HOME or `~/.cache`."""
    if chosen := os.environ.get("MXHW_CACHE"):
        return Path(chosen) / "sim"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "mxhw" / "sim"


def build_simulator(
    sources: Sequence[Path], top: str, *, cache: Path | None = None, progress: Progress | None = None
) -> Build:
    """Compile `sources` with module `top` into a cocotb simulator, or return the one compiled before.

    Raises
    ------
    MissingToolError
        If Verilator, make or g++ is absent.
    BuildError
        If a tool fails; the message ends with its last lines.
    """
    start = perf_counter()
    verilator = toolchain.find_verilator()
    make, variables = toolchain.find_program("make"), toolchain.make_variables()
    texts = [_read(source) for source in sources]
    key = _key(texts, top)
    cache = cache or default_cache()
    folder = cache / key
    with _locked(cache, key), (progress or SilentProgress()).task(f"build {top}", 1) as task:
        if reused := (folder / "simulator").is_file():
            task.note("reused")
        else:
            with tempfile.TemporaryDirectory(prefix="mxhw-build-", dir=_scratch()) as scratch:
                _compile(Path(scratch), texts, top, cache, verilator, [str(make), *variables])
                _install(Path(scratch) / "objects" / "simulator", folder)
        task.advance()
    return Build(folder / "simulator", key, perf_counter() - start, reused)


def lint(sources: Sequence[Path], top: str) -> str:
    """Return Verilator's complaints about `sources` (`--lint-only -Wall`), an empty text if there are none."""
    verilator = toolchain.find_verilator()
    command = [
        str(verilator.binary),
        *_LINT_OPTIONS,
        "--top-module",
        top,
        *(str(source.resolve()) for source in sources),
    ]
    done = subprocess.run(command, env=verilator.environment(), capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr


def _compile(
    scratch: Path, texts: Sequence[str], top: str, cache: Path, verilator: toolchain.Verilator, make: list[str]
) -> None:
    names = [f"source{index}.v" for index in range(len(texts))]
    for name, text in zip(names, texts, strict=True):
        (scratch / name).write_text(text)
    ports = [f'public_flat_rw -module "{top}" -var "{port}"' for port in _PORTS]
    (scratch / "ports.vlt").write_text("\n".join(["`verilator_config", *ports, ""]))
    libraries, main = _cocotb()
    link = f"-Wl,-rpath,{libraries} -L{libraries} -lcocotbvpi_verilator"
    command = [str(verilator.binary), *_VERILATOR_OPTIONS, "--Mdir", "objects", "--top-module", top]
    _run([*command, "-o", "simulator", "-LDFLAGS", link, str(main), "ports.vlt", *names], scratch, verilator)
    objects, runtime = scratch / "objects", cache / f"runtime-{_key([], '')}"
    for name in _RUNTIME_OBJECTS:
        if (runtime / name).is_file():
            shutil.copyfile(runtime / name, objects / name)
    jobs = max(1, min(os.cpu_count() or 1, 8))
    _run(
        [*make, f"-j{jobs}", "-C", str(objects), "-f", f"{_PREFIX}.mk", "VM_TRACE=0", *_OPTIMISATION],
        scratch,
        verilator,
    )
    for name in _RUNTIME_OBJECTS:
        if not (runtime / name).is_file() and (objects / name).is_file():
            _install(objects / name, runtime)


def _cocotb() -> tuple[Path, Path]:
    """Return cocotb's library folder and the main program it gives to Verilator."""
    from cocotb_tools import config

    return Path(config.libs_dir), Path(config.share_dir) / "lib" / "verilator" / "verilator.cpp"


def _key(texts: Sequence[str], top: str) -> str:
    """Hash everything that decides what the compiled program does."""
    libraries, _ = _cocotb()
    rest = [top, str(libraries), dict(toolchain.versions()), _PORTS, _VERILATOR_OPTIONS, _OPTIMISATION]
    return hashlib.sha256(json.dumps([*texts, rest], sort_keys=True).encode()).hexdigest()[:24]


def _run(command: list[str], folder: Path, verilator: toolchain.Verilator) -> None:
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


def _read(source: Path) -> str:
    try:
        return source.read_text()
    except OSError as error:
        raise InputError(f"cannot read the Verilog file {source}: {error.strerror}") from error


def _scratch() -> str:
    """Return a folder for the build; make cannot work in a path with spaces."""
    folder = tempfile.gettempdir()
    if len(folder.split()) != 1:
        raise InputError(
            f"the temporary folder {folder!r} has a space, which make does not allow; set TMPDIR to another"
        )
    return folder


def _install(made: Path, folder: Path) -> None:
    """Put a finished file into `folder` under its name, atomically even across file systems."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor, beside = tempfile.mkstemp(dir=folder)
    os.close(descriptor)
    shutil.copy(made, beside)
    os.replace(beside, folder / made.name)


@contextmanager
def _locked(cache: Path, key: str) -> Iterator[None]:
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
