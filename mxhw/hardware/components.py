"""The measured table of components: area, or LUTs, and delay of what `rtl_templates` is made of.

`data/pe_area.json` is written by `bench/synth_area.py`, which synthesises every component with yosys against an open
cell library or an FPGA family; the file names the library, its licence and the tool. Synthesis is heuristic: figures
closer than about 20 % do not rank designs.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mxhw.errors import InputError, nearest

__all__ = ["Component", "component", "components", "library_origin"]

_TABLE = Path(__file__).parent / "data" / "pe_area.json"


@dataclass(frozen=True)
class Component:
    """One synthesised component.

    Attributes
    ----------
    size : float
        Area [um2] in an ASIC library, LUTs in an FPGA family.
    delay : float or None
        Longest combinational path [ps]; None where the family's tool does not report it.
    flip_flops : int
        Bits of state, of which `size` holds the cells in an ASIC library; FPGAs have them beside the LUTs.
    spread : float or None
        How much larger the largest result of several synthesis scripts was than the smallest, as a ratio.
    accumulator_bits : int or None
        Width of the accumulator that `size` is for.
    per_accumulator_bit : float
        Size of one more bit.
    """

    size: float
    delay: float | None
    flip_flops: int
    spread: float | None = None
    accumulator_bits: int | None = None
    per_accumulator_bit: float = 0.0

    def at(self, accumulator_bits: int) -> float:
        """Return the size with an accumulator of another width."""
        if self.accumulator_bits is None:
            return self.size
        return self.size + (accumulator_bits - self.accumulator_bits) * self.per_accumulator_bit


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(_TABLE.read_text(encoding="utf-8"))
    return table


@cache
def components(library: str) -> dict[str, Component]:
    """Return the components measured in a library.

    Raises
    ------
    InputError
        If the library was not measured.
    """
    libraries = _table()["libraries"]
    if library not in libraries:
        raise InputError(
            f"no components were measured in library {library!r}; measured are {', '.join(libraries)}"
            + nearest(library, libraries)
        )
    return {name: Component(**entry) for name, entry in libraries[library]["components"].items()}


def component(library: str, name: str) -> Component:
    """Return one component of a library.

    Raises
    ------
    InputError
        If it was not measured there; `bench/synth_area.py` measures it.
    """
    known = components(library)
    if name not in known:
        raise InputError(f"component {name!r} was not measured in library {library!r}" + nearest(name, known))
    return known[name]


def library_origin(library: str) -> str:
    """Return where the cells of a library come from, and under which licence."""
    return str(_table()["libraries"][library]["origin"])
