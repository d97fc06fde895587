"""Who reads whom in a design, as arrays: forks, queues and converters in the order of :func:`.connections`."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import accumulate, chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Readers", "joined", "part_readers"]

IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Readers:
    """Streams and their readers. Streams are numbered: those of steps by their places, then inputs.

    Attributes
    ----------
    steps, inputs, slots : how many there are; slots are places of forks, queues and converters.
    nodes : of the steps.
    depths : that queues have.
    input_reader, input_place, input_lanes : of an input, its first reader, the reader's place for it, lanes [inputs].
    fork_slot, fork_stream, fork_readers : of streams with several readers.
    queue_slot, queue_stream, queue_depth : of queues; depths are numbers of `depths`.
    width_slot, width_stream, width_reader, width_place : where a converter stands if widths differ.
    """

    steps: int
    inputs: int
    slots: int
    nodes: tuple[str, ...]
    depths: tuple[int, ...]
    input_reader: IntArray
    input_place: IntArray
    input_lanes: IntArray
    fork_slot: IntArray
    fork_stream: IntArray
    fork_readers: IntArray
    queue_slot: IntArray
    queue_stream: IntArray
    queue_depth: IntArray
    width_slot: IntArray
    width_stream: IntArray
    width_reader: IntArray
    width_place: IntArray

    @cached_property
    def built(self) -> frozenset[str]:
        """The nodes that have steps."""
        return frozenset(self.nodes)

    def table(self, kind: str) -> IntArray:
        """Return the arrays of inputs, forks, queues or widths below each other."""
        if kind not in self._tables:
            self._tables[kind] = np.array([getattr(self, name) for name in _ARRAYS if name.startswith(f"{kind}_")])
        return self._tables[kind]

    @cached_property
    def _tables(self) -> dict[str, IntArray]:
        return {}


_ARRAYS = [each.name for each in fields(Readers) if each.name not in ("steps", "inputs", "slots", "nodes", "depths")]


def part_readers(records: Sequence[Any]) -> Readers:
    """Return the readers of a part, of what :meth:`.compose._Trace.links` says of its records."""
    ends = list(accumulate(len(record) for record in records))
    steps = [step for record in records for step in record]
    inputs: dict[str, int] = {}
    found: dict[str, list[int]] = {name: [] for name in _ARRAYS}
    readers: dict[int, list[tuple[int, int, int]]] = {}
    for reader, (_, sources) in enumerate(steps):
        for place, ((owner, index), depth) in enumerate(sources):
            if isinstance(owner, str):
                if owner not in inputs:
                    inputs[owner] = len(steps) + len(inputs)
                    _add(found, input_reader=reader, input_place=place, input_lanes=index)
                stream = inputs[owner]
            else:
                stream = ends[owner] + index
            readers.setdefault(stream, []).append((reader, place, depth))
    slots = 0
    for stream in (*inputs.values(), *range(len(steps))):
        own = readers.get(stream, [])
        every = len(own) + (stream == len(steps) - 1)  # the last step's stream leaves the part
        if own and every > 1:
            _add(found, fork_slot=slots, fork_stream=stream, fork_readers=every)
            slots += 1
        for reader, place, depth in own:
            if depth:
                _add(found, queue_slot=slots, queue_stream=stream, queue_depth=depth)
                slots += 1
            _add(found, width_slot=slots, width_stream=stream, width_reader=reader, width_place=place)
            slots += 1
    depths = tuple(dict.fromkeys(found["queue_depth"]))
    found["queue_depth"] = [depths.index(depth) for depth in found["queue_depth"]]
    arrays = {name: np.array(each, dtype=np.int64) for name, each in found.items()}
    return Readers(len(steps), len(inputs), slots, tuple(node for node, _ in steps), depths, **arrays)


def _add(found: dict[str, list[int]], **values: int) -> None:
    for name, value in values.items():
        found[name].append(value)


def joined(parts: Sequence[Readers]) -> Readers:
    """Return the readers of a model of these parts; inputs of all parts stand behind all steps."""
    steps, inputs, slots = (np.array([getattr(part, name) for part in parts]) for name in ("steps", "inputs", "slots"))
    before = {"reader": _before(steps), "slot": _before(slots)}
    outside = int(steps.sum()) + _before(inputs) - steps
    depths = tuple(dict.fromkeys(depth for part in parts for depth in part.depths))
    arrays = {}
    for kind in ("input", "fork", "queue", "width"):
        names = [name for name in _ARRAYS if name.startswith(kind)]
        every = np.concatenate([part.table(kind) for part in parts], axis=1)
        part = np.repeat(np.arange(len(parts)), [len(getattr(each, names[0])) for each in parts])
        for name, values in zip(names, every, strict=True):
            what = name.removeprefix(f"{kind}_")
            if what in before:
                values = values + before[what][part]
            elif what == "stream":
                values = values + np.where(values < steps[part], before["reader"][part], outside[part])
            arrays[name] = values
    if any(part.depths != depths for part in parts):
        own = [np.array([depths.index(depth) for depth in part.depths], dtype=np.int64) for part in parts]
        arrays["queue_depth"] = np.concatenate(
            [numbers[part.queue_depth] for numbers, part in zip(own, parts, strict=True)]
        )
    nodes = tuple(chain.from_iterable(part.nodes for part in parts))
    return Readers(int(steps.sum()), int(inputs.sum()), int(slots.sum()), nodes, depths, **arrays)


def _before(counts: IntArray) -> IntArray:
    return np.asarray(np.cumsum(counts) - counts)
