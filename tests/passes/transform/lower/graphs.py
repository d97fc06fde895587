"""Lowered graphs with a planted fault, and how far two results are apart."""

from collections.abc import Callable

from torch import Tensor

from mxhw.arithmetic.dataflow import Operation, Step
from mxhw.passes.transform.lower import LoweredGraph

__all__ = ["error", "with_operation"]


def error(found: Tensor, reference: Tensor) -> float:
    """Return the rms difference over the rms of the reference."""
    off, size = (found.double() - reference.double()).square().mean(), reference.double().square().mean()
    return float((off / size).sqrt())


def with_operation(whole: LoweredGraph, name: str, change: Callable[[Operation], Operation]) -> LoweredGraph:
    """Return the graph with another operation in one step."""
    steps = [
        Step(step.name, step.node, change(step.operation) if step.name == name else step.operation, step.inputs)
        for step in whole.steps.values()
    ]
    return LoweredGraph(
        whole.inputs,
        steps,
        whole.outputs,
        model=whole.model,
        sources=whole.sources,
        streams=whole.streams,
        keys=whole.keys,
    )
