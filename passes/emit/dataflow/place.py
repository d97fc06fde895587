"""From steps to components: every operation has a builder that makes its component with the parallelism asked for.

Builders of mxhw's own operations stand in :mod:`.components` and :mod:`.products`; a user's operation gets one in the
same way:

    @register_component(Tanh, parallelism=("lanes",))
    def tanh(operation: Tanh, request: Request) -> Placed:
        lanes = request.get("lanes", 1)
        return Placed(
            module=module_name("tanh", x=operation.x.bits, lanes=lanes),
            component=TanhUnit(bits=operation.x.bits, lanes=lanes),
            inputs=(Port("x", operation.x, lanes),),
            output=Port("y", operation.y, lanes),
            parallelism={"lanes": lanes},
        )
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from amaranth.hdl import Shape
from amaranth.lib import wiring

from mxhw.arithmetic.dataflow import IntegerGraph, Operation, Step, StreamType
from mxhw.errors import InputError, nearest
from mxhw.passes.emit.dataflow.beats import payload_bits
from mxhw.passes.emit.dataflow.registry import OperationTable
from mxhw.sim.beats import Array

__all__ = [
    "Fields",
    "Parallelism",
    "Placed",
    "Port",
    "Request",
    "input_lanes",
    "missing_components",
    "module_name",
    "place_graph",
    "register_component",
]

Parallelism = Mapping[str, Mapping[str, int]]
"""Step → what is parallel in it (``rows``, ``columns``, ``lanes``) → how much."""

Fields = Mapping[str, tuple[Array, int]]
"""Memory file → unsigned fields [words, fields a word], the first lowest, and the bits of a field."""

_NOTHING: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True)
class Port:
    """A stream of a component: the member's name, the stream's type, the elements of a beat."""

    member: str
    type: StreamType
    lanes: int = 1

    @property
    def bits(self) -> int:
        """Bits of a payload."""
        return payload_bits(self.type, self.lanes)


def _no_fields() -> Fields:
    return {}


@dataclass(frozen=True, kw_only=True, eq=False)
class Placed:
    """The component of a step.

    Attributes
    ----------
    module : Verilog module: kind and all that decides the text, so that steps whose modules have one name share it.
        What memories hold is not part of the text.
    component : Amaranth component; nothing else may use it.
    inputs, output : its streams, in the order of the operation's.
    parallelism : lanes, rows and so on, by name.
    fields : gives what those memories hold that the component was made without (large weights); the file names are
        those of its memories.
    """

    module: str
    component: wiring.Component
    inputs: tuple[Port, ...]
    output: Port
    parallelism: Mapping[str, int]
    fields: Callable[[], Fields] = _no_fields


@dataclass(frozen=True)
class Request:
    """What a builder is asked for.

    Attributes
    ----------
    given : the parallelism that the user chose for this step.
    reader_lanes : elements of a beat that the first reader of the step's stream takes; None if nothing reads it.
    """

    given: Mapping[str, int] = field(default_factory=dict)
    reader_lanes: int | None = None

    def get(self, name: str, default: int) -> int:
        """Return the chosen value, or the default."""
        return self.given.get(name, default)


Builder = Callable[[Any, Request], Placed]
OperationT = TypeVar("OperationT", bound=Operation)


@dataclass(frozen=True)
class _Registered:
    build: Builder
    parallelism: tuple[str, ...]


_BUILDERS: OperationTable[_Registered] = OperationTable()


def register_component(
    operation: type[Operation], *, parallelism: tuple[str, ...] = ("lanes",), folded: bool = False
) -> Callable[[Builder], Builder]:
    """Return a decorator that makes a function the builder of a class of operations and of its subclasses.

    ``parallelism`` names what users may choose. A later builder of a class takes the place of an earlier one.
    ``folded``: it builds units that several layers share, from :class:`mxhw.arithmetic.dataflow.Folded`.
    """

    def register(build: Builder) -> Builder:
        _BUILDERS.add(operation, entry=_Registered(build, parallelism), folded=folded)
        return build

    return register


def module_name(kind: str, *parts: str, **sizes: int | str | bool) -> str:
    """Return ``mxhw_{kind}_…`` with all that decides a module's text: plain words, then sizes with their letters."""
    words = [*parts, *(f"{letter}{_word(value)}" for letter, value in sizes.items())]
    return "_".join(["mxhw", kind, *words])


def missing_components(graph: IntegerGraph) -> dict[str, list[str]]:
    """Return the kinds of operations without a component, and the steps that need them."""
    missing: dict[str, list[str]] = {}
    for step in graph.steps.values():
        if _BUILDERS.find(step.operation) is None:
            missing.setdefault(step.operation.kind, []).append(step.name)
    return missing


def place_graph(graph: IntegerGraph, parallelism: Parallelism | None = None) -> dict[str, Placed]:
    """Return the component of every step, in execution order.

    Raises
    ------
    InputError
        If operations have no component (all are named), a step or a parameter is not known, or a value is impossible.
    """
    parallelism = parallelism or {}
    if missing := missing_components(graph):
        found = "; ".join(f"{kind} ({', '.join(steps)})" for kind, steps in sorted(missing.items()))
        raise InputError(
            f"no hardware component for {len(missing)} of the kinds of operation in this graph: {found}; a component "
            "for an operation of your own is registered with mxhw.passes.emit.dataflow.register_component"
        )
    for name in parallelism:
        if name not in graph.steps:
            raise InputError(f"there is no step {name!r} to choose a parallelism for{nearest(name, graph.steps)}")
    placed: dict[str, Placed] = {}
    wanted: dict[str, int] = {}
    for step in reversed(graph.steps.values()):
        placed[step.name] = _place(step, parallelism.get(step.name, _NOTHING), wanted.get(step.name))
        for source, port in zip(step.inputs, placed[step.name].inputs, strict=True):
            wanted[source] = port.lanes
    return {name: placed[name] for name in graph.steps}


def input_lanes(
    graph: IntegerGraph, placed: Mapping[str, Placed], feedback: Mapping[str, str] = MappingProxyType({})
) -> dict[str, int]:
    """Return the elements of a beat of each input of the design: what its first reader takes.

    ``feedback``: inputs that come from steps, and have their beats.
    """
    lanes = dict.fromkeys(graph.inputs, 1)
    for step in reversed(graph.steps.values()):
        for source, port in zip(step.inputs, placed[step.name].inputs, strict=True):
            if source in lanes:
                lanes[source] = port.lanes
    return lanes | {source: placed[step].output.lanes for source, step in feedback.items()}


def _place(step: Step, given: Mapping[str, int], reader_lanes: int | None) -> Placed:
    registered = _BUILDERS.find(step.operation)
    assert registered is not None, "missing components are reported before"
    for name, value in given.items():
        if name not in registered.parallelism:
            allowed = ", ".join(registered.parallelism) or "nothing"
            raise InputError(f"step {step.name} ({step.operation.kind}) lets {allowed} be chosen, not {name!r}")
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
            raise InputError(f"{name} of step {step.name} must be an integer of at least 1, not {value!r}")
    try:
        placed = registered.build(step.operation, Request(given, reader_lanes))
        _silence(placed.component)
        _check(placed, step)
    except InputError as error:
        raise InputError(f"step {step.name}: {error}") from error
    return placed


def _silence(component: Any) -> None:
    """Keep Amaranth from warning of components that are never elaborated: many are only asked for their sizes."""
    component._MustUse__silence = True
    for value in vars(component).values():
        for inner in value if isinstance(value, list | tuple) else (value,):
            if isinstance(inner, wiring.Component):
                _silence(inner)


def _check(placed: Placed, step: Step) -> None:
    """Raise InputError unless the component's ports are the streams of the operation."""
    types = tuple(port.type for port in placed.inputs), placed.output.type
    if types != (step.operation.inputs, step.operation.output):
        raise InputError(f"the component {placed.module} is not placed with the streams of its operation")
    for port in (*placed.inputs, placed.output):
        interface = getattr(placed.component, port.member, None)
        if interface is None:
            raise InputError(f"the component {placed.module} has no stream {port.member!r}")
        have = Shape.cast(interface.payload.shape()).width
        if have != port.bits:
            raise InputError(f"{port.member} of {placed.module} has payloads of {have} bits, its stream of {port.bits}")


def _word(value: int | str | bool) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return str(value).replace("-", "n")
