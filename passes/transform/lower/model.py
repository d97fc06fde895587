"""A lowered model in the place of the float graph: logits of token ids, every bit of them in integer arithmetic."""

from collections import Counter
from typing import Any

import torch
from torch import Tensor

from mxhw.arithmetic.dataflow import Integers, Scores, Step
from mxhw.errors import InputError
from mxhw.passes.transform.lower.inputs import integer_inputs
from mxhw.passes.transform.lower.lower import LoweredGraph

__all__ = ["IntegerModel"]


class IntegerModel:
    """Runs a whole model in integers.

    Static exponents rest on calibration, so elements that reach the limit of their stream are counted.

    Attributes
    ----------
    lowered : LoweredGraph
    saturated : by step, elements at the largest magnitude of their stream, over all runs.
    elements : how many elements of such streams there were in all.

    Raises
    ------
    InputError
        If the graph is a part of a model, or has several outputs.
    """

    def __init__(self, lowered: LoweredGraph) -> None:
        outside = [source for source in lowered.sources.values() if source != "input"]
        if outside or len(lowered.outputs) != 1:
            raise InputError("a part of a model gives no logits; lower the whole graph")
        self.lowered = lowered
        (self._output,) = lowered.outputs
        stream = lowered.types[self._output]
        if not isinstance(stream, Integers):
            raise InputError(f"the model gives {type(stream).__name__}, not integers")
        self._unit = 2.0**stream.exponent
        self.saturated: Counter[str] = Counter()
        self.elements = 0

    def run(self, x: Tensor) -> Tensor:
        """Return the logits [batch, tokens, vocabulary] of token ids in float64, which holds the integers exactly."""
        values = integer_inputs(self.lowered, x)
        logits: Tensor = self.lowered.run(values, observe=self._count)[self._output]
        return logits.to(torch.float64) * self._unit

    def _count(self, step: Step, value: Any) -> None:
        stream = step.operation.output
        if isinstance(stream, Integers | Scores):
            bits = stream.bits if isinstance(stream, Integers) else stream.spec.score_bits
            largest = (1 << bits - 1) - 1
            low, high = value.aminmax()
            self.elements += value.numel()
            if -int(low) >= largest or int(high) >= largest:
                self.saturated[step.name] += int((value.abs() >= largest).sum())

    def report(self) -> dict[str, Any]:
        """Return steps, elements and saturated elements, ready for JSON."""
        return {
            "arithmetic": "integer",
            "steps": len(self.lowered.steps),
            "elements": self.elements,
            "saturated": sum(self.saturated.values()),
            "saturated_at": dict(self.saturated),
        }
