"""Whole designs as Verilog files on FPGA families: resources with block memories, and the clock on ECP5.

For the clock, the top's ports lie between shift registers as those of a single unit do (:mod:`mxhw.synthesis.fpga`): a
design with wide buses has more ports than a package has pins, and its own paths are what is asked for.
"""

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from amaranth.hdl import ClockSignal, Instance, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mxhw.synthesis.fpga import (
    Family,
    Resources,
    between_registers,
    count_cells,
    place_and_route,
    require_router,
    resources_of,
    synthesise,
)
from mxhw.synthesis.yosys import Source, source_of

__all__ = ["DesignFigures", "DesignPort", "VerilogDesign", "implement_verilog"]

_WRAPPER = "mxhw_between_registers"


@dataclass(frozen=True)
class DesignPort:
    """A port of a design's top."""

    name: str
    width: int
    is_input: bool


@dataclass(frozen=True)
class VerilogDesign:
    """Verilog files of one folder.

    Attributes
    ----------
    folder : that the files lie in, and that `$readmemh` names files of.
    files : relative to the folder.
    name : of the top module.
    clock : its clock input.
    ports : its other ports.
    """

    folder: Path
    files: tuple[str, ...]
    name: str
    clock: str
    ports: tuple[DesignPort, ...]

    def write(self, folder: Path) -> tuple[str, ...]:
        """Show the design's folder in ``folder``; return the commands that read its files there."""
        for entry in self.folder.resolve().iterdir():
            if not (place := folder / entry.name).exists():
                os.symlink(entry, place)
        # Deferred: a memory without its file's name cannot be read.
        return tuple(f"read_verilog -defer {file}" for file in self.files)


@dataclass(frozen=True)
class DesignFigures:
    """What a design takes of an FPGA.

    Attributes
    ----------
    resources : with its clock where place and route was done.
    block_memory : memory blocks of about 18 Kibit; one of 36 counts twice.
    """

    resources: Resources
    block_memory: int


def implement_verilog(design: VerilogDesign, family: Family, *, route: bool = True, seed: int = 1) -> DesignFigures:
    """Synthesise a design, memory and DSP blocks allowed; place and route it where the family's device has room.

    Raises
    ------
    InputError
        If a tool is absent, or refuses the design.
    """
    if route and family.has_clock:
        require_router()
    with tempfile.TemporaryDirectory(prefix="mxhw-implement-") as scratch:
        cells = synthesise(design, family, Path(scratch), dsp=True, block_memories=True)
    found = resources_of(cells, family)
    blocks = sum(count * count_cells(cells, pattern) for pattern, count in family.blocks_of.items())
    if route and family.fits(found):
        with tempfile.TemporaryDirectory(prefix="mxhw-implement-") as scratch:
            clock = place_and_route(_Routed(design), family, Path(scratch), dsp=True, seed=seed)
        found = replace(found, clock=clock)
    return DesignFigures(found, blocks)


class _Top(wiring.Component):  # type: ignore[misc]
    """The top of a design as a component."""

    def __init__(self, design: VerilogDesign) -> None:
        self._design = design
        super().__init__({p.name: (In if p.is_input else Out)(p.width) for p in design.ports})

    def elaborate(self, platform: Any) -> Module:
        ports = {f"{'i' if p.is_input else 'o'}_{p.name}": getattr(self, p.name) for p in self._design.ports}
        m = Module()
        m.submodules.design = Instance(self._design.name, **{f"i_{self._design.clock}": ClockSignal()}, **ports)
        return m


class _Routed:
    """A design between registers."""

    name = _WRAPPER

    def __init__(self, design: VerilogDesign) -> None:
        self._design = design
        self._wrapper: Source = source_of(between_registers(_Top(design)), _WRAPPER, black_boxes=False)

    def write(self, folder: Path) -> tuple[str, ...]:
        """Write the registers, show the design; return the commands that read both."""
        return (*self._wrapper.write(folder), *self._design.write(folder))
