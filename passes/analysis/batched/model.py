"""A model whose assignments are evaluated in batches."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mxhw.errors import InputError
from mxhw.hardware.sizing import with_sizes
from mxhw.hardware.structure import ModelDesign, Product
from mxhw.ir import Graph, site_key
from mxhw.passes.analysis.batched.compose import ADDED, BatchedCosts, composed
from mxhw.passes.analysis.batched.parts import designs, parts_of, sized_to
from mxhw.passes.analysis.batched.steps import UnitCosts
from mxhw.passes.analysis.batched.tables import Table
from mxhw.passes.analysis.structure import Choices, Structurer

__all__ = ["BatchedModel", "Candidate"]

IntArray = NDArray[np.int64]
_MOST_CANDIDATES = 8


@dataclass(frozen=True)
class Candidate:
    """Formats of a linear layer's input and weight."""

    inputs: str
    weights: str


class BatchedModel:
    """A model whose assignments are evaluated in batches.

    Parameters
    ----------
    graph : Graph
        Captured, with or without weights.
    candidates : sequence of Candidate
        Of every linear layer; at most 8.
    choices : Choices
        Everything else: formats of attention, storage ("inside" or "layers"), keys.
    costs : UnitCosts
        Its workload's rows are those of all products.
    columns : sequence of int
        Columns that a product may have: of its outputs the largest divisor that is not above. Empty: its smallest.
    targets : sequence of float
        Instead of columns: cycles a token that a design may take; each of its steps has the smallest sizes that keep to
        it, or its largest (:func:`mxhw.hardware.sizing.unit_options`).
    lanes : mapping of step to int
        Of the other steps (:func:`mxhw.hardware.sizing.with_sizes`); those that are absent are smallest.
    folded : bool
        Layers of a kind share their units.
    port : float or None
        Bits a cycle in which layers are loaded, with storage "layers".

    Attributes
    ----------
    nodes : linear layers, in the order of the columns of formats.
    groups : (number of the design, product step), in the order of the columns of widths.

    Raises
    ------
    InputError
        If a candidate or the storage has no hardware; the message names the node or the value.
    """

    def __init__(
        self,
        graph: Graph,
        candidates: Sequence[Candidate],
        choices: Choices,
        costs: UnitCosts,
        *,
        columns: Sequence[int] = (),
        targets: Sequence[float] = (),
        lanes: Mapping[str, int] | None = None,
        folded: bool = True,
        port: float | None = None,
    ) -> None:
        if not 1 <= len(candidates) <= _MOST_CANDIDATES or len(set(candidates)) != len(candidates):
            raise InputError(f"candidates must be 1 to {_MOST_CANDIDATES} different ones, not {list(candidates)!r}")
        if choices.storage == "tiles" or (choices.storage == "layers") != (port is not None and port > 0):
            raise InputError(
                "storage of batched costs must be 'inside' without a port, or 'layers' with one of more than 0 bits a "
                f"cycle, not {choices.storage!r} with {port!r}"
            )
        if columns and targets:
            raise InputError("sizes of batched costs are columns or targets, not both")
        self.candidates, self.columns, self.targets = tuple(candidates), tuple(columns), tuple(targets)
        self._port = port
        self._graph, self._choices, self._costs, self._lanes = graph, choices, costs, lanes or {}
        self._structurer = Structurer(graph, folded=folded)
        first = self.structure({info.name: 0 for info in graph.weighted})
        self._parts = parts_of(first)
        members = list(self._members(first))
        self.nodes = tuple(node for nodes in members for node in nodes)
        self._starts = np.cumsum([0, *(len(nodes) for nodes in members)])[:-1]
        self.groups = tuple((i, name) for part in self._parts for i in part.copies for name in part.groups)
        self._fill(max(len(nodes) for nodes in members))

    def structure(self, formats: Mapping[str, int], columns: Mapping[tuple[int, str], int] | int = 0) -> ModelDesign:
        """Return the design of one assignment.

        ``formats``: node → number of a candidate; ``columns``: number of :attr:`columns`, of all or of each of
        :attr:`groups`.
        """
        chosen = dict(self._choices.formats)
        for name, number in formats.items():
            candidate = self.candidates[number]
            chosen[site_key(name, "input")] = candidate.inputs
            chosen[site_key(name, "weight")] = candidate.weights
        model = self._structurer.structure(replace(self._choices, formats=chosen)).design
        rows, arrays = self._costs.workload.rows, {}
        for i, (design, _) in enumerate(designs(model) if self.columns else ()):
            for name, step in design.steps.items():
                if isinstance(step.unit, Product):
                    number = columns if isinstance(columns, int) else columns[i, name]
                    arrays[step.node] = rows, _divisor(step.unit.n, self.columns[number])
        sized = with_sizes(model, arrays, self._lanes, rows=rows)
        if not self.targets:
            return sized
        if not isinstance(columns, int):
            raise InputError("a design has one target for all its steps: give its number")
        return sized_to(sized, self.targets[columns])

    def evaluate(self, formats: ArrayLike, columns: ArrayLike | None = None) -> BatchedCosts:
        """Return the costs of assignments.

        Parameters
        ----------
        formats : int array [assignments, nodes]
            Numbers of candidates, of :attr:`nodes`.
        columns : int array [assignments, groups], optional
            Numbers of :attr:`columns`, of :attr:`groups`; None: the first of them everywhere. With targets: numbers of
            :attr:`targets`, of whole designs [assignments, 1].

        Raises
        ------
        InputError
            If an array has another shape, or a number that is none of a candidate or of columns.
        """
        sets = self._sets(formats)
        wide, level = np.zeros_like(sets), np.zeros(len(sets), dtype=np.int64)
        if self.targets and columns is not None:
            level = self._numbers("targets", columns, 1, len(self.targets))[:, 0]
            wide += level[:, None]
        elif columns is not None:
            wide = self._numbers("columns", columns, len(self.groups), max(1, len(self.columns)))
        found = [table.look_up(own, each, level) for table, own, each in self._by_part(sets, wide)]
        return composed(
            self._parts, found, self._costs.workload, self._costs.names, folded=self._structurer.folded, port=self._port
        )

    def planned(self, formats: ArrayLike, room: Mapping[str, float]) -> IntArray:
        """Return for each assignment the number of the quickest target whose design fits, -1 where none does.

        ``room``: resource → how much there is. A bisection: resources fall as targets grow, which are in that order.
        """
        sets, names = self._sets(formats), self._costs.names
        low, high = np.zeros(len(sets), dtype=np.int64), np.full(len(sets), len(self.targets))
        while (low < high).any():
            middle = np.minimum((low + high) // 2, len(self.targets) - 1)
            wide = np.broadcast_to(middle[:, None], sets.shape)
            taken = sum(table.added(own, each, middle).sum(axis=1) for table, own, each in self._by_part(sets, wide))
            fits = np.logical_and.reduce([taken[:, ADDED + names.index(name)] <= room[name] for name in room])
            still = low < high
            high, low = np.where(still & fits, middle, high), np.where(still & ~fits, middle + 1, low)
        return np.where(low < len(self.targets), low, -1)

    def _sets(self, formats: ArrayLike) -> IntArray:
        """Return the set of candidates of each group [assignments, groups]."""
        chosen = self._numbers("formats", formats, len(self.nodes), len(self.candidates))
        return np.bitwise_or.reduceat(np.left_shift(1, chosen), self._starts, axis=1)

    def _by_part(self, sets: IntArray, wide: IntArray) -> Iterator[tuple[Table, IntArray, IntArray]]:
        """Yield the table of each part, and what belongs to it [assignments, copies, groups]."""
        at = 0
        for table in self._tables:
            shape = len(sets), len(table.part.copies), len(table.part.groups)
            own = slice(at, at := at + shape[1] * shape[2])
            yield table, sets[:, own].reshape(shape), wide[:, own].reshape(shape)

    def _numbers(self, name: str, values: ArrayLike, width: int, below: int) -> IntArray:
        found = np.asarray(values)
        if found.ndim != 2 or found.shape[1] != width or found.dtype.kind not in "iu":
            raise InputError(f"{name} must be whole numbers [assignments, {width}], not {found.dtype} {found.shape}")
        if found.size and not (found.min() >= 0 and found.max() < below):
            raise InputError(f"{name} must be numbers from 0 to {below - 1}, not {found.min()} to {found.max()}")
        return found.astype(np.int64)

    def _members(self, model: ModelDesign) -> Iterator[list[str]]:
        """Yield the linear layers that each product serves."""
        served = [(), *(use.layers for use in model.blocks), ()]
        every = [design for design, _ in designs(model)]
        for part in self._parts:
            for number in part.copies:
                for group in part.groups:
                    layers = served[number]
                    yield [f"{layer}.{group}" for layer in layers] if layers else [every[number].steps[group].node]

    def _fill(self, shared: int) -> None:
        """Compute all tables; ``shared``: the most layers that share a unit."""
        count, widths = len(self.candidates), max(1, len(self.columns), len(self.targets))
        inputs = sorted({each.inputs for each in self.candidates})
        sets = [chosen for size in range(1, min(shared, count) + 1) for chosen in combinations(range(count), size)]
        input_of = np.zeros(1 << count, dtype=np.int64)
        for chosen in sets:
            input_of[_key(chosen)] = inputs.index(self.candidates[chosen[0]].inputs)
        self._tables = [Table(part, self._costs, widths, input_of, levelled=bool(self.targets)) for part in self._parts]
        for chosen in sets:
            for columns in range(widths):
                model = self._with_all(chosen, columns)
                every = [] if model is None else [design for design, _ in designs(model)]
                for table in self._tables if every else ():
                    for copy, number in enumerate(table.part.copies):
                        table.enter(copy, every[number], columns, _key(chosen))

    def _with_all(self, chosen: Sequence[int], columns: int) -> ModelDesign | None:
        """Return the design whose units have all these candidates, layer by layer in turn; None if none can share."""
        seen: dict[str, int] = {}
        formats = {}
        for info in self._graph.weighted:
            inner = info.name.removeprefix(f"{info.layer}.") if info.layer else info.name
            formats[info.name] = chosen[seen.setdefault(inner, 0) % len(chosen)]
            seen[inner] += 1
        try:
            return self.structure(formats, columns)
        except InputError:
            if len(chosen) == 1:
                raise
            return None


def _divisor(n: int, most: int) -> int:
    """Return the largest divisor that is not above a number."""
    return next(columns for columns in range(min(n, most), 0, -1) if n % columns == 0)


def _key(chosen: Sequence[int]) -> int:
    return sum(1 << candidate for candidate in chosen)
