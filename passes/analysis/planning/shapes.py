"""Options of step shapes, and what they cost, as rows of tables."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mxhw.hardware.platform import Platform
from mxhw.hardware.sizing import option_table, resized, unit_options
from mxhw.hardware.structure import AttentionUnit, Product, Step, VectorUnit
from mxhw.passes.analysis.planning.costs import UnitCost, unit_cost
from mxhw.passes.analysis.planning.growing import Growing

__all__ = ["Costs", "Kind", "Options"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Kind:
    """What a cost has names for: resources and energies in their order, and energies that are not known."""

    resources: tuple[str, ...]
    terms: tuple[str, ...]
    unknown: frozenset[str]


class Costs:
    """Costs by number: number 0 is nothing.

    Attributes
    ----------
    resources, terms : names of columns.
    amounts, energies : of resources, of energies [pJ] [costs, columns].
    cycles, memory_bits, kind : [costs].
    kinds : by number.
    """

    def __init__(self) -> None:
        self.resources: dict[str, int] = {}
        self.terms: dict[str, int] = {}
        self.amounts, self.energies = Growing(np.float64, wide=True), Growing(np.float64, wide=True)
        self.cycles, self.memory_bits, self.kind = (Growing(np.int64) for _ in range(3))
        self.kinds: list[Kind] = []
        self._kind_numbers: dict[Hashable, int] = {}
        self.add(None)

    def add(self, cost: UnitCost | None) -> int:
        """Add a cost, None if it is not known yet; return its number."""
        for column in (self.amounts, self.energies):
            column.append(())
        for each in (self.cycles, self.memory_bits, self.kind):
            each.append(0)
        number = len(self.kind.array) - 1
        self.put(number, cost)
        return number

    def put(self, number: int, cost: UnitCost | None) -> None:
        """Set a cost."""
        kind = Kind((), (), frozenset())
        if cost is not None:
            amounts, terms = cost.resources.amounts, cost.energy.terms
            kind = Kind(tuple(amounts), tuple(terms), cost.energy.unknown)
            self.amounts.put(number, _row(amounts, self.resources))
            self.energies.put(number, _row(terms, self.terms))
            self.cycles.put(number, cost.cycles)
            self.memory_bits.put(number, cost.memory_bits)
        index = self._kind_numbers.setdefault(kind, len(self.kinds))
        if index == len(self.kinds):
            self.kinds.append(kind)
        self.kind.put(number, index)


def _row(values: Mapping[str, float], columns: dict[str, int]) -> list[float]:
    """Return values in their columns; new ones get a column of their own."""
    for name in values:
        columns.setdefault(name, len(columns))
    return [values.get(name, 0.0) for name in columns]


class Options:
    """Options of all shapes, for products of so many rows.

    Parameters
    ----------
    position : of the token whose cycles count.
    tokens : of the sequence that costs are counted for.

    Attributes
    ----------
    first : number of a shape's first option [shapes].
    intervals : cycles a token, quickest option first, then infinite [shapes, options].
    amounts : resource of the budget → what options take [shapes, options].
    smallest : lanes of a shape at its smallest size [shapes].
    is_product, has_lanes, multiplies : kinds of shapes [shapes].
    size : columns or lanes [options].
    has_rtl, known : whether there is a component, whether the cost is known [options].
    cost : its number [options].
    steps, smallest_steps : a step of each option; of each shape at its smallest size.
    """

    def __init__(self, costs: Costs, platform: Platform, rows: int, position: int, tokens: int) -> None:
        self._costs, self._platform = costs, platform
        self._rows, self._position, self._tokens = rows, position, tokens
        self.first, self.smallest = Growing(np.int64), Growing(np.int64)
        self.intervals = Growing(np.float64, np.inf, wide=True)
        self.amounts = {name: Growing(np.float64, wide=True) for name in platform.budget}
        self.is_product, self.has_lanes, self.multiplies = (Growing(np.bool_) for _ in range(3))
        self.size, self.has_rtl, self.known = Growing(np.int64), Growing(np.bool_, True), Growing(np.bool_)
        self.steps: list[Step] = []
        self.smallest_steps: list[Step] = []
        self.cost = Growing(np.int64)

    def extend(self, shapes: Sequence[Step]) -> None:
        """Add shapes that are new."""
        for step in shapes[len(self.smallest_steps) :]:
            self._add(step)

    def _add(self, step: Step) -> None:
        unit = step.unit
        if isinstance(unit, Product):
            unit = replace(unit, rows=self._rows)
        step = resized(step, unit)
        found = option_table(unit_options(unit), self._platform, self._position)
        self.smallest_steps.append(step)
        self.first.append(len(self.steps))
        self.smallest.append(_size(step))
        self.intervals.append(found.intervals)
        for name, amounts in self.amounts.items():
            amounts.append(found.amounts[name])
        self.is_product.append(isinstance(unit, Product))
        self.has_lanes.append(isinstance(unit, VectorUnit | AttentionUnit))
        self.multiplies.append(isinstance(unit, Product | AttentionUnit))
        for option in found.units:
            each = resized(step, option)
            self.steps.append(each)
            self.size.append(_size(each))
            self.has_rtl.append(option.has_rtl)
            self.known.append(False)
            self.cost.append(self._costs.add(None))

    def costed(self, options: IntArray) -> IntArray:
        """Return the cost numbers of options [options], once their costs are known."""
        known = self.known.array[options]
        if not known.all():
            for option in options[~known]:
                found = unit_cost(self.steps[option].unit, self._platform, self._tokens)
                self._costs.put(int(self.cost.array[option]), found)
                self.known.put(int(option), True)
        return np.asarray(self.cost.array[options])


def _size(step: Step) -> int:
    unit = step.unit
    if isinstance(unit, Product):
        return unit.columns
    return unit.lanes if isinstance(unit, VectorUnit | AttentionUnit) else 0
