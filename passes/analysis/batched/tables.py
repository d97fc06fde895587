"""Tables of what the steps of a part cost, by the set of candidates that their layers have.

Index of a set: candidate number i adds 2^i. Encoders are indexed by the format of their input.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mxhw.hardware.sizes.connections import connections
from mxhw.hardware.structure import Design
from mxhw.passes.analysis.batched.compose import ADDED, PartCosts
from mxhw.passes.analysis.batched.parts import Part, with_readers
from mxhw.passes.analysis.batched.steps import FloatArray, IntArray, UnitCosts

__all__ = ["Table"]


class Table:
    """Costs of the steps of a part.

    Parameters
    ----------
    part : Part
    costs : UnitCosts
    widths : how many columns a product may have, or how many sizes a whole design.
    levelled : sizes are those of whole designs: all steps have them in common.
    input_of : number of the input's format, by set of candidates.
    """

    def __init__(self, part: Part, costs: UnitCosts, widths: int, input_of: IntArray, *, levelled: bool) -> None:
        self.part, self._costs, self._input_of, self._levelled = part, costs, input_of, levelled
        copies, inputs, width = len(part.copies), int(input_of.max()) + 1, ADDED + len(costs.names)
        chunks, tiles = len(costs.workload.starts), len(costs.workload.tiles)
        groups, levels = (copies, len(part.groups), widths, len(input_of)), widths if levelled else 1
        # Of groups: cycles a token and of a run, the longest of each; the way; the sums.
        self._pace = np.full((*groups, 2), np.inf)
        self._ways = np.full((*groups, tiles), np.inf)
        self._added = np.zeros((*groups, width))
        self._encoders = {
            source: (np.zeros((levels, copies, inputs, 2)), np.zeros((levels, copies, inputs, width)))
            for source in part.readers
        }
        self._fixed_busy, self._fixed_run = np.zeros((levels, copies, chunks)), np.zeros((levels, copies))
        self._fixed_added = np.zeros((levels, copies, width))
        self._segments: dict[str, FloatArray] = {}
        self._reads: dict[str, list[str]] = {}
        self._chains = {group: [n for n, owner in part.chains.items() if owner == group] for group in part.groups}
        self._readers = {source: [part.groups.index(each) for each in part.readers[source]] for source in part.readers}
        self._copies = np.arange(copies)[None, :, None]
        self._place = {group: place for place, group in enumerate(part.groups)}
        self._places = np.arange(len(part.groups))[None, None, :]

    def enter(self, copy: int, design: Design, columns: int, key: int) -> None:
        """Enter a design whose products all have this set of candidates and these columns."""
        part = self.part
        for place, group in enumerate(part.groups):
            at = copy, place, columns, key
            chain = self._chains[group]
            self._pace[at] = np.max([self._paces(design, name) for name in chain], axis=0)
            self._added[at] = np.sum([self._sums(design, name) for name in chain], axis=0)
            self._ways[at] = self._costs.ways(*part.group_steps(design, group))[chain[-1]]
        if columns and not self._levelled:
            return
        if key & (key - 1) == 0:
            for name, step in design.steps.items():
                if part.encodes(design, name):
                    pace, added = self._encoders[step.inputs[0]]
                    pace[columns, copy, self._input_of[key]] = self._paces(design, name)
                    added[columns, copy, self._input_of[key]] = self._sums(design, name)
        if key == 1:
            self._enter_fixed((columns, copy), design)

    def _enter_fixed(self, at: tuple[int, int], design: Design) -> None:
        part = self.part
        for segment in part.order:
            if isinstance(segment, str):
                continue
            steps, inputs = part.segment_steps(design, segment)
            for name, ways in self._costs.ways(steps, inputs).items():
                shape = *self._fixed_run.shape, len(ways)
                self._segments.setdefault(name, np.zeros(shape))[at] = ways
                self._reads[name] = list(inputs)
                found = self._costs.of(design.steps[name].unit)
                self._fixed_busy[at] = np.maximum(self._fixed_busy[at], found.busy)
                self._fixed_run[at] = max(self._fixed_run[at], found.run)
                self._fixed_added[at] += self._sums(design, name)
        for name in design.inputs:
            self._fixed_added[(*at, slice(ADDED, None))] += self._between(design, name)

    def _paces(self, design: Design, name: str) -> FloatArray:
        found = self._costs.of(design.steps[name].unit)
        return np.array([found.busy[-1] / self._costs.workload.rows, found.run])

    def _sums(self, design: Design, name: str) -> FloatArray:
        """Return the sums of a step and of what stands between it and its readers."""
        found = self._costs.of(design.steps[name].unit)
        own = np.array([found.resources[each] for each in self._costs.names])
        spent = np.array([*found.energy, found.weight_bits, found.run]) * self.part.layers
        return np.concatenate([spent, own + self._between(design, name)])

    def _between(self, design: Design, name: str) -> FloatArray:
        total = np.zeros(len(self._costs.names))
        if self._costs.platform is not None:
            for unit in connections(with_readers(design, name)):
                taken = self._costs.connection(unit)
                total += [taken[each] for each in self._costs.names]
        return total

    def look_up(self, sets: IntArray, columns: IntArray, level: IntArray) -> PartCosts:
        """Return the costs of the part's designs, of sets and columns [assignments, copies, groups].

        ``level``: sizes of the other steps [assignments].
        """
        at, inputs = (self._copies, self._places, columns, sets), self._input_of[sets]
        pace = self._pace[at].max(axis=2, initial=0.0)
        for source, places in self._readers.items():
            paces, _ = self._encoders[source]
            for number in range(paces.shape[2]):
                pace = np.maximum(pace, _any_is(inputs, places, number, paces.shape[2]) * paces[level, :, number])
        busy = np.maximum(pace[:, :, :1] * self._costs.workload.tokens, self._fixed_busy[level])
        run = np.maximum(pace[:, :, 1], self._fixed_run[level])
        return PartCosts(busy, run, self._way(self._ways[at], level), self.added(sets, columns, level))

    def added(self, sets: IntArray, columns: IntArray, level: IntArray) -> FloatArray:
        """Return the sums alone [assignments, copies, …]; see :meth:`look_up`."""
        inputs = self._input_of[sets]
        total = self._added[self._copies, self._places, columns, sets].sum(axis=2) + self._fixed_added[level]
        for source, places in self._readers.items():
            added = self._encoders[source][1]
            for number in range(added.shape[2]):
                total += _any_is(inputs, places, number, added.shape[2]) * added[level, :, number]
        return np.asarray(total)

    def _way(self, ways: FloatArray, level: IntArray) -> FloatArray:
        """Return the longest way through the designs [assignments, copies, tiles]."""
        part = self.part
        nothing = np.zeros((ways.shape[0], len(part.copies), ways.shape[-1]))
        done: dict[str, FloatArray] = dict.fromkeys(part.design.inputs, nothing)
        for each in part.order:
            if isinstance(each, str):
                found = done[part.sources[each]] + ways[:, :, self._place[each]]
                done.update(dict.fromkeys(self._chains[each], found))
            else:
                before = _latest([done[source] for source in self._reads[each[0]]] or [nothing])
                done.update({name: before + self._segments[name][level] for name in each})
        return _latest([done[name] for name in part.design.outputs] or [nothing])


def _latest(times: Sequence[FloatArray]) -> FloatArray:
    found = times[0]
    for each in times[1:]:
        found = np.maximum(found, each)
    return found


def _any_is(inputs: IntArray, places: Sequence[int], number: int, of: int) -> NDArray[np.bool_]:
    """Return whether one of these products has this one ``of`` several formats of input [assignments, copies, 1]."""
    if of == 1:
        return np.ones((1, 1, 1), dtype=np.bool_)
    return np.asarray((inputs[:, :, places] == number).any(axis=2, keepdims=True))
