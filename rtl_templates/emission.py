"""Verilog of components: one text with flat ports in which equal elements are emitted once.

:func:`component_verilog` takes any component; the members of a port are joined by two underscores (``x__payload``), and
memories are part of the text. :func:`gemm_verilog` is for GEMM units whose weights lie in memory: its ports are clk,
rst, x_valid, x_ready, x_payload, y_valid, y_ready, y_payload, memories read hex files, and the text needs the
hand-written modules of :func:`verilog_library` beside it. :func:`modules_verilog` is for the components of a design,
which may instantiate each several times with different constants: hex files are parameters of their modules. Reset is
synchronous and active high.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from amaranth.back import rtlil, verilog
from amaranth.hdl import ClockSignal, Fragment, Instance, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from mxhw.rtl_templates.checks import require
from mxhw.rtl_templates.file_parameters import with_file_parameters
from mxhw.rtl_templates.gemm.unit import GemmUnit
from mxhw.rtl_templates.registers import with_clocked_next_values

__all__ = ["MemoryFile", "component_verilog", "gemm_verilog", "memory_files", "modules_verilog", "verilog_library"]

_ESCAPED = re.compile(r"\\\S+ ")
_ALIAS = re.compile(r"\s*(?:wire(?: \[\d+:\d+\])?|assign) (\\\S+ ) ?(?:;|= .*;)$")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MODULE_END = re.compile(r"(?<=endmodule\n)")
_MODULE_NAME = re.compile(r"^module (?:\\(\S+) |(\w+)) ?\(", re.MULTILINE)
_NUMBERED = re.compile(r"(\$auto\$verilog_backend\.cc:\d+:dump_module\$)(\d+)")


class _SharedModules:
    """Platform that emits each kind of component once, as module ``{prefix}_{kind}``."""

    _clock = re.compile(r"^\s*input clk;", re.MULTILINE)

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._texts: dict[str, str] = {}
        self._signatures: dict[str, Any] = {}

    @property
    def texts(self) -> list[str]:
        """The modules that were asked for."""
        return list(self._texts.values())

    def text(self, component: wiring.Component, name: str) -> str:
        """Return the text of a component as module ``name``."""
        return _converted(component, name, self)

    def instance(self, kind: str, component: wiring.Component) -> Instance:
        """Return an instance whose ports are the signals of ``component``."""
        name = f"{self._prefix}_{kind}"
        # Only its signals are used here; without this Amaranth warns that it was never elaborated.
        component._MustUse__silence = True
        if kind not in self._texts:
            self._texts[kind] = self.text(component, name)
            self._signatures[kind] = component.signature
        require(component.signature == self._signatures[kind], kind, "one kind of component of equal ports", component)
        ports: dict[str, Any] = {}
        for path, member, value in component.signature.flatten(component):
            direction = "i" if member.flow == In else "o"
            ports[f"{direction}_{'__'.join(map(str, path))}"] = value
        if self._clock.search(self._texts[kind]):
            ports |= {"i_clk": ClockSignal(), "i_rst": ResetSignal()}
        return Instance(name, **ports)


@dataclass(frozen=True)
class MemoryFile:
    """A hex file that a read-only memory reads: the bits of a word, the number of words, and those that are known."""

    width: int
    depth: int
    words: tuple[int, ...]


class _SharedModulesAndFiles(_SharedModules):
    """The same, with memories that read hex files, of which it keeps a list."""

    reads_memory_files = True

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        self.files: dict[str, MemoryFile] = {}

    def memory_file(self, file: str, width: int, depth: int, words: Sequence[int]) -> None:
        """Keep what a memory reads; InputError if another memory reads other words from a file of that name."""
        found = MemoryFile(width, depth, tuple(words))
        require(self.files.setdefault(file, found) == found, file, "the file of equal memories", "of different ones")


class _FilesOnly(_SharedModulesAndFiles):
    """The same without any text: only the list of files."""

    def text(self, component: wiring.Component, name: str) -> str:
        """Elaborate a component."""
        Fragment.get(component, self)
        return ""


class _Intermediate(_SharedModulesAndFiles):
    """The same with texts that are not Verilog yet, but Yosys' own language."""

    _clock = re.compile(r"^\s*wire width 1 input \d+ +\\clk$", re.MULTILINE)

    def text(self, component: wiring.Component, name: str) -> str:
        """Return the RTLIL of a component as module ``name``."""
        return str(rtlil.convert(component, name=name, platform=self, emit_src=False))


def component_verilog(component: wiring.Component, name: str) -> str:
    """Return the Verilog of any component alone, as module ``name``; its other modules are ``{name}_…``, ``{name}.…``.

    Members of its ports are joined by two underscores. The same component gives the same text.
    """
    _check_name(name)
    platform = _SharedModules(name)
    top = _converted(component, name, platform)
    return "\n".join([*platform.texts, top])


def gemm_verilog(
    unit: GemmUnit, name: str, *, weights_file: str = "weights.hex", metadata_file: str = "metadata.hex"
) -> str:
    """Return the Verilog of ``unit`` as top module ``name``; its other modules are ``{name}_…`` and ``{name}.…``.

    ``weights_file`` and ``metadata_file`` are what $readmemh opens, relative to where the simulation runs; the metadata
    file is not read by a unit whose ``metadata_depth`` is 0.
    """
    _check_name(name)
    for label, file in (("weights_file", weights_file), ("metadata_file", metadata_file)):
        require(bool(file) and not set(file) & set('"\\\n'), label, "a file name without quotes", file)
    unit.weights_file, unit.metadata_file = weights_file, metadata_file
    platform = _SharedModulesAndFiles(name)
    ports = {f"{side}_{member}": _port(getattr(unit, side), member) for side in ("x", "y") for member in _MEMBERS}
    top = _converted(unit, name, platform, ports=ports)
    return "\n".join([*platform.texts, top])


def modules_verilog(components: Mapping[str, wiring.Component]) -> dict[str, tuple[str, dict[str, MemoryFile]]]:
    """Return the Verilog of components as modules of the given names, and the hex files that each of them reads.

    Each text is that of :func:`component_verilog`, but that its memories are instances of the modules of
    :func:`verilog_library`, and each of their files a parameter of the module (:func:`file_parameter`), so that
    instances with different constants share it. All are made by one run of Yosys: starting it takes longer than most
    modules do. The same components give the same texts; others among them can change the order of lines in a text.
    """
    texts: list[str] = []
    found: dict[str, dict[str, MemoryFile]] = {}
    for name, component in components.items():
        _check_name(name)
        platform = _Intermediate(name)
        top = platform.text(component, name)
        texts += [*platform.texts, top]
        found[name] = platform.files
    # Amaranth has no function of its own that makes Verilog of several texts.
    whole = verilog._convert_rtlil_text("\n".join(texts), strip_internal_attrs=True)
    owned: dict[str, dict[str, str]] = {name: {} for name in components}
    for part in _MODULE_END.split(whole):
        if header := _MODULE_NAME.search(part):
            module = header[1] or header[2]
            owned[_owner(module, components)][module] = part[header.start() :]
    return {name: (with_file_parameters(_module_text(name, parts)), found[name]) for name, parts in owned.items()}


def _owner(module: str, components: Mapping[str, wiring.Component]) -> str:
    """Return the component that a module belongs to: the longest name that its own begins with."""
    return max((name for name in components if re.match(rf"{name}(?![A-Za-z0-9])", module)), key=len)


def _module_text(name: str, parts: Mapping[str, str]) -> str:
    """Return module ``name`` and its others by name, with temporary names that do not depend on what else was made."""
    numbered = []
    for module in sorted(parts, key=lambda module: (module != name, module)):
        part = parts[module]
        numbers = {number: str(i) for i, number in enumerate(dict.fromkeys(m[2] for m in _NUMBERED.finditer(part)), 1)}
        numbered.append(_NUMBERED.sub(lambda m, numbers=numbers: m[1] + numbers[m[2]], part))  # type: ignore[misc]
    return _tidied("\n".join(numbered))


def memory_files(component: wiring.Component) -> dict[str, MemoryFile]:
    """Return the hex files that the module of ``component`` reads, without making its Verilog."""
    platform = _FilesOnly("unit")
    platform.text(component, "unit")
    return platform.files


def _converted(component: wiring.Component, name: str, platform: _SharedModules, **options: Any) -> str:
    text = verilog.convert(
        component, name=name, platform=platform, emit_src=False, strip_internal_attrs=True, **options
    )
    return _tidied(str(text))


def _tidied(text: str) -> str:
    return with_clocked_next_values(_without_unread_aliases(text))


def verilog_library() -> dict[str, str]:
    """Return the hand-written Verilog that emitted units instantiate: text by file name."""
    folder = files("mxhw.rtl_templates") / "verilog"
    return {name: (folder / name).read_text() for name in ("mxhw_rom.v", "mxhw_ram.v")}


_MEMBERS = ("valid", "ready", "payload")


def _port(interface: Any, member: str) -> tuple[Any, None]:
    return getattr(interface, member), None


def _without_unread_aliases(text: str) -> str:
    """Drop wires that are assigned and never read: Amaranth names every field of a structure for waveforms."""
    lines = text.splitlines()
    aliases = [_ALIAS.match(line) for line in lines]
    uses = Counter(_ESCAPED.findall(text))
    uses.subtract(alias[1] for alias in aliases if alias is not None)
    lines = [line for line, alias in zip(lines, aliases, strict=True) if alias is None or uses[alias[1]]]
    return "\n".join([*lines, ""])


def _check_name(name: str) -> None:
    require(bool(_IDENTIFIER.fullmatch(name)), "name", "a Verilog identifier", name)
