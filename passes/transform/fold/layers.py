"""Structurally equal layers of an integer graph, step for step: what one physical block can compute for all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from mxhw.arithmetic.dataflow import Folded, IntegerGraph, Operation, Step
from mxhw.errors import InputError

__all__ = ["Layers", "fold_operations", "match_layers"]


@dataclass(frozen=True)
class Layers:
    """The steps of a graph in front of its layers, in them, and behind them.

    Attributes
    ----------
    prefixes : of the names of the nodes of each layer ("model.layers.0", ...).
    front, back : steps in execution order.
    steps : one list a layer; equal places are equal steps.
    entry : the stream that the first layer reads.
    exit : place of the step whose stream the next layer reads.
    """

    prefixes: tuple[str, ...]
    front: tuple[Step, ...]
    steps: tuple[tuple[Step, ...], ...]
    back: tuple[Step, ...]
    entry: str
    exit: int

    @property
    def common(self) -> str:
        """What the prefixes have in common, without the layers' numbers: "model.layers"."""
        return self.prefixes[0].rpartition(".")[0] or self.prefixes[0]

    def name(self, step: Step) -> str:
        """Return what the step of the first layer is called in a block that is all of them."""
        return self.common + step.name.removeprefix(self.prefixes[0])

    def node(self, step: Step) -> str:
        """Return the same for its node."""
        return self.common + step.node.removeprefix(self.prefixes[0])


def match_layers(graph: IntegerGraph, blocks: Mapping[int, Sequence[str]]) -> Layers:
    """Return the layers of a graph; ``blocks``: those of :attr:`mxhw.ir.Graph.blocks`.

    Raises
    ------
    InputError
        If they cannot share one block; says which layers and steps differ.
    """
    repeated = [tuple(members) for members in blocks.values()]
    if len(repeated) != 1:
        found = "; ".join(", ".join(members) for members in repeated) or "none"
        raise InputError(
            f"folding needs one kind of block that is repeated, not {len(repeated)} ({found}); {_UNFOLDED}"
        )
    (prefixes,) = repeated
    inside = {name: index for index, prefix in enumerate(prefixes) for name in _below(graph, prefix)}
    steps = tuple(
        tuple(step for step in graph.steps.values() if inside.get(step.name) == layer) for layer in range(len(prefixes))
    )
    for prefix, own in zip(prefixes, steps, strict=True):
        if not own:
            raise InputError(f"{prefix} has no steps of its own; {_UNFOLDED}")
    entries = [_entry(graph, own) for own in steps]
    exits = [_place(steps[layer], entries[layer + 1], prefixes[layer]) for layer in range(len(steps) - 1)]
    outside = [step for step in graph.steps.values() if step.name not in inside]
    needed = _ancestors(graph, entries[0])
    last = exits[0] if exits else _last(graph, steps[0])
    for layer, own in enumerate(steps[1:], 1):
        _check_equal(prefixes, steps[0], own, layer, entries)
        if layer < len(exits) and exits[layer] != last:
            raise InputError(f"{prefixes[layer]} gives another step to the next layer than {prefixes[0]}; {_UNFOLDED}")
    front = tuple(step for step in outside if step.name in needed)
    back = tuple(step for step in outside if step.name not in needed)
    _check_back(back, steps[-1][last].name)
    return Layers(prefixes, front, steps, back, entries[0], last)


def fold_operations(members: Sequence[Operation], *, banks: int) -> Operation:
    """Return the operation of one unit for all members: one of them where they are equal, else :class:`Folded`.

    ``banks``: caches of attention, each a sequence in a layer.
    """
    first = members[0]
    if hasattr(first, "banks"):
        _check_same(members)
        return _with_banks(first, banks)
    if all(_equal(first, each) for each in members[1:]):
        return first
    return Folded(members=tuple(members))


_UNFOLDED = "emit it unfolded"


def _with_banks(operation: Operation, banks: int) -> Operation:
    values = {field.name: getattr(operation, field.name) for field in fields(operation)}  # type: ignore[arg-type]
    return type(operation)(**values | {"banks": banks})


def _equal(a: Operation, b: Operation) -> bool:
    """Whether two operations compute the same: all their fields are equal."""
    if type(a) is not type(b):
        return False
    try:
        return all(bool(getattr(a, f.name) == getattr(b, f.name)) for f in fields(a))  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError):
        return False  # tensors and the like: constants of their own


def _check_same(members: Sequence[Operation]) -> None:
    for layer, each in enumerate(members):
        if not _equal(members[0], each):
            raise InputError(f"the {each.kind} of layer {layer} differs from that of layer 0; {_UNFOLDED}")


def _below(graph: IntegerGraph, prefix: str) -> list[str]:
    return [step.name for step in graph.steps.values() if step.node == prefix or step.node.startswith(f"{prefix}.")]


def _entry(graph: IntegerGraph, own: Sequence[Step]) -> str:
    """Return the one stream, other than positions, that a layer reads from outside."""
    names = {step.name for step in own}
    read = {source for step in own for source in step.inputs if source not in names and source not in graph.inputs}
    if len(read) != 1:
        raise InputError(
            f"the layer of {own[0].node} reads {', '.join(sorted(read)) or 'nothing'} from outside, not one "
            f"stream; {_UNFOLDED}"
        )
    return read.pop()


def _place(own: Sequence[Step], name: str, prefix: str) -> int:
    for place, step in enumerate(own):
        if step.name == name:
            return place
    raise InputError(f"the layer after {prefix} reads {name}, which is not in it; {_UNFOLDED}")


def _last(graph: IntegerGraph, own: Sequence[Step]) -> int:
    """Return the place of the only step of a layer that is read outside."""
    names = {step.name: place for place, step in enumerate(own)}
    outside = [step for step in graph.steps.values() if step.name not in names]
    read = sorted({names[source] for step in outside for source in step.inputs if source in names})
    if len(read) != 1:
        raise InputError(f"{len(read)} streams of the layer of {own[0].node} are read outside, not one; {_UNFOLDED}")
    return read[0]


def _ancestors(graph: IntegerGraph, name: str) -> set[str]:
    found, waiting = {name}, [name]
    while waiting:
        step = graph.steps.get(waiting.pop())
        fresh = set(() if step is None else step.inputs) - found
        found |= fresh
        waiting += fresh
    return found


def _check_equal(
    prefixes: Sequence[str], first: Sequence[Step], own: Sequence[Step], layer: int, entries: Sequence[str]
) -> None:
    """Raise InputError unless a layer has the steps of the first one, connected in the same way."""
    prefix = prefixes[layer]

    def local(name: str, index: int) -> str:
        if name == entries[index]:
            return "(entry)"
        return name.replace(prefixes[index], "", 1) if name.startswith(prefixes[index]) else name

    here, there = ([(local(s.name, i), s.operation.kind) for s in steps] for steps, i in ((own, layer), (first, 0)))
    if here != there:
        odd = sorted({name for name, _ in set(here) ^ set(there)})
        raise InputError(f"{prefix} has other steps than {prefixes[0]} ({', '.join(odd[:3])}); {_UNFOLDED}")
    for a, b in zip(own, first, strict=True):
        if [local(name, layer) for name in a.inputs] != [local(name, 0) for name in b.inputs]:
            raise InputError(f"{a.name} reads other streams than {b.name}; {_UNFOLDED}")


def _check_back(back: Sequence[Step], last: str) -> None:
    """Raise InputError if what comes behind the layers reads anything but the last one's stream."""
    known = {step.name for step in back} | {last}
    for step in back:
        for source in step.inputs:
            if source not in known:
                raise InputError(f"{step.name}, behind the layers, reads {source}; {_UNFOLDED}")
