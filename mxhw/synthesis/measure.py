"""All figures of one component: gates, cells of libraries, resources of FPGA families."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from amaranth.lib import wiring

from mxhw.progress import Progress, SilentProgress
from mxhw.synthesis.asic import CellArea, GateCount, count_gates, map_to_cells
from mxhw.synthesis.fpga import Family, Resources, clock_wrapper, count_resources, place_and_route, router_version
from mxhw.synthesis.liberty import Library
from mxhw.synthesis.yosys import Source, YosysCrashError, source_of, tool_version

__all__ = ["FamilyFigures", "Figures", "measure", "resources_on", "tool_versions"]


@dataclass(frozen=True)
class FamilyFigures:
    """Resources on an FPGA family, with DSP blocks allowed (None where yosys died of that) and without."""

    with_dsp: Resources | None
    without_dsp: Resources


@dataclass(frozen=True)
class Figures:
    """What was measured of a component.

    Attributes
    ----------
    memory_bits : held by memories, which no other figure contains.
    generic : technology-free counts.
    cells : area by library.
    fpga : resources by family.
    """

    memory_bits: int
    generic: GateCount
    cells: dict[str, CellArea]
    fpga: dict[str, FamilyFigures]


def measure(
    component: wiring.Component,
    *,
    libraries: Sequence[Library] = (),
    families: Sequence[Family] = (),
    clock: float | None = None,
    name: str = "unit",
    progress: Progress | None = None,
) -> Figures:
    """Synthesise a component for every library and family.

    Parameters
    ----------
    clock : ps that the longest path may take in a library's cells; None for the smallest area at any delay.
    name : what progress is shown for.
    """
    source = source_of(component)
    with (
        tempfile.TemporaryDirectory(prefix="mxhw-synth-") as scratch,
        (progress or SilentProgress()).task(name, 1 + len(libraries) + len(families)) as task,
    ):
        folder = Path(scratch)
        generic = count_gates(source, folder)
        task.advance()
        cells, fpga = {}, {}
        for library in libraries:
            task.note(library.name)
            cells[library.name] = map_to_cells(source, library, folder, clock)
            task.advance()
        for family in families:
            task.note(family.name)
            routed = clock_wrapper(component) if family.has_clock else None
            fpga[family.name] = resources_on(source, routed, family, folder)
            task.advance()
    return Figures(source.memory_bits, generic, cells, fpga)


def resources_on(source: Source, routed: Source | None, family: Family, folder: Path) -> FamilyFigures:
    """Return the resources of a design on a family.

    A design that takes no DSP block when it may is not synthesised again without. Its clock is that of ``routed``, the
    same design between registers, if that is given.
    """

    def figures(dsp: bool) -> Resources:
        counted = count_resources(source, family, folder, dsp=dsp)
        if routed is None or not family.fits(counted):
            return counted
        return replace(counted, clock=place_and_route(routed, family, folder, dsp=dsp))

    try:
        with_dsp = figures(True)
    except YosysCrashError:  # yosys 0.70 does on norms, where it looks for iCE40's DSP blocks
        return FamilyFigures(None, figures(False))
    return FamilyFigures(with_dsp, figures(False) if with_dsp.dsp else with_dsp)


def tool_versions(families: Sequence[Family] = ()) -> dict[str, str]:
    """Return the versions of the tools that figures come from."""
    tools = {"synthesis": tool_version()}
    if any(family.has_clock for family in families):
        tools["place and route"] = router_version()
    return tools
