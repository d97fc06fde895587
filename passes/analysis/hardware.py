"""What a design costs on a platform: cycles, resources, energy, node by node and in total.

A design gives every node hardware of its own: arrays with what stands in front of and behind them, norms, attention,
tables, caches, and what connects them; weights lie in its memories. All units work at the same time on successive
tokens, so that the slowest sets the interval. Nodes without hardware are named, never hidden. Whole models that share
units between layers, or read weights from outside, are costed by :mod:`mxhw.hardware.machine`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from mxhw.errors import InputError
from mxhw.hardware.cycles import unit_cycles
from mxhw.hardware.energy import EnergyBreakdown, unit_energy
from mxhw.hardware.platform import Platform
from mxhw.hardware.resources import unit_resources
from mxhw.hardware.sizes import NOTHING, Resources, unit_sizes
from mxhw.hardware.sizes.connections import connections
from mxhw.hardware.sizing import sized_model, sizes_of, with_sizes
from mxhw.hardware.structure import AttentionUnit, ModelDesign, Product, Step, Unit, rows_of
from mxhw.ir import Assignment, Graph
from mxhw.passes.analysis.structure import Choices, Structure, Structurer

__all__ = ["HardwareCosts", "HardwareReport", "NoHardwareError", "PlannedDesign", "evaluate_hardware"]


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
    """Sizes that fit a platform, and what they cost; ``arrays`` and ``lanes`` as of :class:`.Assignment`.

    Lanes are those that differ from the smallest ones, which steps have where nothing is said.
    """

    arrays: Mapping[str, tuple[int, int]]
    lanes: Mapping[str, int]
    report: HardwareReport


@dataclass(frozen=True)
class _UnitCost:
    """Of one unit for one sequence."""

    cycles: int
    resources: Resources
    energy: EnergyBreakdown
    memory_bits: int


class HardwareCosts:
    """Costs of designs of one graph on one platform, at one length of sequence; what is found of a unit is kept.

    Parameters
    ----------
    graph : Graph
        With or without weights.
    platform : Platform
    sequence : int
        Tokens of the sequence that cycles and energy are counted for.
    """

    def __init__(self, graph: Graph, platform: Platform, sequence: int) -> None:
        if sequence < 1:
            raise InputError(f"a sequence must have at least 1 token, not {sequence!r}")
        self.platform, self.sequence = platform, sequence
        self._graph = graph
        self._structurer = Structurer(graph, folded=False)
        self._macs = {name: info.macs for name, info in graph.nodes.items()}
        self._gemms = {info.name: info.gemm(1, sequence).macs for info in graph.gemms}
        self._total_macs = graph.macs(1, sequence)

    def plan(self, formats: Mapping[str, str], rows: int, share: float = 1.0) -> PlannedDesign:
        """Return the sizes with the smallest interval that fit a share of the platform's budget.

        Raises
        ------
        InputError
            If the platform is too small for the smallest sizes, or no node has hardware.
        """
        if rows < 1:
            raise InputError(f"arrays need rows of at least 1, not {rows!r}")
        structure = self._structure(formats)
        model = with_sizes(structure.design, {}, {}, rows=rows)
        sized = sized_model(model, self.platform, position=(self.sequence - 1) // 2, share=share)
        (arrays, lanes), (_, smallest) = sizes_of(sized.design), sizes_of(model)
        changed = {name: count for name, count in lanes.items() if count != smallest[name]}
        return PlannedDesign(arrays, changed, self._report(sized.design, structure.without))

    def report(self, assignment: Assignment) -> HardwareReport:
        """Return the costs of an assignment's formats and sizes; a step that has none is as small as can be.

        Raises
        ------
        InputError
            If an array is given for a node that the graph lacks, no node has hardware, or a size is impossible.
        """
        for name in assignment.arrays:
            if name not in self._macs:
                raise self._graph.unknown_node(name)
        structure = self._structure(assignment.formats)
        model = with_sizes(structure.design, assignment.arrays, assignment.lanes)
        return self._report(model, structure.without)

    def _structure(self, formats: Mapping[str, str]) -> Structure:
        structure = self._structurer.structure(Choices(formats=formats, keys=self.sequence, strict=False))
        if not any(isinstance(step.unit, Product | AttentionUnit) for _, step in structure.design.steps()):
            raise NoHardwareError("no node of this assignment has formats that a unit computes")
        return structure

    def _report(self, model: ModelDesign, without: tuple[str, ...]) -> HardwareReport:
        steps = [step for _, step in model.steps()]
        costs = [_unit_cost(step.unit, self.platform, self.sequence) for step in steps]
        around = list(_connecting(model, self.platform))
        every = [*costs, *around]
        energy = sum((cost.energy for cost in every), EnergyBreakdown())
        interval = max(cost.cycles for cost in costs)
        seconds = interval / self.platform.clock.value
        built = {step.node for step in steps} - {step.node for step in steps if not step.unit.has_rtl}
        named = (*without, *dict.fromkeys(step.node for step in steps if not step.unit.has_rtl))
        covered = built & set(self._gemms)
        total = None if energy.unknown else energy.total
        return HardwareReport(
            platform=self.platform.name,
            sequence=self.sequence,
            interval=interval,
            cycles=sum(cost.cycles for cost in costs),
            seconds=seconds,
            resources=dict(sum((cost.resources for cost in every), NOTHING).amounts),
            memory_bits=float(sum(cost.memory_bits for cost in every)),
            energy=total,
            edp=None if total is None else total * seconds,
            energies=dict(energy.terms),
            nodes=self._nodes(steps, costs),
            without=named,
            mac_coverage=sum(self._gemms[name] for name in covered) / self._total_macs if self._total_macs else 0.0,
        )

    def _nodes(self, steps: list[Step], costs: list[_UnitCost]) -> dict[str, dict[str, Any]]:
        """Return the rows of nodes that multiply."""
        by_node: dict[str, list[tuple[Step, _UnitCost]]] = {}
        for step, cost in zip(steps, costs, strict=True):
            by_node.setdefault(step.node, []).append((step, cost))
        return {name: _node(by_node[name], self._gemms[name]) for name in self._gemms if name in by_node}


def evaluate_hardware(graph: Graph, assignment: Assignment, platform: Platform, sequence: int) -> HardwareReport:
    """Return the costs of an assignment; see :meth:`HardwareCosts.report`."""
    return HardwareCosts(graph, platform, sequence).report(assignment)


@lru_cache(maxsize=65536)
def _unit_cost(unit: Unit, platform: Platform, tokens: int) -> _UnitCost:
    """Return what a unit costs for one sequence from position 0 on."""
    rows = rows_of(unit)
    cycles = unit_cycles(unit, -(-tokens // rows) * rows)
    logic = unit_sizes(unit, platform)
    return _UnitCost(
        cycles=cycles,
        resources=unit_resources(unit, platform),
        energy=unit_energy(unit, tokens, 0, platform, logic, cycles),
        memory_bits=sum(shape.capacity for shape in unit.memories()),
    )


def _connecting(model: ModelDesign, platform: Platform) -> Iterator[_UnitCost]:
    """Yield what stands between steps costs; its energy is that of a part that works a cycle for each beat or less,
    which is not known here and counted as none."""
    for design, _ in model.parts.values():
        for unit in connections(design):
            bits = sum(shape.capacity for shape in unit.memories())
            yield _UnitCost(0, unit_resources(unit, platform), EnergyBreakdown(), bits)


def _node(parts: list[tuple[Step, _UnitCost]], macs: int) -> dict[str, Any]:
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
