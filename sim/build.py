"""Verilog to a simulator that cocotb drives: Verilator, g++, and a cache of what they made.

A build is found again by a hash of the Verilog, the options and the tools' versions, so layers of equal geometry share
one. Memory images are not part of it: `$readmemh` reads them from the working directory when the simulation starts.

Measured on two cores (8×8 array): most of a small build is Verilator's own runtime, which does not depend on the design
and is therefore compiled once and kept; and making every signal public to VPI multiplies the rest, so only the ports of
the top are public.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from time import perf_counter

from mxhw.progress import Progress, SilentProgress
from mxhw.sim import toolchain
from mxhw.sim.cache import content_key, default_cache, install, locked, read_source, run_tool, scratch

__all__ = ["GEMM_PORTS", "Build", "build_simulator", "lint"]

GEMM_PORTS = ("clk", "rst", "x_valid", "x_ready", "x_payload", "y_valid", "y_ready", "y_payload")
_RUNTIME_OBJECTS = tuple(f"verilated{part}.o" for part in ("", "_dpi", "_vpi", "_threads", "_vcd_c"))
_PREFIX = "Vtop"  # cocotb's main program includes Vtop.h
_OPTIMISATION = ("OPT_FAST=-O1", "OPT_SLOW=-O0", "OPT_GLOBAL=-O2")
_VERILATOR_OPTIONS = (
    *("--cc", "--exe", "--vpi", "--prefix", _PREFIX, "--timescale", "1ns/1ps", "--no-timing"),
    *("--x-initial", "fast", "-Wno-fatal", "-Wno-lint", "-Wno-PROCASSINIT"),
)


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


def build_simulator(
    sources: Sequence[Path],
    top: str,
    *,
    ports: Sequence[str] = GEMM_PORTS,
    waves: bool = False,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Build:
    """Compile `sources` with module `top` into a cocotb simulator that sees `ports`, or return the one compiled before.

    With `waves`, the simulator writes a VCD file if it is started with `--trace --trace-file FILE`.

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
    texts = [read_source(source) for source in sources]
    base = [str(_cocotb()[0]), dict(toolchain.versions()), _VERILATOR_OPTIONS, _OPTIMISATION, waves]
    key = content_key(texts, [top, list(ports), base])
    cache = cache or default_cache()
    folder = cache / key
    with locked(cache, key), (progress or SilentProgress()).task(f"build {top}", 1) as task:
        if reused := (folder / "simulator").is_file():
            task.note("reused")
        else:
            with scratch() as place:
                _verilate(place, texts, top, ports, waves, verilator)
                _make(place / "objects", cache / f"runtime-{content_key([], base)}", [str(make), *variables], verilator)
                install(place / "objects" / "simulator", folder)
        task.advance()
    return Build(folder / "simulator", key, perf_counter() - start, reused)


def lint(sources: Sequence[Path], top: str) -> str:
    """Return Verilator's complaints about `sources` (-Wall), an empty text if there are none.

    What generated Verilog does on purpose is waived in `native/waivers.vlt`, each with its reason.
    """
    verilator = toolchain.find_verilator()
    waivers = files("mxhw.sim") / "native" / "waivers.vlt"
    command = [str(verilator.binary), "--lint-only", "-Wall", "--top-module", top, str(waivers)]
    command += [str(source.resolve()) for source in sources]
    done = subprocess.run(command, env=verilator.environment(), capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr


def _verilate(
    place: Path, texts: Sequence[str], top: str, ports: Sequence[str], waves: bool, verilator: toolchain.Verilator
) -> None:
    """Write C++ and a makefile into `place`/objects."""
    names = [f"source{index}.v" for index in range(len(texts))]
    for name, text in zip(names, texts, strict=True):
        (place / name).write_text(text)
    public = [f'public_flat_rw -module "{top}" -var "{port}"' for port in ports]
    (place / "ports.vlt").write_text("\n".join(["`verilator_config", *public, ""]))
    libraries, main = _cocotb()
    link = f"-Wl,-rpath,{libraries} -L{libraries} -lcocotbvpi_verilator"
    trace = ["--trace-vcd"] if waves else []
    command = [str(verilator.binary), *_VERILATOR_OPTIONS, *trace, "--Mdir", "objects", "--top-module", top]
    run_tool([*command, "-o", "simulator", "-LDFLAGS", link, str(main), "ports.vlt", *names], place, verilator)


def _make(objects: Path, runtime: Path, make: list[str], verilator: toolchain.Verilator) -> None:
    """Compile in `objects`, with Verilator's own objects from `runtime` if they are there, else leave them there."""
    for name in _RUNTIME_OBJECTS:
        if (runtime / name).is_file():
            shutil.copyfile(runtime / name, objects / name)
    jobs = max(1, min(os.cpu_count() or 1, 8))
    run_tool([*make, f"-j{jobs}", "-C", str(objects), "-f", f"{_PREFIX}.mk", *_OPTIMISATION], objects, verilator)
    for name in _RUNTIME_OBJECTS:
        if not (runtime / name).is_file() and (objects / name).is_file():
            install(objects / name, runtime)


def _cocotb() -> tuple[Path, Path]:
    """Return cocotb's library folder and the main program it gives to Verilator."""
    from cocotb_tools import config

    return Path(config.libs_dir), Path(config.share_dir) / "lib" / "verilator" / "verilator.cpp"
