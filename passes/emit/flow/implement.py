"""Synthesis, place and route of an emitted design; the figures are kept in its folder, so that cycles become time."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from mxhw.errors import InputError
from mxhw.files import write_text
from mxhw.passes.emit.flow.interface import core_of, top_of
from mxhw.passes.emit.flow.write import design_top
from mxhw.sim.dataflow_design import DataflowDesign
from mxhw.synthesis import family_named, tool_versions
from mxhw.synthesis.design import implement_verilog

__all__ = ["FILE", "Implementation", "implement_design", "read_implementations"]

FILE = "implementation.json"


@dataclass(frozen=True)
class Implementation:
    """What a design takes of an FPGA family, and how fast it runs there.

    Attributes
    ----------
    family : as `mxhw synth --fpga` takes it.
    top : "axi" with its AXI ports, "core" without.
    bus : largest width of a tdata; None for a core.
    clock_mhz : after place and route; None where that was not done or the design does not fit.
    lut, lut_sites, flip_flops, carry, dsp, lut_memory : as in :class:`mxhw.synthesis.Resources`.
    block_memory : memory blocks of about 18 Kibit.
    seed : of place and route.
    tools : versions.
    """

    family: str
    top: Literal["axi", "core"]
    bus: int | None
    clock_mhz: float | None
    lut: int
    lut_sites: int
    flip_flops: int
    carry: int
    dsp: int
    lut_memory: int
    block_memory: int
    seed: int
    tools: Mapping[str, str]

    def microseconds(self, cycles: float) -> float | None:
        """Return the time that cycles take; None where the clock is not known."""
        return None if self.clock_mhz is None else cycles / self.clock_mhz


def implement_design(
    folder: Path,
    family: str = "ecp5",
    *,
    top: Literal["axi", "core"] = "axi",
    bus: int = 32,
    route: bool = True,
    seed: int = 1,
) -> Implementation:
    """Synthesise the design in a folder, place and route it (on ecp5), and keep the figures in `implementation.json`.

    That file in the same folder has an entry a family, and the hash of the design that they are true of.

    Parameters
    ----------
    top : with AXI ports (written to the folder if they are not there with this ``bus``), or the core alone.
    route : find the clock, which takes longer than the rest.

    Raises
    ------
    InputError
        For an unknown family, a folder without a design, or what a tool complains of.
    MissingToolError
        If pyosys or nextpnr is not installed.
    """
    kind = family_named(family)
    if top not in ("axi", "core"):
        raise InputError(f"top must be axi or core, not {top!r}")
    design = DataflowDesign.load(folder)
    tools = tool_versions([kind] if route else [])
    if top == "axi":
        made = design_top(design, bus=bus)
        verilog = top_of(folder, design, made)
        for file, text in zip(verilog.files, (made.top, made.modules), strict=False):
            write_text(folder / file, text)
    else:
        verilog = core_of(folder, design)
    figures = implement_verilog(verilog, kind, route=route, seed=seed)
    values = asdict(figures.resources)
    clock = values.pop("clock")
    found = Implementation(
        family=family,
        top=top,
        bus=bus if top == "axi" else None,
        clock_mhz=None if clock is None else round(clock, 2),
        **values,
        block_memory=figures.block_memory,
        seed=seed,
        tools=tools,
    )
    _keep(folder, design, found)
    return found


def read_implementations(folder: Path) -> dict[str, Implementation]:
    """Return what is known of the design in a folder, by family; nothing of another design that was there before."""
    try:
        record = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {folder / FILE}: {error}; remove it and implement the design again") from error
    if record.get("hash") != DataflowDesign.load(folder).hash:
        return {}
    fields = Implementation.__dataclass_fields__
    return {
        family: Implementation(**{name: value for name, value in entry.items() if name in fields})
        for family, entry in record["families"].items()
    }


def _keep(folder: Path, design: DataflowDesign, found: Implementation) -> None:
    entries = read_implementations(folder) | {found.family: found}
    families: dict[str, Any] = {}
    for family, entry in sorted(entries.items()):
        families[family] = asdict(entry)
        if design.cycles is not None:
            families[family]["microseconds"] = entry.microseconds(design.cycles)
    record = {"design": design.name, "hash": design.hash, "cycles": design.cycles, "families": families}
    write_text(folder / FILE, json.dumps(record, indent=1) + "\n")
