"""Parallelization: every unit gets its size, so that none waits for a slower one.

rewrite:  node with formats  →  node with `Hardware` (unit, rows, columns, lanes, cycles, resources, energy)

How sizes are chosen is in :mod:`mxhw.hardware.sizing`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mxhw.hardware import Platform
from mxhw.ir import Assignment, Graph, Hardware, NodeInfo
from mxhw.passes.analysis.hardware import HardwareCosts, PlannedDesign
from mxhw.passes.base import Pass, PassResult, register_pass

__all__ = ["Parallelize", "ParallelizeConfig"]

_PICOJOULE = 1e-12


@dataclass(frozen=True, kw_only=True)
class ParallelizeConfig:
    """What to fit into what.

    Attributes
    ----------
    assignment : Assignment
        Formats by site; its arrays and lanes are not read.
    platform : Platform
    sequence : int
        Tokens of the prefill that cycles are balanced for.
    rows : int
        Tokens in parallel, for every array.
    share : float
        Share of the platform's budget that may be used.
    """

    assignment: Assignment
    platform: Platform
    sequence: int
    rows: int = 8
    share: float = 1.0


@register_pass
class Parallelize(Pass):
    """Give every node that has hardware its sizes."""

    name = "parallelize"
    description = "size every unit so that the slowest is as quick as the platform's budget allows"
    requires = frozenset({"sites"})
    provides = frozenset({"hardware"})

    def __init__(self, config: ParallelizeConfig) -> None:
        self.config = config

    def __call__(self, graph: Graph) -> PassResult:
        """Return the graph with `Hardware` records; the report holds "arrays", "lanes" and the totals.

        Raises
        ------
        InputError
            If the platform is too small for any design; the message gives the smallest need and the budget.
        """
        config = self.config
        config.assignment.check(graph)
        costs = HardwareCosts(graph, config.platform, config.sequence)
        planned = costs.plan(config.assignment.formats, config.rows, config.share)
        arrays = {name: list(size) for name, size in planned.arrays.items()}
        report = {"arrays": arrays, "lanes": dict(planned.lanes), **planned.report.totals()}
        return PassResult(graph.with_nodes(_records(graph, planned, config)), report)


def _records(graph: Graph, planned: PlannedDesign, config: ParallelizeConfig) -> Iterable[NodeInfo]:
    infos = graph.nodes
    for name, costs in planned.report.nodes.items():
        energy = costs["energy"]
        hardware = Hardware(
            component=_component(costs),
            parallelism={"rows": costs["rows"], "columns": costs["columns"], "lanes": costs["lanes"]},
            stream_order=("row tile", "column tile", "k chunk", "term"),
            interface=dict(costs["interface"]),
            initiation_interval=costs["cycles"],
            latency=costs["cycles"],
            throughput=config.platform.clock.value / costs["cycles"],
            resources=dict(costs["resources"]),
            energy=None if energy is None else sum(energy.values()) * _PICOJOULE,
        )
        yield replace(infos[name], hardware=hardware)


def _component(costs: Mapping[str, Any]) -> str:
    return f"{costs['unit']}_{costs['weight_type']}"
