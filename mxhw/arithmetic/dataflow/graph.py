"""An integer graph: what a whole design computes, step by step, as integers.

It runs as torch code at useful speed (products in floating point where that is exact), and it is what emission turns
into RTL, one component a step.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mxhw.arithmetic.dataflow.operation import Operation
from mxhw.arithmetic.dataflow.streams import StreamType
from mxhw.errors import InputError, nearest

__all__ = ["IntegerGraph", "Step"]


@dataclass(frozen=True, eq=False)
class Step:
    """One operation in its place.

    Attributes
    ----------
    name : unique; the node's name, with what the step does after it where a node has several (``q_proj.requantize``).
    node : the node of the captured graph that it belongs to.
    operation : what it computes.
    inputs : names of steps before it, or of inputs of the graph, in the order of the operation.
    """

    name: str
    node: str
    operation: Operation
    inputs: tuple[str, ...]


class IntegerGraph:
    """Steps in execution order.

    Parameters
    ----------
    inputs : name → stream type.
    steps : in execution order.
    outputs : names of the steps whose streams leave the design.

    Raises
    ------
    InputError
        If a name is not known where it is used or not unique, or a stream is not of the type that its reader takes.
    """

    def __init__(self, inputs: Mapping[str, StreamType], steps: Iterable[Step], outputs: Iterable[str]) -> None:
        self.inputs = dict(inputs)
        self.steps: dict[str, Step] = {}
        types: dict[str, StreamType] = dict(self.inputs)
        for step in steps:
            if step.name in types:
                raise InputError(f"two streams of an integer graph are called {step.name!r}")
            taken = step.operation.inputs
            if len(taken) != len(step.inputs):
                raise InputError(f"step {step.name} takes {len(taken)} streams, not {len(step.inputs)}")
            for source, wanted in zip(step.inputs, taken, strict=True):
                if source not in types:
                    raise InputError(f"step {step.name} reads {source!r}, which no step before it gives")
                if types[source] != wanted:
                    raise InputError(f"step {step.name} takes {wanted}, but {source} gives {types[source]}")
            self.steps[step.name] = step
            types[step.name] = step.operation.output
        self.types = types
        self.outputs = tuple(outputs)
        for name in self.outputs:
            if name not in self.steps:
                raise InputError(f"output {name!r} is no step of the graph{nearest(name, self.steps)}")

    def run(
        self,
        values: Mapping[str, Any],
        keep: Iterable[str] | None = None,
        observe: Callable[[Step, Any], None] | None = None,
    ) -> dict[str, Any]:
        """Return the values of ``keep`` (default: the outputs), by name; others are dropped when nobody needs them.

        Parameters
        ----------
        values : of all inputs, by name.
        keep : names of steps.
        observe : called with every step and its value, as they come.

        Raises
        ------
        InputError
            If an input is missing, or ``keep`` names no step.
        """
        kept = set(self.outputs if keep is None else keep)
        for name in self.inputs:
            if name not in values:
                raise InputError(f"input {name!r} of the integer graph has no value{nearest(name, values)}")
        for name in kept:
            if name not in self.steps:
                raise InputError(f"{name!r} is no step of the integer graph{nearest(name, self.steps)}")
        last = {source: step.name for step in self.steps.values() for source in step.inputs}
        held = {name: values[name] for name in self.inputs}
        found: dict[str, Any] = {}
        for step in self.steps.values():
            held[step.name] = step.operation.run(*(held[source] for source in step.inputs))
            if observe is not None:
                observe(step, held[step.name])
            if step.name in kept:
                found[step.name] = held[step.name]
            for source in {*step.inputs, step.name}:
                if last.get(source, step.name) == step.name:
                    held.pop(source, None)
        return found
