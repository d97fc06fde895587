"""Parallelization: every GEMM node gets an array of processing elements, so that no node waits for a slower one.

rewrite:  node with formats  →  node with `Hardware` (unit, rows, columns, lanes, cycles, resources, energy)

How sizes are chosen is in :mod:`mxhw.hardware.arrays`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mxhw.hardware import MOST_COLUMNS, ArrayPlan, Platform, plan_arrays
from mxhw.ir import Assignment, Graph, Hardware, NodeInfo
from mxhw.passes.analysis.hardware import HardwareReport, hardware_report
from mxhw.passes.analysis.units import LANES, GemmNodes, UnitFactory
from mxhw.passes.base import Pass, PassResult, register_pass

__all__ = ["Parallelize", "ParallelizeConfig"]

_PICOJOULE = 1e-12


@dataclass(frozen=True, kw_only=True)
class ParallelizeConfig:
    """What to fit into what.

    Attributes
    ----------
    assignment : Assignment
        Formats by site; its arrays are not read.
    platform : Platform
    sequence : int
        Tokens of the prefill that cycles are balanced for.
    rows : int
        Tokens in parallel, for every array.
    share : float
        Share of the platform's budget that may be used.
    lanes : int
        Products per processing element and cycle.
    most_columns : int
        Widest array.
    """

    assignment: Assignment
    platform: Platform
    sequence: int
    rows: int = 8
    share: float = 1.0
    lanes: int = LANES
    most_columns: int = MOST_COLUMNS


@register_pass
class Parallelize(Pass):
    """Give every GEMM node that has hardware its array."""

    name = "parallelize"
    description = "size the array of every GEMM unit so that the slowest is as quick as the platform's budget allows"
    requires = frozenset({"sites"})
    provides = frozenset({"hardware"})

    def __init__(self, config: ParallelizeConfig) -> None:
        self.config = config

    def __call__(self, graph: Graph) -> PassResult:
        """Return the graph with `Hardware` records; the report holds "arrays" and the totals.

        Raises
        ------
        InputError
            If the platform is too small for any design; the message gives the smallest need and the budget.
        """
        config = self.config
        config.assignment.check(graph)
        factory = UnitFactory(graph, config.sequence, lanes=config.lanes)
        nodes = factory.nodes(config.assignment.formats)
        plan = plan_arrays(
            nodes.names,
            nodes.batch,
            config.platform,
            config.rows,
            share=config.share,
            most_columns=config.most_columns,
        )
        report = hardware_report(plan, nodes, config.platform, config.sequence, factory.total_macs())
        records = _records(graph, plan, nodes, report, config)
        arrays = {name: list(size) for name, size in plan.arrays().items()}
        return PassResult(graph.with_nodes(records), {"arrays": arrays, **report.totals()})


def _records(
    graph: Graph, plan: ArrayPlan, nodes: GemmNodes, report: HardwareReport, config: ParallelizeConfig
) -> Iterable[NodeInfo]:
    infos = graph.nodes
    for index, name in enumerate(plan.names):
        unit, costs = nodes.batch.units[index], report.nodes[name]
        energy = costs["energy"]
        hardware = Hardware(
            component=f"{unit.kind}_gemm_{unit.weight_type}",
            parallelism={"rows": costs["rows"], "columns": costs["columns"], "lanes": unit.lanes},
            stream_order=("row tile", "column tile", "k chunk", "term"),
            interface=_interface(unit.lanes * unit.input_bits + unit.input_metadata_bits, costs),
            initiation_interval=costs["cycles"],
            latency=costs["cycles"],
            throughput=config.platform.clock.value / costs["cycles"],
            resources={r: float(plan.costs.resource(r)[index, 0]) for r in config.platform.budget},
            energy=None if energy is None else sum(energy.values()) * _PICOJOULE,
        )
        yield replace(infos[name], hardware=hardware)


def _interface(row_bits: int, costs: Mapping[str, Any]) -> dict[str, int]:
    """Return the payload widths [bits] of the unit's input and output streams."""
    return {"x": costs["rows"] * row_bits, "y": costs["columns"] * costs["accumulator_bits"]}
