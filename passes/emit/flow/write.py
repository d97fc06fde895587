"""Writes what FPGA tools need into a design's folder: AXI top, registers, constraints, file list, projects."""

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from mxhw.errors import InputError
from mxhw.files import write_text
from mxhw.passes.emit.flow.describe import FlowTarget, constraints, core_file, edam, to_yaml, vivado_hooks
from mxhw.passes.emit.flow.interface import FlowFiles, axi_streams
from mxhw.passes.emit.flow.projects import write_projects
from mxhw.rtl_templates.axi import AxiTop, axi_top, describe_registers
from mxhw.sim.dataflow_design import DataflowDesign

__all__ = ["WrittenFlow", "design_top", "write_flow"]


_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class WrittenFlow:
    """What was written.

    Attributes
    ----------
    files : relative to the folder.
    note : one line on what is missing and how to get it; empty if nothing is.
    """

    files: tuple[str, ...]
    note: str


def design_top(design: DataflowDesign, *, bus: int = 64) -> AxiTop:
    """Return the AXI top of a design."""
    if not _HASH.fullmatch(design.hash):
        raise InputError(f"the hash of design {design.name} must be 64 hex digits, not {design.hash!r}; emit it again")
    header = f"{design.name}: emitted by mxhw {design.version}; configuration {design.hash}."
    return axi_top(design.name, axi_streams(design), digest=bytes.fromhex(design.hash), bus=bus, header=header)


def write_flow(
    folder: Path, design: DataflowDesign | None = None, *, target: FlowTarget | None = None, bus: int = 64
) -> WrittenFlow:
    """Write beside an emitted design what FPGA tools need; the same design gives the same bytes.

    NAME.v and NAME_axi.v (the AXI top), REGISTERS.txt, files.f (what to compile, in order), NAME.xdc and NAME.sdc (the
    clock), NAME.eda.yml (EDAM), NAME.core (FuseSoC), and with edalize installed `projects/vivado` and `projects/ecp5`.

    Parameters
    ----------
    design : what the folder's design.json says; read if not given.
    target : device and clock.
    bus : largest width of a tdata, a power of two from 8.

    Raises
    ------
    InputError
        If the folder holds no design, or the bus is no power of two.
    """
    design = design or DataflowDesign.load(folder)
    target = target or FlowTarget()
    name, files = design.name, FlowFiles.of(design)
    top = design_top(design, bus=bus)
    texts = {
        files.axi[0]: top.top,
        files.axi[1]: top.modules,
        "REGISTERS.txt": f"{name}: registers behind s_axi_control\n\n{describe_registers(axi_streams(design))}",
        "files.f": "".join(f"{file}\n" for file in (*files.axi, *files.sources)),
        f"{name}.xdc": constraints(target),
        f"{name}.sdc": constraints(target),
        f"{name}.eda.yml": to_yaml(edam(design, target)),
        f"{name}.core": core_file(design, target),
        **(vivado_hooks(name) if files.images else {}),
    }
    for file, text in texts.items():
        write_text(folder / file, text)
    if find_spec("edalize") is None:
        note = "no project files for Vivado and yosys: package edalize is not installed: pip install 'mxhw[flow]'"
        return WrittenFlow(tuple(texts), note)
    return WrittenFlow((*texts, *write_projects(folder, design, target)), "")
