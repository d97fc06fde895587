"""`mxhw synth`: what units of the hardware library take, in gates, in cells of a library, on FPGAs; designs too."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mxhw.cli.app import JsonOption, app
from mxhw.cli.console import Output

if TYPE_CHECKING:
    from mxhw.passes.emit.flow import Implementation
    from mxhw.synthesis import Figures, UnitChoice

__all__ = ["synth"]


@app.command()
def synth(
    units: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[UNIT|DIR]...",
            help="NAME or NAME:parameter=value,parameter=value; see --list. Or the folder of an emitted design.",
        ),
    ] = None,
    liberty: Annotated[
        list[Path] | None,
        typer.Option(help="A cell library: a .lib or .lib.gz file, or a folder of them. May be repeated."),
    ] = None,
    fpga: Annotated[
        list[str] | None, typer.Option(help="An FPGA family: xilinx, ecp5 or ice40. May be repeated.")
    ] = None,
    clock: Annotated[
        float | None,
        typer.Option(min=1, metavar="PS", help="The longest path in a cell library; default: none, smallest area."),
    ] = None,
    route: Annotated[
        bool, typer.Option(help="Place and route designs on ecp5, which finds their clock and takes longest.")
    ] = True,
    list_: Annotated[bool, typer.Option("--list", help="Name the units, their parameters, defaults, choices.")] = False,
    json: JsonOption = False,
) -> None:
    """Synthesize units of the hardware library and report what they take.

    Always: yosys' cells, NAND2 equivalents, CMOS transistors, flip-flops. With a cell library also area and delay, with
    an FPGA family LUTs, flip-flops, carry cells and DSP blocks (and the clock on ecp5).

    A design's folder is implemented on each FPGA family (default: ecp5) with its AXI ports; the figures are kept there
    in implementation.json.

    Example: `mxhw synth fifo`, or `mxhw synth dialect_pe fifo:depth=4 --liberty sg13g2_typ.lib.gz --fpga ecp5`, or
    `mxhw synth --list`.
    """
    from mxhw.errors import InputError
    from mxhw.synthesis import describe_units

    output = Output(as_json=json)
    if list_:
        known = describe_units()
        if not json:
            _show_units(output, known)
        output.result({"units": known})
        return
    if not units:
        raise InputError("name a unit, for instance `mxhw synth fifo`; `mxhw synth --list` names them all")
    folders, names = _designs(units)
    results, tools = _measure(output, names, liberty or [], fpga or [], clock)
    designs = _implement(folders, fpga or ["ecp5"], route)
    if not json:
        _show(output, results, clock)
        _show_designs(output, designs)
    record: dict[str, Any] = {"units": [_record(choice, figures) for choice, figures in results], "tools": tools}
    if designs:
        record["designs"] = [{"folder": str(folder), **asdict(found)} for folder, found in designs]
    output.result(record)


def _designs(given: list[str]) -> tuple[list[Path], list[str]]:
    """Return the folders of designs among what was given, and the rest."""
    from mxhw.sim.dataflow_design import is_dataflow_design

    folders = [Path(text) for text in dict.fromkeys(given) if is_dataflow_design(Path(text))]
    return folders, [text for text in given if Path(text) not in folders]


def _implement(folders: list[Path], families: list[str], route: bool) -> list[tuple[Path, Implementation]]:
    from mxhw.passes.emit.flow import implement_design
    from mxhw.synthesis import family_named

    known = [family_named(name).name for name in dict.fromkeys(families)]
    return [(folder, implement_design(folder, family, route=route)) for folder in folders for family in known]


def _measure(
    output: Output, units: list[str], liberty: list[Path], fpga: list[str], clock: float | None
) -> tuple[list[tuple[UnitChoice, Figures]], dict[str, str]]:
    """Check everything that was given, then synthesise unit by unit."""
    import tempfile
    import warnings

    from amaranth.hdl import UnusedElaboratable

    from mxhw.errors import InputError
    from mxhw.synthesis import family_named, measure, open_library, parse_unit, tool_versions

    # A unit that is refused, or made before another one is refused, is never elaborated: nothing to warn of.
    warnings.simplefilter("ignore", UnusedElaboratable)
    choices = [parse_unit(text) for text in dict.fromkeys(units)]
    families = [family_named(name) for name in dict.fromkeys(fpga)]
    components = [choice.make() for choice in choices]
    tools = tool_versions(families)
    with tempfile.TemporaryDirectory(prefix="mxhw-liberty-") as scratch:
        libraries = [open_library(path, Path(scratch) / str(index)) for index, path in enumerate(liberty)]
        for index, library in enumerate(libraries):
            if library.name in [other.name for other in libraries[:index]]:
                raise InputError(f"two cell libraries are both called {library.name!r}; rename a file or folder")
        results = [
            (
                choice,
                measure(
                    component,
                    libraries=libraries,
                    families=families,
                    clock=clock,
                    name=choice.label,
                    progress=output.progress,
                ),
            )
            for choice, component in zip(choices, components, strict=True)
        ]
    return results, tools


def _record(choice: UnitChoice, figures: Figures) -> dict[str, Any]:
    return {
        "name": choice.label,
        "unit": choice.template.name,
        "parameters": choice.parameters,
        "macs_per_cycle": choice.macs_per_cycle,
        **asdict(figures),
    }


def _show_units(output: Output, known: list[dict[str, Any]]) -> None:
    rows = []
    for unit in known:
        parameters = [
            f"{name}={parameter['default']}"
            + (f" ({'|'.join(map(str, parameter['choices']))})" if parameter["choices"] else "")
            for name, parameter in unit["parameters"].items()
        ]
        rows.append([unit["name"], unit["kind"], unit["description"], ", ".join(parameters)])
    output.table("Units", ["name", "kind", "what it is", "parameters, defaults (choices)"], rows)


def _show_designs(output: Output, designs: list[tuple[Path, Implementation]]) -> None:
    if not designs:
        return
    rows = [
        [
            *(str(folder), found.family),
            *(f"{n:,}" for n in (found.lut, found.flip_flops, found.carry, found.dsp, found.lut_memory)),
            *(f"{found.block_memory:,}", "–" if found.clock_mhz is None else f"{found.clock_mhz:.1f}"),
        ]
        for folder, found in designs
    ]
    columns = ["design", "family", "LUT", "flip-flops", "carry", "DSP", "LUT memory", "18 Kb blocks", "clock, MHz"]
    output.table("Designs with their AXI ports", columns, rows)


def _show(output: Output, results: list[tuple[UnitChoice, Figures]], clock: float | None) -> None:
    gates = [
        [choice.label, *(f"{count:,}" for count in (g.cells, g.nand2, g.transistors, g.flip_flops, f.memory_bits))]
        for choice, f in results
        for g in [f.generic]
    ]
    output.table(
        "Gates, whatever the technology",
        ["unit", "cells", "NAND2", "CMOS transistors", "flip-flops", "memory bits (not counted)"],
        gates,
    )
    aim = "smallest area" if clock is None else f"smallest area within {clock:g} ps"
    areas = [
        [
            *(choice.label, library, f"{c.area:,.2f}", f"{c.delay:,.0f}", f"{c.spread:.1%}", c.recipe),
            *(f"{c.quickest_area:,.2f}", f"{c.quickest_delay:,.0f}"),
        ]
        for choice, f in results
        for library, c in f.cells.items()
    ]
    if areas:
        columns = ["unit", "library", "area, µm²", "delay, ps", "spread", "abc script", "quickest: µm²", "ps"]
        output.table(f"Cells of a library, {aim}", columns, areas)
    rows = [
        [
            *(choice.label, family, allowed),
            *(f"{n:,}" for n in (r.lut, r.flip_flops, r.carry, r.dsp, r.lut_memory)),
            "–" if r.clock is None else f"{r.clock:.0f}",
        ]
        for choice, f in results
        for family, pair in f.fpga.items()
        for allowed, r in (("yes", pair.with_dsp), ("no", pair.without_dsp))
        if r is not None
    ]
    if rows:
        columns = ["unit", "family", "DSP allowed", "LUT", "flip-flops", "carry", "DSP", "LUT memory", "clock, MHz"]
        output.table("FPGA resources", columns, rows)
