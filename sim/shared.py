"""Verilog to a shared library that a Python process loads: Verilator's C++, the driver of `native/`, g++, the cache.

One file of C++ per unit: measured on two cores, an 8×8 array compiles quicker in one piece than in Verilator's eleven,
which each parse its headers. What does not depend on the unit (Verilator's runtime, the driver) is compiled once.
"""

import functools
import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from time import perf_counter
from typing import Literal

from mxhw.errors import InputError
from mxhw.sim import toolchain
from mxhw.sim.cache import content_key, default_cache, install, locked, run_tool, scratch
from mxhw.sim.ports import Port

__all__ = ["SharedBuild", "Waves", "build_shared"]

_VERILATOR_OPTIONS = (
    *("--cc", "--prefix", "Vtop", "--Mdir", "objects", "--timescale", "1ns/1ps", "--no-timing"),
    *("--x-initial", "fast", "-Wno-fatal", "-Wno-lint", "-Wno-PROCASSINIT"),
)
# The elements of an array lie side by side in memory and do the same: with vectors an array of bit-serial elements is
# twice as quick, at no cost in compiling (measured; -O2 adds a fifth to both).
_UNIT_FLAGS = ("-O1", "-ftree-slp-vectorize")
_RUNTIME_FLAGS = ("-O2", *(f"-DVL_USER_{event}" for event in ("FINISH", "STOP", "FATAL", "WARN")))
# No symbol is shared between libraries: every unit's class is called Vtop.
_COMMON_FLAGS = ("-std=c++17", "-fPIC", "-fvisibility=hidden", "-fno-gnu-unique", "-w")
_LINK_FLAGS = ("-shared", "-Wl,--wrap=fopen", "-Wl,-Bsymbolic", "-pthread")
_DEFINITIONS = dict.fromkeys(("VM_COVERAGE", "VM_SC", "VM_TIMING", "VM_TRACE_FST"), 0) | {"VERILATOR": 1}
# Toggles are counted of signals of any width and name (a memory's output register is called `_0_`), but not of its
# words.
_TRACING = {
    "vcd": ["--trace-vcd"],
    "saif": ["--trace-saif", "--trace-underscore", "--trace-max-width", "1048576", "--trace-max-array", "1"],
}
_DRIVER = ("driver.cpp", "session.cpp")
Waves = Literal["vcd", "saif"] | None
_PORT = re.compile(r"VL_(IN|OUT|INOUT)(?:8|16|64|W|)\(&(\w+),(\d+),(\d+)(?:,\d+)?\);")


@dataclass(frozen=True)
class SharedBuild:
    """A compiled unit: its file, its ports in the order that the driver numbers them, and the seconds spent here."""

    path: Path
    ports: tuple[Port, ...]
    key: str
    seconds: float
    reused: bool


def build_shared(texts: Sequence[str], top: str, *, cache: Path | None = None, waves: Waves = None) -> SharedBuild:
    """Compile Verilog with module `top` into a library, or return the one compiled before.

    With `waves` it can write waveforms, as VCD, or what toggles how often, as SAIF: Verilator's FST writer needs
    headers of zlib and lz4, which a machine with a compiler need not have.

    Raises
    ------
    MissingToolError
        If Verilator or g++ is absent.
    BuildError
        If a tool fails; the message ends with its last lines.
    """
    start = perf_counter()
    verilator, compiler = toolchain.find_verilator(), toolchain.find_program("g++")
    base = [_RUNTIME_FLAGS, _COMMON_FLAGS, dict(toolchain.versions()), _native()]
    machine = _machine(str(compiler))
    key = content_key(texts, [top, base, _VERILATOR_OPTIONS, _UNIT_FLAGS, machine, _LINK_FLAGS, waves])
    cache = (cache or default_cache()).resolve()
    folder = cache / key
    with locked(cache, key):
        if not (reused := (folder / "library.so").is_file()):
            maker = _Maker(verilator, str(compiler), waves, machine)
            objects = maker.runtime(cache, content_key([], base))
            with scratch() as place:
                ports = maker.unit(place, texts, top, objects)
                (place / "ports.json").write_text(json.dumps([asdict(port) for port in ports]))
                install(place / "ports.json", folder)
                install(place / "library.so", folder)
    records = json.loads((folder / "ports.json").read_text())
    return SharedBuild(
        folder / "library.so", tuple(Port(**record) for record in records), key, perf_counter() - start, reused
    )


class _Maker:
    """Runs the tools; `waves` decides what the runtime and the unit are compiled with."""

    def __init__(self, verilator: toolchain.Verilator, compiler: str, waves: Waves, machine: str) -> None:
        self.verilator, self.waves = verilator, waves
        self.unit_flags = [*_UNIT_FLAGS, *(["-march=native"] if machine else [])]
        include = verilator.root / "include"
        self.native = Path(str(files("mxhw.sim") / "native"))
        definitions = [f"-D{name}={value}" for name, value in _DEFINITIONS.items()]
        formats = {"VM_TRACE": waves is not None, "VM_TRACE_VCD": waves == "vcd", "VM_TRACE_SAIF": waves == "saif"}
        trace = [f"-D{name}={int(value)}" for name, value in formats.items()]
        self.compile = [compiler, *_COMMON_FLAGS, *definitions, *trace]
        self.compile += [f"-I{self.native}", f"-I{include}", f"-I{include / 'vltstd'}"]
        runtime = [include / "verilated.cpp", include / "verilated_threads.cpp"]
        self.sources = [*runtime, *(self.native / name for name in _DRIVER)]
        if waves:
            self.sources.append(include / f"verilated_{waves}_c.cpp")

    def runtime(self, cache: Path, key: str) -> list[Path]:
        """Return the objects that units are linked with, compiled on the first call; units with waves have one more."""
        folder = cache / f"driver-{key}"
        with locked(cache, folder.name):
            for source in self.sources:
                name = f"{source.stem}.o"
                if not (folder / name).is_file():
                    with scratch() as place:
                        self._run([*self.compile, *_RUNTIME_FLAGS, "-c", str(source), "-o", name], place)
                        install(place / name, folder)
        return [folder / f"{source.stem}.o" for source in self.sources]

    def unit(self, place: Path, texts: Sequence[str], top: str, objects: Sequence[Path]) -> list[Port]:
        """Make `library.so` in `place`; return the ports."""
        names = [f"source{index}.v" for index in range(len(texts))]
        for name, text in zip(names, texts, strict=True):
            (place / name).write_text(text)
        trace = _TRACING[self.waves] if self.waves else []
        binary = str(self.verilator.binary)
        self._run([binary, *_VERILATOR_OPTIONS, *trace, "--top-module", top, *names], place)
        members = _ports((place / "objects" / "Vtop.h").read_text())
        lines = [f'#include "{path.name}"' for path in sorted((place / "objects").glob("*.cpp"))]
        lines.append(f"#define MXHW_PORTS {', '.join(f'PORT({member})' for member in members)}")
        (place / "objects" / "whole.cpp").write_text("\n".join([*lines, '#include "unit.cpp"', ""]))
        command = [*self.compile, *self.unit_flags, *_LINK_FLAGS, "-Iobjects", "objects/whole.cpp"]
        self._run([*command, *map(str, objects), "-o", "library.so"], place)
        return list(members.values())

    def _run(self, command: list[str], place: Path) -> None:
        run_tool(command, place, self.verilator)


def _ports(header: str) -> dict[str, Port]:
    """Return C++ member → port from the declarations in Verilator's header."""
    ports = {}
    for direction, member, high, low in _PORT.findall(header):
        name = re.sub(r"__0([0-9A-F]{2})", lambda code: chr(int(code[1], 16)), member)
        if direction == "INOUT":
            raise InputError(f"port {name} is inout; only inputs and outputs can be simulated")
        ports[member] = Port(name, int(high) - int(low) + 1, direction == "IN")
    return ports


@functools.cache
def _machine(compiler: str) -> str:
    """Return what `-march=native` means here, which a cache may share with another machine; empty if unknown."""
    command = [compiler, "-march=native", "-Q", "--help=target"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout if found.returncode == 0 else ""


def _native() -> list[str]:
    """Return the texts of the C++ that is shipped."""
    folder = files("mxhw.sim") / "native"
    return [(folder / name).read_text() for name in ("model.h", "bench.h", *_DRIVER, "unit.cpp")]
