"""Synthesis, place and route of an emitted design; the figures are kept in its folder, so that cycles become time."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from mxhw.errors import InputError
from mxhw.files import write_text
from mxhw.passes.emit.flow.interface import core_of, top_of
from mxhw.passes.emit.flow.write import design_top
from mxhw.sim.clocks import IMPLEMENTATION_FILE, Implementation, read_implementations
from mxhw.sim.dataflow_design import DataflowDesign
from mxhw.synthesis import family_named, tool_versions
from mxhw.synthesis.design import implement_verilog

__all__ = ["implement_design"]


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


def _keep(folder: Path, design: DataflowDesign, found: Implementation) -> None:
    entries = read_implementations(folder) | {found.family: found}
    families: dict[str, Any] = {}
    for family, entry in sorted(entries.items()):
        families[family] = asdict(entry)
        if design.cycles is not None:
            families[family]["microseconds"] = entry.microseconds(design.cycles)
    record = {"design": design.name, "hash": design.hash, "cycles": design.cycles, "families": families}
    write_text(folder / IMPLEMENTATION_FILE, json.dumps(record, indent=1) + "\n")
