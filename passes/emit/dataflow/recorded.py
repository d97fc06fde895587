"""What the streams of a design carry in a run: what its bench sends, and what every step has to give."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Protocol

from mxhw.arithmetic.dataflow import IntegerGraph
from mxhw.errors import InputError
from mxhw.passes.emit.dataflow.beats import check_value, stream_beats, token_beats
from mxhw.sim.beats import Array

__all__ = ["Recorded", "RunRecorded"]


class Recorded(Protocol):
    """The beats of every stream."""

    def beats(self, name: str, lanes: int) -> Array:
        """Return the beats of a stream, as :func:`.beats.stream_beats` gives them."""

    def repeat(self, name: str) -> int:
        """Return how often these beats come, one time after the other."""

    def token_beats(self, name: str, lanes: int) -> int | tuple[int, ...]:
        """Return the beats of a token; one number a token where they differ."""

    def count(self, name: str) -> int:
        """Return the tokens of a stream."""


class RunRecorded:
    """The streams of a graph that runs on values of its inputs; a run's batch is sequence after sequence.

    Raises
    ------
    InputError
        If a value is missing, does not fit its stream, or has another batch or tokens than the others.
    """

    def __init__(self, graph: IntegerGraph, values: Mapping[str, Any]) -> None:
        self._graph, self._inputs = graph, values
        self.runs, self.tokens = _tokens(graph, values)

    def beats(self, name: str, lanes: int) -> Array:
        value = self._inputs[name] if name in self._graph.inputs else self._found[name]
        return stream_beats(value, self._graph.types[name], lanes)

    def repeat(self, name: str) -> int:
        return 1

    def token_beats(self, name: str, lanes: int) -> int | tuple[int, ...]:
        return token_beats(self._graph.types[name], lanes, self.runs, self.tokens)

    def count(self, name: str) -> int:
        return self.runs * self.tokens

    @cached_property
    def _found(self) -> dict[str, Any]:
        return self._graph.run(self._inputs, self._graph.steps)


def _tokens(graph: IntegerGraph, values: Mapping[str, Any]) -> tuple[int, int]:
    """Return runs and tokens a run of the values of the inputs."""
    missing = sorted(graph.inputs.keys() - values.keys())
    if missing:
        raise InputError(f"a run needs values of every input; {', '.join(missing)} has none")
    for name, kind in graph.inputs.items():
        check_value(name, values[name], kind)
    shapes = {name: tuple(getattr(values[name], "codes", values[name]).shape[:2]) for name in graph.inputs}
    if len(set(shapes.values())) != 1:
        found = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise InputError(f"the values of all inputs must have the same batch and tokens, not {found}")
    runs, tokens = next(iter(shapes.values()))
    return runs, tokens
