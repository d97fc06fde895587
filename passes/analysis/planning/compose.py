"""Designs as rows of records: what each node adds, by the formats that it depends on.

A part is cut in front of every node that has formats. What such a node adds, with the nodes behind it that have none,
is a record. It depends on the node's own formats and on the formats of inputs of those nodes before it that read the
same stream: they decide which encoders are there. (Streams and their widths depend on no format, unless a node has no
unit for its formats; records are kept by which nodes of the part have none.) New records come from
:meth:`mxhw.passes.analysis.structure.Structurer.part`, and each is compared with what is kept already; a part that
contradicts itself is never composed again (:class:`NotComposableError`).
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mxhw.hardware.sizing import is_index
from mxhw.hardware.structure import Design, Step
from mxhw.passes.analysis.planning.growing import Growing
from mxhw.passes.analysis.planning.readers import Readers, joined, part_readers
from mxhw.passes.analysis.structure import Choices, Structurer
from mxhw.passes.analysis.structure.model import Outline
from mxhw.passes.analysis.structure.steps import Group, Steps, has_rule, sources_of

__all__ = ["Composed", "Composer", "NotComposableError"]

IntArray = NDArray[np.int64]
Pattern = tuple[int, ...]
_MOST = 256  # readers of whole models that are kept
_SHARED = "weight"  # the operand that decides of no encoder


class NotComposableError(Exception):
    """A design is not the row of its nodes' records."""


@dataclass(frozen=True, eq=False)
class Composed:
    """A design at its smallest sizes.

    Attributes
    ----------
    shapes : of the steps, in their order [steps].
    readers : who reads whom.
    records : of all parts, in their order.
    there : where a record has a step [records, steps].
    """

    shapes: IntArray
    readers: Readers
    records: IntArray
    there: NDArray[np.bool_]


@dataclass(eq=False)
class _Skeleton:
    """Of a part, and some nodes that have no unit: what decides of each record, and the records found."""

    getters: list[Callable[[list[str | None]], Hashable]]
    records: list[dict[Hashable, int]]


@dataclass(eq=False)
class _Part:
    """Of a part: where its formats lie among those of the model, and what is known of it.

    Attributes
    ----------
    starts : numbers of the groups with which records begin: 0, and those of nodes that have formats.
    own : gives the node's own formats.
    refused : those of a node that it has no unit for.
    """

    outline: Outline
    starts: list[int]
    sites: list[dict[str, int]]
    own: list[Callable[[list[str | None]], Hashable]] = field(init=False)
    refused: list[set[Hashable]] = field(init=False)
    skeletons: dict[Pattern, _Skeleton] = field(default_factory=dict)
    readers: dict[bytes, Readers] = field(default_factory=dict)
    broken: bool = False

    def __post_init__(self) -> None:
        self.own = [_getter(sites.values()) for sites in self.sites]
        self.refused = [set() for _ in self.sites]


def _getter(places: Iterable[int]) -> Callable[[list[str | None]], Hashable]:
    found = tuple(places)
    return itemgetter(*found) if found else _nothing


def _nothing(_: list[str | None]) -> Hashable:
    return ()


class Composer:
    """Composes designs of one graph.

    Parameters
    ----------
    structurer : of the graph, not folded.
    choices : everything but the formats.

    Attributes
    ----------
    shapes : a step of each shape, without its name.
    repeats : whether steps of several parts may have one name.
    """

    def __init__(self, structurer: Structurer, choices: Callable[[Mapping[str, str]], Choices]) -> None:
        self._structurer, self._choices = structurer, choices
        self._shape_numbers: dict[Hashable, int] = {}
        self.shapes: list[Step] = []
        self._record_numbers: dict[Hashable, int] = {}
        self._names = Growing(np.object_, None, wide=True)  # [records, steps]
        self._owners: dict[str, int] = {}
        self.repeats = False
        self._without: list[tuple[str, ...]] = []
        self._lacks = Growing(np.bool_)  # [records]: whether there are such nodes
        self._members = Growing(np.int64, -1, wide=True)  # [records, steps]: shapes
        self._links = Growing(np.int64)  # [records]: who reads whom in it
        self._link_numbers: dict[Hashable, int] = {}
        self._linked: list[Any] = []
        self._model_readers: dict[bytes, Readers] = {}
        keys: dict[str, int] = {}
        self._parts: list[_Part] = []
        for outline in structurer.outlines:
            starts: list[int] = [0]
            sites: list[dict[str, int]] = [{}]
            for number, group in enumerate(outline.groups):
                if group.sites:
                    starts.append(number)
                    sites.append({key: keys.setdefault(key, len(keys)) for key in group.sites})
            self._parts.append(_Part(outline, starts, sites))
        self._keys = list(keys)
        self._flat = self._flattened()

    def compose(self, formats: Mapping[str, str]) -> Composed:
        """Return the design of these formats.

        Raises
        ------
        NotComposableError
            If a part is none of rows of records.
        """
        values = list(map(formats.get, self._keys))
        records: list[Any] = [known.get(getter(values)) for getter, known in self._flat]
        if None in records:
            records = [
                each for number, part in enumerate(self._parts) for each in self._records(number, part, values, formats)
            ]
        numbers = np.array(records)
        members = self._members.array.take(numbers, axis=0)
        there = members >= 0
        return Composed(members[there], self._readers(self._links.array[numbers]), numbers, there)

    def step_names(self, composed: Composed) -> NDArray[np.object_]:
        """Return the names of the steps."""
        return np.asarray(self._names.array.take(composed.records, axis=0)[composed.there])

    def without(self, composed: Composed) -> tuple[str, ...]:
        """Return the nodes that nothing is charged for."""
        if not self._lacks.array[composed.records].any():
            return ()
        return tuple(node for each in composed.records for node in self._without[each])

    def _flattened(self) -> list[tuple[Callable[[list[str | None]], Hashable], dict[Hashable, int]]]:
        """Return what gives the record of every place, where all nodes have a unit."""
        found: list[tuple[Callable[[list[str | None]], Hashable], dict[Hashable, int]]] = []
        for part in self._parts:
            skeleton = part.skeletons.get(())
            found += (
                zip(skeleton.getters, skeleton.records, strict=True)
                if skeleton
                else [(_nothing, {})] * len(part.starts)
            )
        return found

    def _records(self, number: int, part: _Part, values: list[str | None], formats: Mapping[str, str]) -> list[int]:
        pattern = tuple(
            place
            for place, (own, refused) in enumerate(zip(part.own, part.refused, strict=True))
            if refused and own(values) in refused
        )
        skeleton = part.skeletons.get(pattern)
        if skeleton is not None:
            found = [
                known.get(getter(values)) for getter, known in zip(skeleton.getters, skeleton.records, strict=True)
            ]
            if None not in found:
                return found  # type: ignore[return-value]
        return self._made(number, part, values, formats)

    def _made(self, number: int, part: _Part, values: list[str | None], formats: Mapping[str, str]) -> list[int]:
        """Make a part; keep its records, and return them."""
        if part.broken:
            raise NotComposableError
        try:
            trace = _Trace(self._structurer, self._choices(formats), part)
            for name in trace.design.steps:
                self.repeats |= self._owners.setdefault(name, number) != number
            return self._kept(part, values, trace)
        except NotComposableError:
            part.broken = True
            raise

    def _kept(self, part: _Part, values: list[str | None], trace: "_Trace") -> list[int]:
        pattern = tuple(trace.refused)
        for place, (own, refused) in enumerate(zip(part.own, part.refused, strict=True)):
            if place in pattern:
                refused.add(own(values))
            elif own(values) in refused:
                raise NotComposableError
        skeleton = part.skeletons.get(pattern)
        if skeleton is None:
            skeleton = _Skeleton(
                [_getter(_places(part, trace, place)) for place in range(len(part.starts))], [{} for _ in part.starts]
            )
            part.skeletons[pattern] = skeleton
            self._flat = self._flattened()
        found = []
        for place, (getter, known) in enumerate(zip(skeleton.getters, skeleton.records, strict=True)):
            number = self._record(trace, place)
            if known.setdefault(getter(values), number) != number:
                raise NotComposableError
            found.append(number)
        return found

    def _record(self, trace: "_Trace", place: int) -> int:
        """Return the number of what a node has added."""
        steps, links = trace.steps[place], trace.links(place)
        shapes = tuple(self._shape(step, trace.design) for step in steps)
        link = self._link_numbers.setdefault(links, len(self._linked))
        if link == len(self._linked):
            self._linked.append(links)
        names, without = tuple(step.name for step in steps), tuple(trace.without[place])
        key = shapes, link, names, without
        number = self._record_numbers.setdefault(key, len(self._without))
        if number == len(self._without):
            self._names.append(names)
            self._without.append(without)
            self._lacks.append(bool(without))
            self._members.append(shapes)
            self._links.append(link)
        return number

    def _shape(self, step: Step, design: Design) -> int:
        inputs = tuple(name if is_index(name) else "" for name in step.inputs)
        key = step.unit, inputs, step.lanes_in, step.lanes_out
        number = self._shape_numbers.setdefault(key, len(self.shapes))
        if number == len(self.shapes):
            self.shapes.append(Step("", "", step.unit, inputs, step.lanes_in, step.lanes_out))
        return number

    def _readers(self, links: IntArray) -> Readers:
        """Return who reads whom in the whole model."""
        key = links.tobytes()
        found = self._model_readers.get(key)
        if found is None:
            if len(self._model_readers) >= _MOST:
                self._model_readers.clear()
            parts, at = [], 0
            for part in self._parts:
                own = links[at : at + len(part.starts)]
                at += len(part.starts)
                name = own.tobytes()
                if name not in part.readers:
                    part.readers[name] = part_readers([self._linked[each] for each in own])
                parts.append(part.readers[name])
            found = self._model_readers[key] = joined(parts)
        return found


def _places(part: _Part, trace: "_Trace", place: int) -> list[int]:
    """Return the places of the formats that decide of a record."""
    found = list(part.sites[place].values())
    for before in range(place):
        if not trace.sources[before].isdisjoint(trace.sources[place]):
            sites = part.sites[before].items()
            found += [at for key, at in sites if not key.endswith(f":{_SHARED}") and at not in found]
    return found


class _Trace:
    """A part while it is made: by record, the steps and nodes without hardware, the streams that its node reads."""

    def __init__(self, structurer: Structurer, choices: Choices, part: _Part) -> None:
        self._part = part
        self.steps: list[list[Step]] = [[] for _ in part.starts]
        self.without: list[list[str]] = [[] for _ in part.starts]
        self.sources: list[set[str]] = [set() for _ in part.starts]
        self.refused: list[int] = []
        self._group, self._place = 0, 0
        self._sizes = 0, 0
        self.design, steps = structurer.part(choices, part.outline, self._seen)
        every = [step for each in self.steps for step in each]
        if len(every) != len(self.design.steps) or any(
            one is not other for one, other in zip(every, steps.steps.values(), strict=True)
        ):
            raise NotComposableError  # a later node has changed a step of an earlier one
        self._at = {
            step.name: (place, index - len(each))
            for place, each in enumerate(self.steps)
            for index, step in enumerate(each)
        }

    def _seen(self, steps: Steps, group: Group) -> None:
        while self._place + 1 < len(self._part.starts) and self._part.starts[self._place + 1] == self._group:
            self._place += 1
        place, (steps_before, without_before) = self._place, self._sizes
        self.steps[place] += islice(steps.steps.values(), steps_before, None)
        without = steps.without[without_before:]
        self.without[place] += without
        if group.sites:
            self.sources[place] = set(sources_of(steps, group))
            if has_rule(group) and group.first.name in without:
                self.refused.append(place)
        self._group, self._sizes = self._group + 1, (len(steps.steps), len(steps.without))

    def links(self, place: int) -> Hashable:
        """Return of each step its node, and where its inputs come from: an input with lanes, or a step of a record.

        Steps are counted from the end of a record, where they stand whether it begins with an encoder or not.
        """
        found = []
        for step in self.steps[place]:
            sources = []
            for name, lanes in zip(step.inputs, step.lanes_in, strict=True):
                source: Hashable = self._at.get(name, (name, lanes))
                sources.append((source, self.design.depth(name, step.name)))
            found.append((step.node, tuple(sources)))
        return tuple(found)
