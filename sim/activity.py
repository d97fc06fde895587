"""How often the registers of an emitted design toggle, counted in its simulation, bit by bit.

    activity = measure_activity(folder)
    activity.steps["layers_0_mlp_down_proj"].rate         # toggles a register bit and cycle

A design runs in Verilator with the beats that lie beside it, and every change of every signal is counted (SAIF, IEEE
1801 annex I). What counts are registers, as the Verilog of each module declares them; what stands between two steps
belongs to the one that reads (FIFOs, converters) or that is read (forks, those of inputs under the input's name). The
reference is a register that takes random data every cycle: each of its bits toggles in every second cycle.

Not counted: words of memories, whose accesses an energy model counts by itself, wires, and glitches, which a simulation
without delays has not. Bits toggle as the beats make them: other data, other activity.
"""

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mxhw.errors import InputError
from mxhw.sim.beats import Values
from mxhw.sim.cache import read_source
from mxhw.sim.dataflow import DataflowSimulation
from mxhw.sim.streams import SimulationError

__all__ = ["ACTIVITY_FILE", "RANDOM_RATE", "Activity", "StepActivity", "measure_activity", "write_activity"]

ACTIVITY_FILE = "activity.json"
RANDOM_RATE = 0.5
"""Toggles a bit and cycle of a register that takes random data every cycle."""

_MODULE = re.compile(r"^module\s+(\\\S+|\w+)\s*(?:#|\()(.*?)^endmodule", re.MULTILINE | re.DOTALL)
_INSTANCE = re.compile(r"^\s*(\\\S+|\w+)\s+(?:#\(.*?^\s*\)\s+)?(\\\S+|\w+)\s*\(\s*$", re.MULTILINE | re.DOTALL)
_REGISTER = re.compile(r"^\s*(?:if \(.*?\) )?(\\\S+|\w+)\s*(?:\[[^\]]*\])?\s*<=", re.MULTILINE)
_NET = re.compile(r"\((\S+) \(T0 \d+\) \(T1 \d+\) .*\(TC (\d+)\)\)")


@dataclass(frozen=True)
class StepActivity:
    """The registers of a step and of what brings its inputs.

    Attributes
    ----------
    bits : how many.
    toggles : of all of them in the run.
    cycles : of the run.
    """

    bits: int
    toggles: int
    cycles: int

    @property
    def rate(self) -> float:
        """Toggles a bit and cycle."""
        return self.toggles / (self.bits * self.cycles) if self.bits else 0.0

    @property
    def relative(self) -> float:
        """The rate over :data:`RANDOM_RATE`."""
        return self.rate / RANDOM_RATE


@dataclass(frozen=True)
class Activity:
    """What toggled in one run without stalls.

    Attributes
    ----------
    name : of the design.
    hash : of the design.
    cycles : first beat in to last beat out, both counted.
    steps : stream of a step, or of an input that is forked → its registers.
    """

    name: str
    hash: str
    cycles: int
    steps: Mapping[str, StepActivity]

    @property
    def total(self) -> StepActivity:
        """All steps together."""
        return StepActivity(
            sum(step.bits for step in self.steps.values()),
            sum(step.toggles for step in self.steps.values()),
            self.cycles,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the record in activity.json."""
        steps = {
            name: {"bits": step.bits, "toggles": step.toggles, "rate": step.rate, "relative": step.relative}
            for name, step in self.steps.items()
        }
        total = {**asdict(self.total), "rate": self.total.rate, "relative": self.total.relative}
        head = {"name": self.name, "hash": self.hash, "cycles": self.cycles, "random_rate": RANDOM_RATE}
        return {**head, "total": total, "steps": steps}


def measure_activity(
    folder: Path, *, inputs: Mapping[str, Values] | None = None, cache: Path | None = None
) -> Activity:
    """Run the design in a folder once without stalls, and count; it is compiled once more for this.

    Parameters
    ----------
    inputs : input → other beats than those beside the design, as many; their outputs are not compared.

    Raises
    ------
    InputError
        If the design is damaged, or has no input of that name.
    SimulationError
        If with its own beats an output or a step differs from the software's.
    """
    simulation = DataflowSimulation(folder, cache=cache)
    design = simulation.design
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "toggles.saif"
        run = simulation.run_bulk(inputs=inputs, waves=path)
        if inputs is None and (wrong := [name for name, found in run.compared.items() if not found.equal]):
            raise SimulationError(f"{wrong[0]} differs from the software: run `mxhw cosim {folder}`, which says where")
        modules = _modules([folder / name for name in design.sources])
        counted = dict.fromkeys((step.stream for step in design.steps), (0, 0))
        for step, toggles in _register_bits(path.read_text().splitlines(), modules, design.top):
            name = step.partition("__")[0]
            bits, before = counted.get(name, (0, 0))
            counted[name] = bits + 1, before + toggles
    steps = {name: StepActivity(bits, toggles, run.cycles) for name, (bits, toggles) in counted.items()}
    return Activity(design.name, design.hash, run.cycles, steps)


def write_activity(folder: Path, activity: Activity) -> Path:
    """Write activity.json beside a design; return its path."""
    path = folder / ACTIVITY_FILE
    try:
        path.write_text(json.dumps(activity.to_json(), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
    return path


@dataclass(frozen=True)
class _Module:
    """Names of a module's registers, and instance → the module that it is of."""

    registers: frozenset[str]
    instances: Mapping[str, str]


def _modules(sources: list[Path]) -> dict[str, _Module]:
    """Read the modules of a design."""
    found = {}
    for source in sources:
        for match in _MODULE.finditer(read_source(source)):
            body = match[2]
            registers = frozenset(_plain(name) for name in _REGISTER.findall(body))
            instances = {_plain(name): _plain(module) for module, name in _INSTANCE.findall(body)}
            found[_plain(match[1])] = _Module(registers, instances)
    return found


def _register_bits(lines: list[str], modules: Mapping[str, _Module], top: str) -> Iterator[tuple[str, int]]:
    """Give for every bit of a register the instance of the top that it lies in, and how often it toggles."""
    nothing = _Module(frozenset(), {})
    stack: list[tuple[str, _Module]] = []  # instance of the top, module
    depths: list[int] = []
    depth = 0
    for line in lines:
        text = line.strip()
        if text.startswith("(INSTANCE "):
            name = _plain(text.removeprefix("(INSTANCE ").rstrip(")"))
            if not stack:
                stack.append(("", modules[top] if name == top else nothing))
            else:
                above, module = stack[-1]
                stack.append((above or name, modules.get(module.instances.get(name, ""), nothing)))
            depths.append(depth)
        elif stack and (net := _NET.match(text)):
            instance, module = stack[-1]
            if instance and _plain(net[1]).partition("[")[0] in module.registers:
                yield instance, int(net[2])
        depth += text.count("(") - text.count(")")
        while depths and depth <= depths[-1]:
            depths.pop()
            stack.pop()


def _plain(name: str) -> str:
    """Return a name without what Verilog and SAIF escape it with."""
    return name.replace("\\", "").strip()
