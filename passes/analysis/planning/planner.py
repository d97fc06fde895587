"""Plans designs one after the other."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mxhw.errors import InputError
from mxhw.hardware.balance import OptionTable
from mxhw.hardware.platform import Platform
from mxhw.hardware.sizes import Resources
from mxhw.hardware.sizing import check_share, too_small
from mxhw.passes.analysis.planning.between import Beats, Between
from mxhw.passes.analysis.planning.choose import Shapes, cheapest, least_need, quickest
from mxhw.passes.analysis.planning.compose import Composed, Composer, NotComposableError
from mxhw.passes.analysis.planning.growing import Pairs
from mxhw.passes.analysis.planning.readers import Readers
from mxhw.passes.analysis.planning.shapes import Costs, Options
from mxhw.passes.analysis.structure import Choices, Structurer

__all__ = ["Plan", "Planner"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
_MOST_SHAPES = 20000  # that are kept


@dataclass(frozen=True, eq=False)
class Plan:
    """Sizes of a design, and its sums.

    Attributes
    ----------
    arrays, lanes : by step, as of :class:`mxhw.passes.analysis.hardware.PlannedDesign`.
    pace : cycles a token of the slowest step, in the steady state.
    interval, cycles : of the slowest step, of all steps together, for one sequence.
    resources, memory_bits, energies : of the whole design; energies [pJ] by term.
    unknown : energies that the platform has no figure for.
    nodes : that have steps.
    without, without_rtl : nodes that nothing is charged for; that have a step without a component.
    """

    arrays: dict[str, tuple[int, int]]
    lanes: dict[str, int]
    pace: float
    interval: int
    cycles: int
    resources: dict[str, float]
    memory_bits: int
    energies: dict[str, float]
    unknown: frozenset[str]
    nodes: frozenset[str]
    without: tuple[str, ...]
    without_rtl: tuple[str, ...]


class _Sized:
    """Options of all shapes for products of so many rows, and the beats of each."""

    def __init__(self, costs: Costs, between: Between, platform: Platform, rows: int, sequence: int) -> None:
        self.options = Options(costs, platform, rows, (sequence - 1) // 2, sequence)
        self._between = between
        self.smallest, self.chosen = Beats(between), Beats(between)
        self._inputs = Pairs()

    def extend(self, composer: Composer) -> None:
        """Add shapes that are new.

        Raises
        ------
        NotComposableError
            If the platform has no sizes of one.
        """
        if len(self.smallest.given.array) == len(composer.shapes):
            return
        try:
            self.options.extend(composer.shapes)
        except InputError:
            raise NotComposableError from None
        self.chosen.extend(self.options.steps)
        self.smallest.extend(self.options.smallest_steps)

    def inputs(self, readers: Readers, shapes: IntArray) -> IntArray:
        """Return the beats of the inputs [inputs]."""
        kind = readers.input_place + _PLACES * readers.input_lanes
        return self._inputs.look_up(shapes[readers.input_reader], kind, self._input)

    def _input(self, shape: int, kind: int) -> int:
        first = self.options.first.array
        stop = first[shape + 1] if shape + 1 < len(first) else len(self.options.steps)
        steps = [self.options.smallest_steps[shape], *self.options.steps[first[shape] : stop]]
        return self._between.taken(steps, kind % _PLACES, kind // _PLACES)


_PLACES = 4
_Sizes = tuple[dict[str, tuple[int, int]], dict[str, int]]


@dataclass(frozen=True, eq=False)
class _Start:
    """A design before sizes are chosen.

    Attributes
    ----------
    inputs : beats of its inputs.
    around : what stands between its steps takes at their smallest sizes.
    present, distinct : its shapes without repetition, and their options.
    """

    composed: Composed
    sized: _Sized
    inputs: IntArray
    around: Resources
    present: IntArray
    distinct: Shapes


class Planner:
    """Plans designs of one graph on one platform, every layer with hardware of its own.

    Parameters
    ----------
    structurer : not folded.
    sequence : tokens that cycles and energy are counted for.
    """

    def __init__(self, structurer: Structurer, platform: Platform, sequence: int) -> None:
        self._structurer, self._platform, self._sequence = structurer, platform, sequence
        self._names = [name for name, amount in platform.budget.items() if amount.value > 0]
        self._forget()

    def _forget(self) -> None:
        self._composer = Composer(
            self._structurer, lambda formats: Choices(formats=formats, keys=self._sequence, strict=False)
        )
        self._costs = Costs()
        self._between = Between(self._costs, self._platform)
        self._sized: dict[int, _Sized] = {}
        self._orders: dict[tuple[int, ...], tuple[tuple[str, ...], tuple[str, ...], frozenset[str]]] = {}

    def plan(self, formats: Mapping[str, str], rows: int, share: float) -> Plan | None:
        """Return the plan of these formats; None if no step multiplies.

        Raises
        ------
        InputError
            If the share is none, or the platform is too small.
        NotComposableError
            If the design is not put together from what its nodes add, or the platform has no sizes of a unit.
        """
        start = self._start(formats, rows)
        if start is None:
            return None
        check_share(share)
        room = {name: self._platform.budget[name].value * share - start.around[name] for name in self._names}
        choice = quickest(start.distinct, room)
        if choice is None:
            raise too_small(least_need(start.distinct, room), room, start.around, self._platform, share)
        return self._planned(start, rows, choice)

    def need(self, formats: Mapping[str, str], rows: int, pace: float) -> dict[str, float] | None:
        """Return what a design takes at least of each resource, as :meth:`plan` compares it with the budget.

        Every step takes the option that needs the smallest share of the budget, among those of ``pace`` cycles a token
        or less; what stands between steps counts at their smallest sizes. None if a step has no such option, or none
        multiplies. Errors as of :meth:`plan`.
        """
        start = self._start(formats, rows)
        choice = None
        if start is not None:
            choice = cheapest(start.distinct, {name: self._platform.budget[name].value for name in self._names}, pace)
        if start is None or choice is None:
            return None
        return {name: start.distinct.need(name, choice) + start.around[name] for name in self._names}

    def _start(self, formats: Mapping[str, str], rows: int) -> _Start | None:
        """Return a design at its smallest sizes, and its options; None if no step multiplies."""
        if len(self._composer.shapes) > _MOST_SHAPES:
            self._forget()
        composed = self._composer.compose(formats)
        sized = self._sized.get(rows)
        if sized is None:
            sized = self._sized[rows] = _Sized(self._costs, self._between, self._platform, rows, self._sequence)
        sized.extend(self._composer)
        options, shapes, readers = sized.options, composed.shapes, composed.readers
        if not options.multiplies.array[shapes].any():
            return None
        inputs = sized.inputs(readers, shapes)
        around = self._around(readers, sized.smallest, shapes, inputs)
        counts = np.bincount(shapes, minlength=len(options.smallest_steps))
        present = np.flatnonzero(counts)
        numbers = np.empty(len(counts), dtype=np.int64)
        numbers[present] = np.arange(len(present))
        table = OptionTable(
            options.intervals.array[present], {name: options.amounts[name].array[present] for name in self._names}
        )
        return _Start(composed, sized, inputs, around, present, Shapes(table, counts[present], numbers[shapes]))

    def _planned(self, start: _Start, rows: int, choice: IntArray) -> Plan:
        """Return the plan of chosen options of the distinct shapes."""
        sized, index = start.sized, start.distinct.index
        chosen = sized.options.first.array[start.present] + choice
        costs, every = sized.options.costed(chosen)[index], chosen[index]
        slots = self._slots(start.composed.readers, sized.chosen, every, start.inputs)
        sizes = self._sizes(start.composed, sized.options, rows, every)
        return self._summed(start, every, costs, slots, sizes, start.distinct.table.interval(choice))

    def _around(self, readers: Readers, beats: Beats, sizes: IntArray, inputs: IntArray) -> Resources:
        """Return what stands between steps takes."""
        slots = self._slots(readers, beats, sizes, inputs)
        total = _in_order(self._costs.amounts.array.take(slots, axis=0))
        return Resources({name: float(total[at]) for name, at in self._costs.resources.items()})

    def _slots(self, readers: Readers, beats: Beats, sizes: IntArray, inputs: IntArray) -> IntArray:
        """Return the cost numbers of what stands between steps of these sizes, in its order."""
        given = np.concatenate([beats.given.array[sizes], inputs])
        found = self._between.all(readers, given, beats.lanes.array.take(sizes, axis=0))
        return np.asarray(found[found > 0])

    def _summed(
        self, start: _Start, every: IntArray, costs: IntArray, slots: IntArray, sizes: _Sizes, pace: float
    ) -> Plan:
        """Return the plan of chosen options: of steps, their costs, and those of what stands between them."""
        table, readers = self._costs, start.composed.readers
        both = np.concatenate([costs, slots])
        amounts, energies = (
            _in_order(table.amounts.array.take(both, axis=0)),
            _in_order(table.energies.array.take(costs, axis=0)),
        )
        resources, terms, unknown = self._order(table.kind.array[both])
        cycles, rtl = table.cycles.array[costs], start.sized.options.has_rtl.array[every]
        nodes = readers.nodes
        lacking = () if rtl.all() else tuple(dict.fromkeys(nodes[at] for at in np.flatnonzero(~rtl)))
        return Plan(
            arrays=sizes[0],
            lanes=sizes[1],
            pace=pace,
            interval=int(cycles.max()),
            cycles=int(cycles.sum()),
            resources={name: float(amounts[table.resources[name]]) for name in resources},
            memory_bits=int(table.memory_bits.array[both].sum()),
            energies={name: float(energies[table.terms[name]]) for name in terms},
            unknown=unknown,
            nodes=readers.built,
            without=self._composer.without(start.composed),
            without_rtl=lacking,
        )

    def _sizes(self, composed: Composed, options: Options, rows: int, every: IntArray) -> _Sizes:
        """Return rows and columns of products, and lanes of other steps that differ from the smallest ones."""
        names, shapes = self._composer.step_names(composed), composed.shapes
        sizes = options.size.array[every]
        products = np.flatnonzero(options.is_product.array[shapes])
        arrays = {
            name: (rows, columns)
            for name, columns in zip(names[products].tolist(), sizes[products].tolist(), strict=True)
        }
        others, smallest = options.has_lanes.array[shapes], options.smallest.array[shapes]
        changed = sizes != smallest
        if self._composer.repeats:  # of steps with one name the last one counts
            last = {name: at for at, name in enumerate(names.tolist()) if others[at]}
            return arrays, {name: int(sizes[at]) for name, at in last.items() if changed[at]}
        places = np.flatnonzero(others & changed)
        return arrays, dict(zip(names[places].tolist(), sizes[places].tolist(), strict=True))

    def _order(self, kinds: IntArray) -> tuple[tuple[str, ...], tuple[str, ...], frozenset[str]]:
        """Return the names of a sum of costs, resources and energies in their order, and what is unknown of it."""
        first = np.full(len(self._costs.kinds), len(kinds))
        first[kinds[::-1]] = np.arange(len(kinds) - 1, -1, -1)
        order = tuple(each for each in np.argsort(first).tolist() if first[each] < len(kinds))
        if order not in self._orders:
            found = [self._costs.kinds[each] for each in order]
            self._orders[order] = (
                tuple(dict.fromkeys(name for kind in found for name in kind.resources)),
                tuple(dict.fromkeys(name for kind in found for name in kind.terms)),
                frozenset().union(*(kind.unknown for kind in found)),
            )
        return self._orders[order]


def _in_order(values: FloatArray) -> FloatArray:
    """Return the sums of columns, added row by row as a loop adds them [columns]."""
    if not len(values):
        return np.zeros(values.shape[1])
    return np.asarray(np.add.accumulate(values, axis=0)[-1])
