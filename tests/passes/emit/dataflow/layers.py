"""Layers that share a unit, made by hand, and what is sent to one."""

from dataclasses import dataclass, replace
from typing import Any

import torch

from mxhw.arithmetic.dataflow import (
    Bias,
    Folded,
    IntegerGraph,
    Integers,
    LayerNorm,
    Operation,
    Requantize,
    RMSNorm,
    Step,
)
from mxhw.arithmetic.functions.layer_norm import LayerNormSpec
from mxhw.arithmetic.functions.requantize import RequantizeSpec
from mxhw.arithmetic.functions.rms_norm import RMSNormSpec
from mxhw.passes.emit.dataflow.place import Placed, place_graph
from tests.rtl_templates.dataflow.streams import mantissas

LARGEST = (1 << 25) - 1


def integers(length: int, bits: int) -> Integers:
    return Integers(length=length, bits=bits, exponent=-10)


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def requantize(multipliers: tuple[int, ...], length: int) -> Requantize:
    spec = RequantizeSpec(multipliers=multipliers, largest=LARGEST, shift=24)
    return Requantize(x=integers(length, spec.input_bits), y=integers(length, 16), spec=spec)


def scaled(*tops: int, length: int = 6) -> Folded:
    """Requantizers whose largest multipliers are so large."""
    members = (tuple(max(1, top * (n + 1) // length) for n in range(length)) for top in tops)
    return Folded(members=tuple(requantize(multipliers, length) for multipliers in members))


def alone(*multipliers: int, length: int = 6) -> Folded:
    """Requantizers with one multiplier each."""
    return Folded(members=tuple(requantize((each,), length) for each in multipliers))


def bias(*rows: tuple[int, ...]) -> Folded:
    return Folded(members=tuple(Bias(x=integers(len(r), 16), y=integers(len(r), 15), values=r) for r in rows))


def rms_norm(*gains: torch.Tensor) -> Folded:
    specs = [RMSNormSpec.of(row, 1e-5, -18, -11) for row in gains]
    shared = [replace(spec, shift=specs[0].shift) for spec in specs]
    return Folded(members=tuple(RMSNorm(x=integers(s.length, 24), y=integers(s.length, 16), spec=s) for s in shared))


def layer_norm(*gains: torch.Tensor) -> Folded:
    specs = [LayerNormSpec.of(row, row.flip(0) - 0.5, 1e-5, -18, -11) for row in gains]
    shared = [replace(spec, shift=specs[0].shift) for spec in specs]
    return Folded(members=tuple(LayerNorm(x=integers(s.length, 24), y=integers(s.length, 16), spec=s) for s in shared))


@dataclass(frozen=True)
class Case:
    """Layers that share a unit, and its lanes."""

    operation: Folded
    lanes: int = 1


def placed(case: Case) -> Placed:
    types = {f"x{i}": kind for i, kind in enumerate(case.operation.inputs)}
    graph = IntegerGraph(types, [Step("s", "s", case.operation, tuple(types))], ["s"])
    return place_graph(graph, {"s": {"lanes": case.lanes}})["s"]


def placed_one(operation: Operation, lanes: int) -> Placed:
    graph = IntegerGraph({"x": operation.inputs[0]}, [Step("s", "s", operation, ("x",))], ["s"])
    return place_graph(graph, {"s": {"lanes": lanes}})["s"]


def stimulus(operation: Folded, seed: int, tokens: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    """Drawn tokens of drawn layers; then zeros and the largest of both signs for every layer."""
    kind: Any = operation.inputs[0]
    count = len(operation.members)
    drawn = mantissas(tokens, kind.length, seed, kind.bits)
    layers = torch.randint(0, count, (1, tokens), generator=torch.Generator().manual_seed(seed))
    corners = drawn[:, -3:].repeat(1, count, 1)
    return torch.cat([drawn, corners], 1), torch.cat([layers, torch.arange(count).repeat_interleave(3)[None]], 1)
