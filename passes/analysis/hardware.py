"""What a design costs on a platform: cycles, area or LUTs, energy, node by node and in total.

All units work at the same time on successive sequences, so the slowest sets the initiation interval ("interval"); the
sum of all cycles is what one sequence takes if nothing overlaps. Nodes without hardware are named, never hidden.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mxhw.errors import InputError
from mxhw.hardware import ArrayPlan, Platform, cost_arrays
from mxhw.ir import Assignment, Graph
from mxhw.passes.analysis.units import GemmNodes, UnitFactory

__all__ = ["HardwareReport", "evaluate_hardware", "hardware_report"]


@dataclass(frozen=True)
class HardwareReport:
    """Costs of a design for one input sequence.

    Attributes
    ----------
    interval : int
        Cycles of the slowest node: between sequences.
    cycles : int
        Sum over the nodes.
    seconds : float
        `interval` at the platform's clock.
    resources : mapping of str to float
        Use of every budget of the platform ("area" in um2; "lut", "dsp", "bram").
    memory_bits : float
        Bits that the memories hold.
    energy : float or None
        pJ per sequence; None where the platform's energies are unknown.
    edp : float or None
        Energy times interval [pJ * s].
    nodes : mapping of str to mapping
        Per node: unit, weight_type, rows, columns, lanes, accumulator_bits, cycles, macs, and the parts of area, memory
        and energy.
    without : tuple of str
        Nodes that multiply without hardware: their kind or formats have no unit, or they have no array.
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
            "mac_coverage": self.mac_coverage,
        }


def evaluate_hardware(
    graph: Graph, assignment: Assignment, platform: Platform, sequence: int, *, factory: UnitFactory | None = None
) -> HardwareReport:
    """Return the costs of an assignment's formats and arrays.

    Parameters
    ----------
    graph : Graph
    assignment : Assignment
        Formats per site and (rows, columns) per GEMM node.
    platform : Platform
    sequence : int
        Tokens of the prefill that cycles and energy are counted for.
    factory : UnitFactory, optional
        One that was made for this graph and sequence, to save its work.

    Raises
    ------
    InputError
        If an array is given for a node that the graph lacks, or no node has both a unit and an array.
    """
    factory = factory or UnitFactory(graph, sequence)
    for name in assignment.arrays:
        if name not in graph.nodes:
            raise graph.unknown_node(name)
    nodes = factory.nodes(assignment.formats, only=assignment.arrays.keys())
    if not nodes.names:
        raise InputError("no GEMM node of this assignment has both formats that a unit computes and an array")
    arrays = np.asarray([assignment.arrays[name] for name in nodes.names], dtype=np.int64)
    plan = cost_arrays(nodes.names, nodes.batch, platform, arrays[:, 0], arrays[:, 1])
    return hardware_report(plan, nodes, platform, sequence, factory.total_macs())


def hardware_report(
    plan: ArrayPlan, nodes: GemmNodes, platform: Platform, sequence: int, total_macs: int
) -> HardwareReport:
    """Return the report of a plan of the arrays of `nodes`; `total_macs` counts the whole graph."""
    costs = plan.costs
    energy = None if costs.energy is None else float(costs.total_energy().sum())
    seconds = plan.interval / platform.clock.value
    return HardwareReport(
        platform=platform.name,
        sequence=sequence,
        interval=plan.interval,
        cycles=int(costs.cycles.sum()),
        seconds=seconds,
        resources={name: float(costs.resource(name).sum()) for name in platform.budget},
        memory_bits=float(costs.memory_bits.sum()),
        energy=energy,
        edp=None if energy is None else energy * seconds,
        nodes={name: _node(plan, nodes, index) for index, name in enumerate(plan.names)},
        without=nodes.without,
        mac_coverage=nodes.macs() / total_macs if total_macs else 0.0,
    )


def _node(plan: ArrayPlan, nodes: GemmNodes, index: int) -> dict[str, Any]:
    unit, work, costs = nodes.batch.units[index], nodes.batch.works[index], plan.costs
    return {
        "unit": unit.kind,
        "weight_type": unit.weight_type,
        "rows": int(plan.rows[index]),
        "columns": int(plan.columns[index]),
        "lanes": unit.lanes,
        "accumulator_bits": unit.accumulator_bits,
        "cycles": int(costs.cycles[index, 0]),
        "macs": work.macs,
        "logic": {part: float(value[index, 0]) for part, value in costs.logic.items()},
        "memory": {part: float(value[index, 0]) for part, value in costs.memory.items()},
        "memory_bits": float(costs.memory_bits[index, 0]),
        "blocks": float(costs.blocks[index, 0]),
        "energy": None if costs.energy is None else {p: float(v[index, 0]) for p, v in costs.energy.items()},
    }
