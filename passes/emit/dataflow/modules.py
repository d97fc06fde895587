"""The Verilog modules of a design: one text for all instances that have its name."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from amaranth.lib import wiring

from mxhw.arithmetic.dataflow import BlockCodes, StreamType
from mxhw.passes.emit.dataflow.beats import payload_bits, payload_shape
from mxhw.passes.emit.dataflow.place import module_name
from mxhw.rtl_templates.dataflow.width import WidthUnit
from mxhw.rtl_templates.emission import modules_verilog
from mxhw.rtl_templates.file_parameters import file_parameter
from mxhw.rtl_templates.stream import Fifo, Fork

__all__ = ["ModuleText", "Modules"]


@dataclass(frozen=True)
class ModuleText:
    """A module's Verilog.

    Attributes
    ----------
    clocked : it has ports clk and rst.
    files : memory file → the parameter that names it.
    """

    name: str
    text: str
    clocked: bool
    files: dict[str, str]


class Modules:
    """Collects the modules of a design, and then makes all their texts at once.

    Until then a module's record says nothing but its name, so that the text which instantiates it is to be written
    again.

    Attributes
    ----------
    texts : name → module.
    """

    def __init__(self) -> None:
        self.texts: dict[str, ModuleText] = {}
        self._waiting: dict[str, wiring.Component] = {}

    def add(self, name: str, component: wiring.Component) -> ModuleText:
        """Return the module for a component; one text serves all components of this name."""
        if name not in self.texts:
            self.texts[name] = ModuleText(name, "", False, {})
            self._waiting[name] = component
        return self.texts[name]

    def make(self) -> None:
        """Make the texts of all that were added."""
        waiting, self._waiting = self._waiting, {}
        for name, (text, files) in modules_verilog(waiting).items() if waiting else ():
            header = re.search(rf"^module {name}\b.*?\(([^()]*)\);", text, re.MULTILINE | re.DOTALL)
            assert header is not None, "the text has the module that was asked for"
            clocked = "clk" in re.split(r"[,\s]+", header[1])  # long headers are broken into lines
            self.texts[name] = ModuleText(name, text, clocked, {file: file_parameter(file) for file in sorted(files)})

    def fork(self, kind: StreamType, lanes: int, outputs: int) -> ModuleText:
        """Return the fork of a stream to so many readers; its outputs are y0, y1, …"""
        bits = payload_bits(kind, lanes)
        return self._shared(module_name("fork", f"{bits}x{outputs}"), lambda: Fork(shape=bits, outputs=outputs))

    def fifo(self, kind: StreamType, lanes: int, depth: int) -> ModuleText:
        """Return the queue of so many beats."""
        bits = payload_bits(kind, lanes)
        return self._shared(module_name("fifo", f"{bits}x{depth}"), lambda: Fifo(shape=bits, depth=depth))

    def converter(self, kind: StreamType, x_lanes: int, y_lanes: int) -> ModuleText:
        """Return the converter from one number of elements a beat to another."""
        shape: Any = payload_shape(kind, 1)
        if not isinstance(kind, BlockCodes):
            name = module_name("lanes", f"{payload_bits(kind, 1)}", f"{x_lanes}to{y_lanes}")
            return self._shared(name, lambda: WidthUnit(shape=shape.elem_shape, x_lanes=x_lanes, y_lanes=y_lanes))
        widths = {field: member for field, member in shape.members.items() if field != "codes"}
        name = module_name("lanes", f"{kind.bits}", f"{x_lanes}to{y_lanes}", f"b{sum(widths.values())}")
        code = shape.members["codes"].elem_shape
        return self._shared(name, lambda: WidthUnit(shape=code, x_lanes=x_lanes, y_lanes=y_lanes, fields=widths))

    def _shared(self, name: str, make: Callable[[], wiring.Component]) -> ModuleText:
        """Return a module that every design makes in the same way.

        It is made anew for each design: which modules are converted together has an influence on their texts.
        """
        return self.texts[name] if name in self.texts else self.add(name, make())
