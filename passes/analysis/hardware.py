"""What a design costs on a platform: cycles, resources, energy, node by node and in total.

A design gives every node hardware of its own: arrays with what stands in front of and behind them, norms, attention,
tables, caches, and what connects them; weights lie in its memories. All units work at the same time on successive
tokens, so that the slowest sets the interval. Nodes without hardware are named, never hidden. Whole models that share
units between layers, or read weights from outside, are costed by :mod:`mxhw.hardware.machine`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from mxhw.errors import InputError
from mxhw.hardware.energy import EnergyBreakdown
from mxhw.hardware.platform import Platform
from mxhw.hardware.sizes import NOTHING
from mxhw.hardware.sizes.connections import connections
from mxhw.hardware.sizing import sized_model, sizes_of, with_sizes
from mxhw.hardware.structure import AttentionUnit, ModelDesign, Product, Step
from mxhw.ir import Assignment, Graph
from mxhw.passes.analysis.additive import AdditiveCosts, additive_costs
from mxhw.passes.analysis.hardware_report import (
    HardwareReport,
    LazyNodes,
    NoHardwareError,
    PlannedDesign,
    node_row,
)
from mxhw.passes.analysis.planning import NotComposableError, Plan, Planner, UnitCost, connection_cost, unit_cost
from mxhw.passes.analysis.speed import DesignSpeed, SpeedOf
from mxhw.passes.analysis.structure import Choices, Structure, Structurer

__all__ = ["HardwareCosts", "HardwareReport", "NoHardwareError", "PlannedDesign", "evaluate_hardware"]


_TRIES = 8
_LESS = 0.999  # of the share that would just fit: sizes come in steps


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
        self._built: dict[frozenset[str], frozenset[str]] = {}  # nodes of the last design: those that multiply
        self._speeds = SpeedOf(graph, platform)
        self._planner = Planner(self._structurer, platform, sequence)

    def plan(self, formats: Mapping[str, str], rows: int, share: float = 1.0) -> PlannedDesign:
        """Return the sizes with the smallest interval that fit a share of the platform's budget.

        Raises
        ------
        InputError
            If the platform is too small for the smallest sizes, or no node has hardware.
        """
        if rows < 1:
            raise InputError(f"arrays need rows of at least 1, not {rows!r}")
        return self._within(lambda part: self._planned(formats, rows, part), share)

    def plan_directly(self, formats: Mapping[str, str], rows: int, share: float = 1.0) -> PlannedDesign:
        """Return what :meth:`plan` returns, bit for bit, from a whole new design: its definition, and slow."""
        return self._within(lambda part: self._planned_directly(formats, rows, part), share)

    def _within(self, planned: Callable[[float], PlannedDesign], share: float) -> PlannedDesign:
        """Return the sizes of the largest share tried whose design, whole, is within the share that was given.

        Sizes are chosen with what stands between steps at the smallest ones; what that grows by shows in the whole.
        """
        part, low, high = share, 0.0, share  # shares that are too small for the smallest sizes, and too large
        for _ in range(_TRIES):
            try:
                found = planned(part)
            except InputError:
                if part == share:
                    raise
                low, part = part, (part + high) / 2
                continue
            budget = {name: amount.value * share for name, amount in self.platform.budget.items() if amount.value > 0}
            taken = found.report.resources
            over = max(taken.get(name, 0.0) / room for name, room in budget.items())
            if over <= 1:
                return found
            high = part
            part = max(part * (_LESS / over) ** 2, (low + high) / 2)
        raise InputError(
            f"platform {self.platform.name!r} is too small: the design takes {over:.4f} times its budget and a share of "
            f"{share:g}; give a larger budget or platform, fewer rows, or narrower weight formats"
        )

    def _planned(self, formats: Mapping[str, str], rows: int, share: float) -> PlannedDesign:
        try:
            plan = self._planner.plan(formats, rows, share)
        except NotComposableError:
            return self._planned_directly(formats, rows, share)
        if plan is None:
            raise _no_hardware()
        kept = dict(formats)
        return PlannedDesign(plan.arrays, plan.lanes, self._planned_report(plan, kept), kept, plan.pace)

    def _planned_directly(self, formats: Mapping[str, str], rows: int, share: float) -> PlannedDesign:
        structure = self._structure(formats)
        model = with_sizes(structure.design, {}, {}, rows=rows)
        sized = sized_model(model, self.platform, position=(self.sequence - 1) // 2, share=share)
        (arrays, lanes), (_, smallest) = sizes_of(sized.design), sizes_of(model)
        changed = {name: count for name, count in lanes.items() if count != smallest[name]}
        report = self._report(sized.design, structure.without)
        return PlannedDesign(arrays, changed, report, dict(formats), sized.interval)

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

    def additive(
        self, choices: Sequence[Sequence[Mapping[str, str]]], formats: Mapping[str, str], rows: int, pace: float
    ) -> AdditiveCosts:
        """Return costs of units that add up, for formats chosen by a linear program; see :mod:`.additive`.

        Parameters
        ----------
        choices : formats by site of every candidate of every unit [units][candidates].
        formats : of all sites; those of units as in any design.
        rows : of all products.
        pace : cycles a token that no step may exceed.

        Raises
        ------
        InputError
            If no candidates keep to the pace.
        """
        return additive_costs(lambda each: self.need(each, rows, pace), choices, formats, pace)

    def need(self, formats: Mapping[str, str], rows: int, pace: float) -> dict[str, float] | None:
        """Return the least resources of a design with ``pace`` cycles a token; None if a step cannot keep to it.

        They are those that :meth:`plan` compares with the budget: every step as small as the pace lets it be, and what
        stands between steps at their smallest sizes. With one resource in the budget (ASIC area) :meth:`plan` finds
        this pace or a smaller one if and only if they fit; with several, steps take the smallest sum of shares of the
        budget here, and :meth:`plan` tries other prices, too.
        """
        try:
            return self._planner.need(formats, rows, pace)
        except NotComposableError:
            raise InputError(
                "costs that add up need a design that is put together from what its nodes add, and sizes of all its "
                "units on the platform; this one has to be planned as a whole"
            ) from None

    def speed(
        self,
        design: PlannedDesign | Assignment,
        prefill: int,
        decode: int,
        *,
        batch: int = 1,
        folded: bool = False,
    ) -> DesignSpeed:
        """Return how quick a design is; what has been asked for is kept.

        Parameters
        ----------
        design : with its sizes.
        prefill, decode : tokens of a prompt, and behind it; caches have room for both.
        batch : sequences at a time.
        folded : layers of a kind share the units of their first one; else each has its own.

        Raises
        ------
        InputError
            If a node has no unit for its formats, or layers that are to share one cannot, a size or number is
            impossible, or the model does not fit the platform.
        """
        return self._speeds(
            design.formats, design.arrays, design.lanes, prefill=prefill, decode=decode, batch=batch, folded=folded
        )

    def _structure(self, formats: Mapping[str, str]) -> Structure:
        structure = self._structurer.structure(Choices(formats=formats, keys=self.sequence, strict=False))
        if not any(isinstance(step.unit, Product | AttentionUnit) for _, step in structure.design.steps()):
            raise _no_hardware()
        return structure

    def _planned_report(self, plan: Plan, formats: dict[str, str]) -> HardwareReport:
        """Return the report of a plan; rows of nodes are made of the whole design when they are asked for."""

        def nodes() -> dict[str, dict[str, Any]]:
            model = with_sizes(self._structure(formats).design, plan.arrays, plan.lanes)
            steps = [step for _, step in model.steps()]
            return self._nodes(steps, [unit_cost(step.unit, self.platform, self.sequence) for step in steps])

        return self._totals(
            energy=EnergyBreakdown(plan.energies, plan.unknown),
            interval=plan.interval,
            cycles=plan.cycles,
            resources=plan.resources,
            memory_bits=float(plan.memory_bits),
            nodes=LazyNodes(nodes),
            without=(*plan.without, *plan.without_rtl),
            covered=self._covered(plan.nodes, plan.without_rtl),
        )

    def _report(self, model: ModelDesign, without: tuple[str, ...]) -> HardwareReport:
        steps = [step for _, step in model.steps()]
        costs = [unit_cost(step.unit, self.platform, self.sequence) for step in steps]
        around = list(_connecting(model, self.platform))
        every = [*costs, *around]
        energy = sum((cost.energy for cost in every), EnergyBreakdown())
        lacking = tuple(dict.fromkeys(step.node for step in steps if not step.unit.has_rtl))
        return self._totals(
            energy=energy,
            interval=max(cost.cycles for cost in costs),
            cycles=sum(cost.cycles for cost in costs),
            resources=dict(sum((cost.resources for cost in every), NOTHING).amounts),
            memory_bits=float(sum(cost.memory_bits for cost in every)),
            nodes=self._nodes(steps, costs),
            without=(*without, *lacking),
            covered=self._covered(frozenset(step.node for step in steps), lacking),
        )

    def _covered(self, nodes: frozenset[str], lacking: Iterable[str]) -> int:
        """Return the multiply-accumulates of nodes that have steps, all of them with RTL."""
        found = self._built.get(nodes)
        if found is None:
            self._built = {nodes: frozenset(nodes & self._gemms.keys())}
            found = self._built[nodes]
        return sum(map(self._gemms.__getitem__, found.difference(lacking)))

    def _totals(self, *, energy: EnergyBreakdown, interval: int, covered: int, **rest: Any) -> HardwareReport:
        """Return the report of a design's sums."""
        seconds = interval / self.platform.clock.value
        total = None if energy.unknown else energy.total
        return HardwareReport(
            platform=self.platform.name,
            sequence=self.sequence,
            interval=interval,
            seconds=seconds,
            energy=total,
            edp=None if total is None else total * seconds,
            energies=dict(energy.terms),
            mac_coverage=covered / self._total_macs if self._total_macs else 0.0,
            **rest,
        )

    def _nodes(self, steps: list[Step], costs: list[UnitCost]) -> dict[str, dict[str, Any]]:
        """Return the rows of nodes that multiply."""
        by_node: dict[str, list[tuple[Step, UnitCost]]] = {}
        for step, cost in zip(steps, costs, strict=True):
            by_node.setdefault(step.node, []).append((step, cost))
        return {name: node_row(by_node[name], self._gemms[name]) for name in self._gemms if name in by_node}


def _no_hardware() -> NoHardwareError:
    return NoHardwareError("no node of this assignment has formats that a unit computes")


def evaluate_hardware(graph: Graph, assignment: Assignment, platform: Platform, sequence: int) -> HardwareReport:
    """Return the costs of an assignment; see :meth:`HardwareCosts.report`."""
    return HardwareCosts(graph, platform, sequence).report(assignment)


def _connecting(model: ModelDesign, platform: Platform) -> Iterator[UnitCost]:
    """Yield what stands between steps costs."""
    for design, _ in model.parts.values():
        for unit in connections(design):
            yield connection_cost(unit, platform)
