"""Verilog of components: one text with flat ports in which equal elements are emitted once.

:func:`component_verilog` takes any component; the members of a port are joined by two underscores (``x__payload``), and
memories are part of the text. :func:`gemm_verilog` is for GEMM units whose weights lie in memory: its ports are clk,
rst, x_valid, x_ready, x_payload, y_valid, y_ready, y_payload, memories read hex files, and the text needs the
hand-written modules of :func:`verilog_library` beside it. Reset is synchronous and active high.
"""

import re
from collections import Counter
from importlib.resources import files
from typing import Any

from amaranth.back import verilog
from amaranth.hdl import ClockSignal, Instance, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from mxhw.rtl_templates.checks import require
from mxhw.rtl_templates.gemm.unit import GemmUnit
from mxhw.rtl_templates.registers import with_clocked_next_values

__all__ = ["component_verilog", "gemm_verilog", "verilog_library"]

_ESCAPED = re.compile(r"\\\S+ ")
_ALIAS = re.compile(r"\s*(?:wire(?: \[\d+:\d+\])?|assign) (\\\S+ ) ?(?:;|= .*;)$")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class _SharedModules:
    """Platform that emits each kind of component once, as module ``{prefix}_{kind}``."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._texts: dict[str, str] = {}
        self._signatures: dict[str, Any] = {}

    @property
    def texts(self) -> list[str]:
        """The modules that were asked for."""
        return list(self._texts.values())

    def instance(self, kind: str, component: wiring.Component) -> Instance:
        """Return an instance whose ports are the signals of ``component``."""
        name = f"{self._prefix}_{kind}"
        # Only its signals are used here; without this Amaranth warns that it was never elaborated.
        component._MustUse__silence = True
        if kind not in self._texts:
            self._texts[kind] = _converted(component, name, self)
            self._signatures[kind] = component.signature
        require(component.signature == self._signatures[kind], kind, "one kind of component of equal ports", component)
        ports: dict[str, Any] = {}
        for path, member, value in component.signature.flatten(component):
            direction = "i" if member.flow == In else "o"
            ports[f"{direction}_{'__'.join(map(str, path))}"] = value
        if re.search(r"^\s*input clk;", self._texts[kind], re.MULTILINE):
            ports |= {"i_clk": ClockSignal(), "i_rst": ResetSignal()}
        return Instance(name, **ports)


class _SharedModulesAndFiles(_SharedModules):
    """The same, with memories that read hex files."""

    reads_memory_files = True


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


def _converted(component: wiring.Component, name: str, platform: _SharedModules, **options: Any) -> str:
    text = verilog.convert(
        component, name=name, platform=platform, emit_src=False, strip_internal_attrs=True, **options
    )
    return with_clocked_next_values(_without_unread_aliases(str(text)))


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
