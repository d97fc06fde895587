"""The measured table of sizes: area, or LUTs, and delay of what `rtl_templates` is made of.

`data/pe_area.json` is written by `make table-synth` (`mxhw.synthesis.table`), which synthesises the parts that the cost
model adds up and every unit of the catalogue with yosys against open cell libraries and FPGA families; the file names
each library, its licence and the tools. Synthesis is heuristic: figures closer than about 20 % do not rank designs.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from mxhw.errors import InputError, nearest

__all__ = [
    "Component",
    "FpgaResources",
    "component",
    "components",
    "library_origin",
    "measured_libraries",
    "measured_units",
]

_TABLE = Path(__file__).parent / "data" / "pe_area.json"


@dataclass(frozen=True)
class FpgaResources:
    """What a component takes of an FPGA.

    Attributes
    ----------
    size : LUTs that logic, carry chains and LUT memories occupy.
    flip_flops, carry, dsp : cells of these kinds.
    clock : MHz after place and route; None where that was not done.
    """

    size: float
    flip_flops: int
    carry: int
    dsp: int
    clock: float | None = None


@dataclass(frozen=True)
class Component:
    """One synthesised component.

    Attributes
    ----------
    size : float
        Area [um2] in an ASIC library, LUTs in an FPGA family (without DSP blocks), yosys' cells in library "generic".
    flip_flops : int
        Bits of state, of which `size` holds the cells in an ASIC library; FPGAs have them beside the LUTs.
    delay : float or None
        Longest combinational path [ps]; None where the family's tool does not report it.
    spread : float or None
        How much larger the largest result of several synthesis scripts was than the smallest, as a ratio.
    accumulator_bits : int or None
        Width of the accumulator that `size` is for.
    per_accumulator_bit : float
        Size of one more bit.
    memory_bits : int
        Bits of memories inside, which no figure contains.
    nand2, transistors : int or None
        Library "generic": two-input NANDs, and CMOS transistors of the combinational cells.
    carry, dsp : int or None
        Cells of an FPGA; `dsp` is 0.
    clock : float or None
        MHz after place and route, where that was done.
    with_dsp : FpgaResources or None
        The same on an FPGA with DSP blocks allowed.
    parameters : mapping
        Those of the unit of the catalogue; empty for a part.
    digest : str
        Of the RTL and the tools.
    """

    size: float
    flip_flops: int
    delay: float | None = None
    spread: float | None = None
    accumulator_bits: int | None = None
    per_accumulator_bit: float = 0.0
    memory_bits: int = 0
    nand2: int | None = None
    transistors: int | None = None
    carry: int | None = None
    dsp: int | None = None
    clock: float | None = None
    with_dsp: FpgaResources | None = None
    parameters: Mapping[str, int | str | bool | None] = field(default_factory=dict)
    digest: str = ""

    def at(self, accumulator_bits: int) -> float:
        """Return the size with an accumulator of another width."""
        if self.accumulator_bits is None:
            return self.size
        return self.size + (accumulator_bits - self.accumulator_bits) * self.per_accumulator_bit


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(_TABLE.read_text(encoding="utf-8"))["libraries"]
    return table


def measured_libraries() -> list[str]:
    """Return the names of the libraries and FPGA families in the table."""
    return list(_table())


@cache
def components(library: str) -> dict[str, Component]:
    """Return the parts, which the cost model adds up, that were measured in a library.

    Raises
    ------
    InputError
        If the library was not measured.
    """
    return _read(library, "components")


@cache
def measured_units(library: str) -> dict[str, Component]:
    """Return the units of the catalogue, at their default parameters, that were measured in a library.

    Raises
    ------
    InputError
        If the library was not measured.
    """
    return _read(library, "units")


def _read(library: str, section: str) -> dict[str, Component]:
    libraries = _table()
    if library not in libraries:
        raise InputError(
            f"no components were measured in library {library!r}; measured are {', '.join(libraries)}"
            + nearest(library, libraries)
        )
    return {name: _component(entry) for name, entry in libraries[library].get(section, {}).items()}


def _component(entry: dict[str, Any]) -> Component:
    with_dsp = entry.get("with_dsp")
    return Component(**{**entry, "with_dsp": FpgaResources(**with_dsp) if with_dsp else None})


def component(library: str, name: str) -> Component:
    """Return one part of a library.

    Raises
    ------
    InputError
        If it was not measured there; `make table-synth` measures it.
    """
    known = components(library)
    if name not in known:
        raise InputError(f"component {name!r} was not measured in library {library!r}" + nearest(name, known))
    return known[name]


def library_origin(library: str) -> str:
    """Return where the cells of a library come from, and under which licence."""
    return str(_table()[library]["origin"])
