"""What is said of a design's costs: totals, and a row a node."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mxhw.errors import InputError
from mxhw.hardware.energy import EnergyBreakdown
from mxhw.hardware.sizes import NOTHING
from mxhw.hardware.structure import AttentionUnit, Product, Step
from mxhw.passes.analysis.planning import UnitCost

__all__ = ["HardwareReport", "LazyNodes", "NoHardwareError", "PlannedDesign", "node_row"]


class NoHardwareError(InputError):
    """No node of a design has hardware."""


@dataclass(frozen=True)
class HardwareReport:
    """Costs of a design for one input sequence.

    Attributes
    ----------
    interval : int
        Cycles between sequences: those that the slowest unit takes for one, from its first beat in to its last one out.
    cycles : int
        Sum over the units of the cycles that each takes.
    seconds : float
        `interval` at the platform's clock.
    resources : mapping of str to float
        Use of the platform ("area" in um2; "lut", "ff", "dsp", "bram", "uram").
    memory_bits : float
        Bits that the memories hold.
    energy : float or None
        pJ per sequence; None where the platform's energies are unknown.
    edp : float or None
        Energy times interval [pJ * s].
    energies : mapping of str to float
        `energy` by term: logic, and memories by what they hold; those that are known.
    nodes : mapping of str to mapping
        Per GEMM node: unit, weight_type, rows, columns, lanes, accumulator_bits, interface, cycles, macs, resources,
        memories [bits], energy; what stands around its array is counted with it.
    without : tuple of str
        Nodes that work without hardware: nothing is charged for those whose kind or formats have no unit; experts and
        attention in DialectFP4 are charged for, but have no RTL.
    mac_coverage : float
        Share of the multiply-accumulates that have hardware.
    """

    platform: str
    sequence: int
    interval: int
    cycles: int
    seconds: float
    resources: Mapping[str, float]
    memory_bits: float
    energy: float | None
    edp: float | None
    energies: Mapping[str, float]
    nodes: Mapping[str, Mapping[str, Any]]
    without: tuple[str, ...]
    mac_coverage: float

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        return {
            **self.totals(),
            "nodes": {name: dict(node) for name, node in self.nodes.items()},
            "without": list(self.without),
        }

    def totals(self) -> dict[str, Any]:
        """Return everything but the nodes."""
        return {
            "platform": self.platform,
            "sequence": self.sequence,
            "interval": self.interval,
            "cycles": self.cycles,
            "seconds": self.seconds,
            "resources": dict(self.resources),
            "memory_bits": self.memory_bits,
            "energy": self.energy,
            "edp": self.edp,
            "energies": dict(self.energies),
            "mac_coverage": self.mac_coverage,
        }


@dataclass(frozen=True)
class PlannedDesign:
    """Sizes that fit a platform, and what they cost; formats, arrays and lanes as of :class:`.Assignment`.

    Lanes are those that differ from the smallest ones, which steps have where nothing is said. ``pace`` is the cycles
    a token of the slowest step, which no other sizes that fit are below.
    """

    arrays: Mapping[str, tuple[int, int]]
    lanes: Mapping[str, int]
    report: HardwareReport
    formats: Mapping[str, str]
    pace: float


class LazyNodes(Mapping[str, Mapping[str, Any]]):
    """Rows that are made when they are looked at."""

    def __init__(self, make: Callable[[], Mapping[str, Mapping[str, Any]]]) -> None:
        self._make = make

    @cached_property
    def _rows(self) -> Mapping[str, Mapping[str, Any]]:
        return self._make()

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        return self._rows[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return repr(self._rows)


def node_row(parts: list[tuple[Step, UnitCost]], macs: int) -> dict[str, Any]:
    """Return the row of a node: its array, or unit of attention, and the costs of all steps that belong to it."""
    unit, cycles = next(
        (step.unit, cost.cycles) for step, cost in parts if isinstance(step.unit, Product | AttentionUnit)
    )
    energy = sum((cost.energy for _, cost in parts), EnergyBreakdown())
    row: dict[str, Any] = {
        "unit": "attention",
        "weight_type": None,
        "rows": 1,
        "columns": 1,
        "lanes": unit.lanes,
        "accumulator_bits": None,
        "interface": {},
        "cycles": cycles,
        "macs": macs,
        "resources": dict(sum((cost.resources for _, cost in parts), NOTHING).amounts),
        "memories": {shape.name: shape.capacity for shape in unit.memories()},
        "energy": None if energy.unknown else dict(energy.terms),
    }
    if not isinstance(unit, Product):
        return row
    beat = unit.lanes * unit.input_bits + unit.input_metadata_bits
    return {
        **row,
        "unit": unit.family,
        "weight_type": unit.weight_type,
        "rows": unit.rows,
        "columns": unit.columns,
        "accumulator_bits": unit.accumulator_bits,
        "interface": {"x": unit.rows * beat, "y": unit.columns * unit.accumulator_bits},
    }
