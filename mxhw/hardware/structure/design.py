"""A design as the cost model sees it: units by name, and who reads whom."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mxhw.hardware.structure.unit import Unit

__all__ = ["DEFAULT_FIFO", "Design", "Step"]

DEFAULT_FIFO = 2
"""Beats of a queue of which nothing is said: two registers, which cut all combinational paths of a stream."""


@dataclass(frozen=True)
class Step:
    """A unit in its place.

    Attributes
    ----------
    name : of the step.
    node : of the model's graph that it belongs to.
    unit : what it is.
    inputs : steps, or inputs of the design, whose streams it reads.
    lanes_in : elements of a beat that it takes from each of them.
    lanes_out : elements of a beat that it gives.
    """

    name: str
    node: str
    unit: Unit
    inputs: tuple[str, ...]
    lanes_in: tuple[int, ...]
    lanes_out: int


@dataclass(frozen=True)
class Design:
    """Steps in execution order.

    Attributes
    ----------
    inputs : of the design → elements of a beat.
    steps : name → step.
    outputs : steps whose streams leave the design.
    fifos : (input or step, step that reads it) → depth; see :meth:`depth`.
    """

    inputs: Mapping[str, int]
    steps: Mapping[str, Step]
    outputs: tuple[str, ...]
    fifos: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def depth(self, source: str, step: str) -> int:
        """Return the depth of the queue between a stream and a step that reads it."""
        return self.fifos.get((source, step), DEFAULT_FIFO)
