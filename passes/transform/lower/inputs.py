"""What a lowered graph takes for real tokens: ids and positions, and the streams that come from outside of it."""

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, fx

from mxhw.arithmetic.dataflow import Integers
from mxhw.arithmetic.rounding import saturate
from mxhw.errors import InputError
from mxhw.ir import Graph
from mxhw.ir.describe import INFO, INPUT
from mxhw.passes.transform.lower.lower import LoweredGraph
from mxhw.passes.transform.lower.lowering import POSITIONS, TOKENS
from mxhw.passes.transform.lower.views import Source, Views

__all__ = ["integer_inputs", "to_integers"]


def integer_inputs(
    lowered: LoweredGraph, x: Tensor, *, graph: Graph | None = None, whole: LoweredGraph | None = None
) -> dict[str, Tensor]:
    """Return the inputs of a lowered graph for tokens or features ``x`` [batch, tokens(, features)].

    Parameters
    ----------
    lowered : LoweredGraph
        Of a whole model, or of a part of it.
    x : Tensor
        What the float model takes.
    graph : Graph, optional
        The float graph: values from outside are its own, rounded to the streams.
    whole : LoweredGraph, optional
        The whole model in integers: values from outside are then exactly those that the part gets in it.

    Raises
    ------
    InputError
        If there are more tokens than the graph has room for, or values from outside and neither of the two graphs.
    """
    values = _indices(lowered, x)
    wanted = {name: source for name, source in lowered.sources.items() if source != INPUT}
    for name in lowered.sources.keys() - wanted.keys():
        values[name] = to_integers(x, _integers(lowered, name))
    if not wanted:
        return values
    if whole is not None:
        streams = {name: whole.streams[source] for name, source in wanted.items()}
        found = whole.run(integer_inputs(whole, x), keep=streams.values())
        return values | {name: found[stream] for name, stream in streams.items()}
    if graph is None:
        raise InputError(
            f"{', '.join(wanted.values())} is read from outside of this part; give the float graph, or the whole one"
        )
    floats = _source_values(graph, x, set(wanted.values()))
    for name, source in wanted.items():
        values[name] = to_integers(floats[source] * lowered.factors.get(name, 1.0), _integers(lowered, name))
    return values


def to_integers(x: Tensor, stream: Integers) -> Tensor:
    """Return real values as integers of a stream, rounded half to even and saturated."""
    return saturate(torch.round(x.double() * 2.0**-stream.exponent).long(), stream.bits)


def _indices(lowered: LoweredGraph, x: Tensor) -> dict[str, Tensor]:
    values: dict[str, Tensor] = {}
    if POSITIONS in lowered.inputs:
        if x.dim() < 2 or not 0 < x.shape[1] <= lowered.keys:
            raise InputError(f"tokens must be [batch, 1 to {lowered.keys}], not {list(x.shape)}")
        values[POSITIONS] = torch.arange(x.shape[1]).expand(x.shape[:2])
    if TOKENS in lowered.inputs:
        values[TOKENS] = x
    return values


def _integers(lowered: LoweredGraph, name: str) -> Integers:
    stream = lowered.inputs[name]
    assert isinstance(stream, Integers)
    return stream


def _source_values(graph: Graph, x: Tensor, names: Collection[str]) -> dict[str, Tensor]:
    """Return outputs of nodes of the float graph, as vectors."""
    graph.signature.check(x)
    recorder = _Recorder(graph, names)
    with torch.no_grad():
        recorder.run(x)
    return recorder.seen


class _Recorder(fx.Interpreter):
    def __init__(self, graph: Graph, names: Collection[str]) -> None:
        super().__init__(graph.module)
        self.views, self.names = Views(graph), names
        self.seen: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if INFO in n.meta:
            for index in range(self.views.outputs(n)):
                if (name := self.views.key(Source(n, index))) in self.names:
                    self.seen[name] = self.views.vectors(Source(n, index), value)
        return value
