"""Projects for Vivado and for yosys with nextpnr, as edalize's flow API makes them, in folders below the design's."""

import copy
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mxhw.errors import require_extra
from mxhw.passes.emit.flow.describe import FlowTarget, edam
from mxhw.sim.dataflow_design import DataflowDesign

__all__ = ["PROJECTS", "require_edalize", "write_projects"]

PROJECTS = ("vivado", "ecp5")


def require_edalize() -> None:
    """Raise MissingToolError with the install command unless edalize is installed."""
    require_extra("edalize", "flow", "project files for Vivado and yosys")


def write_projects(folder: Path, design: DataflowDesign, target: FlowTarget) -> list[str]:
    """Write `projects/vivado` and `projects/ecp5`; `make` in either runs the tools. Return the files.

    Raises
    ------
    MissingToolError
        If edalize is not installed.
    """
    require_edalize()
    from edalize.flows.trellis import Trellis
    from edalize.flows.vivado import Vivado

    class FreshTrellis(Trellis):  # type: ignore[misc]
        """The flow adds a run's options to the class, so that a second project would have them twice."""

        _flow = copy.deepcopy(Trellis._flow)

    for name, flow in zip(PROJECTS, (Vivado, FreshTrellis), strict=True):
        place = folder / "projects" / name
        place.mkdir(parents=True, exist_ok=True)
        content = _content(name, design, target)
        with _quiet():
            flow(edam=content, work_root=str(place)).configure()
    return sorted(str(path.relative_to(folder)) for path in (folder / "projects").rglob("*") if path.is_file())


def _content(project: str, design: DataflowDesign, target: FlowTarget) -> dict[str, Any]:
    """Return the part of the EDAM that is for one tool."""
    content = edam(design, target, above="../../")
    option, others = {"vivado": ("part", ()), "ecp5": ("nextpnr_options", ("xdc", "tclSource", "mem"))}[project]
    content["flow_options"] = {option: content["flow_options"][option]}
    content["files"] = [file for file in content["files"] if file["file_type"] not in others]
    if project == "ecp5" and design.images:  # yosys opens them relative to where it runs
        content["hooks"] = {"pre_build": [{"name": "images", "cmd": ["cp", "-r", "../../images", "images"]}]}
    return content


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep edalize's notes about what it writes to itself."""
    logger = logging.getLogger("edalize")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
