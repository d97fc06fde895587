"""Descriptions of a design for FPGA tools: EDAM for edalize, CAPI2 for FuseSoC, constraints, a hook for Vivado.

EDAM: https://edalize.readthedocs.io/en/latest/edam/api.html; CAPI2:
https://fusesoc.readthedocs.io/en/stable/ref/capi2.html. All paths are relative to the folder that the file lies in.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from mxhw.errors import InputError
from mxhw.passes.emit.flow.interface import FlowFiles
from mxhw.rtl_templates.axi.top import CLOCK, RESET
from mxhw.sim.dataflow_design import DataflowDesign

__all__ = ["FlowTarget", "constraints", "core_file", "edam", "to_yaml", "vivado_hooks"]

EDAM_VERSION = "0.2.1"
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class FlowTarget:
    """What the design is to run on.

    Attributes
    ----------
    part : Vivado's name of the device; by default that of the boards ZCU104 and ZCU106.
    ecp5 : nextpnr's options for the ECP5 device, by default the largest, in the package with most pins.
    clock_mhz : of aclk.
    """

    part: str = "xczu7ev-ffvc1156-2-e"
    ecp5: tuple[str, ...] = ("--85k", "--package", "CABGA756", "--speed", "6")
    clock_mhz: float = 100.0

    def __post_init__(self) -> None:
        if not _PART.fullmatch(self.part):
            raise InputError(
                f"part must be a device as Vivado names it, for instance {FlowTarget.part}, not {self.part!r}"
            )
        if not 1 <= self.clock_mhz <= 1000:
            raise InputError(f"clock_mhz must be from 1 to 1000, not {self.clock_mhz!r}")

    @property
    def nextpnr_options(self) -> list[str]:
        """Device, clock; pins are left to nextpnr unless a constraints file says more."""
        return [*self.ecp5, "--freq", f"{self.clock_mhz:g}", "--lpf-allow-unconstrained"]


def constraints(target: FlowTarget) -> str:
    """Return clock and reset as XDC, which other tools read as SDC."""
    period = f"{1000 / target.clock_mhz:.3f}"
    return (
        f"# {target.clock_mhz:g} MHz; the reset passes two registers before it is used.\n"
        f"create_clock -name {CLOCK} -period {period} [get_ports {CLOCK}]\n"
        f"set_false_path -from [get_ports {RESET}]\n"
    )


def vivado_hooks(name: str) -> dict[str, str]:
    """Return the scripts that let Vivado's synthesis find memory images: the project sources the first.

    Vivado synthesises in a folder of its own (NAME.runs/synth_1), from where the path `images/...` leads nowhere.
    """
    return {
        f"{name}_vivado.tcl": (
            "# The images of memories are copied to where Vivado synthesises, before it does.\n"
            f"set hook [file join [file dirname [file normalize [info script]]] {name}_images.tcl]\n"
            "set_property STEPS.SYNTH_DESIGN.TCL.PRE $hook [get_runs synth_1]\n"
        ),
        f"{name}_images.tcl": (
            "# The nearest folder of images above becomes one here.\n"
            "set above [pwd]\n"
            "for {set i 0} {$i < 5 && ![file isdirectory images]} {incr i} {\n"
            "    set above [file dirname $above]\n"
            "    if {[file isdirectory [file join $above images]]} {\n"
            "        file copy [file join $above images] images\n"
            "    }\n"
            "}\n"
            'if {![file isdirectory images]} { error "no folder images above [pwd]" }\n'
        ),
    }


def edam(design: DataflowDesign, target: FlowTarget, above: str = "") -> dict[str, Any]:
    """Return the EDAM of a design; ``above`` leads from where it is used to the design's folder."""
    files = FlowFiles.of(design)
    kinds = [(file, "verilogSource") for file in (*files.axi, *files.sources)]
    kinds += [(file, "mem") for file in files.images]
    kinds += [(f"{design.name}.xdc", "xdc")]
    if files.images:
        kinds += [(f"{design.name}_vivado.tcl", "tclSource")]
    return {
        "version": EDAM_VERSION,
        "name": design.name,
        "toplevel": design.name,
        "files": [{"name": above + file, "file_type": kind} for file, kind in kinds],
        "parameters": {},
        "flow_options": {"part": target.part, "nextpnr_options": target.nextpnr_options},
    }


_CORE_HEAD = """CAPI=2:
# Below the folder of this file: fusesoc --cores-root . run --target=sim|synth|ecp5 {name}
# The target sim needs what edalize does not yet give to cocotb 2.1:
#   export GPI_USERS="$(cocotb-config --libpython);$(cocotb-config --pygpi-entry-point)"
"""


def _core_description(design: DataflowDesign, target: FlowTarget) -> dict[str, Any]:
    """Return the content of the FuseSoC core: the core with its bench, and the AXI design for Vivado and ECP5."""
    name, files = design.name, FlowFiles.of(design)
    ports = [stream.beats for stream in (*design.inputs.values(), *design.outputs.values())]
    beats = dict.fromkeys([*ports, *(step.beats for step in design.steps)])

    def copied(*paths: str) -> list[dict[str, dict[str, str]]]:
        # $readmemh and the bench open them relative to where the tool runs.
        return [{path: {"copyto": path}} for path in paths]

    filesets: dict[str, Any] = {
        "core": {"files": list(files.sources), "file_type": "verilogSource"},
        "axi": {"files": list(files.axi), "file_type": "verilogSource"},
        "bench": {"files": copied("bench.py", "design.json", *beats), "file_type": "user"},
        "vivado": {"files": [{f"{name}.xdc": {"file_type": "xdc"}}]},
    }
    images = []
    if files.images:
        filesets["images"] = {"files": copied(*files.images), "file_type": "mem"}
        scripts = [{f"{name}_images.tcl": {"file_type": "user"}}, {f"{name}_vivado.tcl": {"file_type": "tclSource"}}]
        filesets["vivado"]["files"] += scripts
        images = ["images"]
    whole = ["axi", "core", *images]
    simulation = {"tool": "icarus", "cocotb_module": "bench", "timescale": "1ns/1ps"}
    return {
        "name": f"mxhw:designs:{name}:{_version(design.version)}",
        "description": f"{name}, emitted by mxhw {design.version}, configuration {design.hash[:16]}",
        "filesets": filesets,
        "targets": {
            "default": {"filesets": [*whole], "toplevel": name},
            "sim": {
                "description": "the core against its expected beats (cocotb)",
                "filesets": ["core", *images, "bench"],
                "toplevel": design.top,
                "flow": "sim",
                "flow_options": simulation,
            },
            "synth": {
                "description": f"Vivado, {target.part}",
                "filesets": [*whole, "vivado"],
                "toplevel": name,
                "flow": "vivado",
                "flow_options": {"part": target.part},
            },
            "ecp5": {
                "description": "yosys, nextpnr, ecppack",
                "filesets": [*whole],
                "toplevel": name,
                "flow": "trellis",
                "flow_options": {"nextpnr_options": target.nextpnr_options},
            },
        },
    }


def _version(version: str) -> str:
    """Return the numbers of a version, which is all that FuseSoC takes."""
    found = re.match(r"\d+(\.\d+){0,2}", version)
    return found.group() if found else "0"


def to_yaml(content: Mapping[str, Any]) -> str:
    """Return a mapping as YAML, in its own order."""
    text: str = yaml.safe_dump(dict(content), sort_keys=False, width=1000, default_flow_style=False)
    return text


def core_file(design: DataflowDesign, target: FlowTarget) -> str:
    """Return the text of the FuseSoC core."""
    content = _core_description(design, target)
    return _CORE_HEAD.format(name=content["name"]) + to_yaml(content)
