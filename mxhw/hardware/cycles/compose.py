"""Cycles of a design: its units one after the other, in execution order.

Queues between units are taken to be as deep as :mod:`mxhw.passes.emit.dataflow.fifos` makes them: no unit whose output
matters waits for room. What is left of a queue is its latency.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mxhw.errors import InputError
from mxhw.hardware.cycles.alone import unit_interval
from mxhw.hardware.cycles.rules import INDEX, Arrival, Run, Stream, elements_of, rule_of
from mxhw.hardware.cycles.streams import Beats, IntArray, Rows, Start, arrive, fifo_latency
from mxhw.hardware.structure import Design, rows_of

__all__ = ["DesignCycles", "design_cycles", "design_streams"]

_OUTPUT = ""


@dataclass(frozen=True, eq=False)
class DesignCycles:
    """Cycles of a run without stalls from outside: all inputs are always there, all outputs are taken.

    Attributes
    ----------
    design : what runs.
    total : from the first beat in to the last beat out, both counted.
    first : to the last beat of the first token's output.
    ends : of the last beat of each token's output, the first beat in being cycle 0 [tokens].
    position : of the last token.
    """

    design: Design
    total: int
    first: int
    ends: IntArray
    position: int

    @cached_property
    def intervals(self) -> Mapping[str, float]:
        """Step → cycles a token, at the last position."""
        return {name: unit_interval(step.unit, self.position) for name, step in self.design.steps.items()}

    @property
    def bottleneck(self) -> str:
        """The step with the most cycles a token, the first one of several."""
        return max(self.intervals, key=self.intervals.__getitem__)


def design_cycles(design: Design, tokens: int, start: int = 0) -> DesignCycles:
    """Return the cycles of so many tokens of one sequence, the first at position ``start``.

    Raises
    ------
    InputError
        For no tokens, a number of tokens that products of several rows cannot take, or a unit without a rule.
    """
    run = _run(design, tokens, start)
    streams = design_streams(design, run)
    ends = np.maximum.reduce([streams[name].last for name in design.outputs])
    return DesignCycles(design, int(ends.max()) + 1, int(ends[0]) + 1, ends, int(run.positions[-1]))


def design_streams(design: Design, run: Run) -> dict[str, Stream]:
    """Return the beats of every stream of a design: name of an input or a step → when they pass."""
    streams: dict[str, Stream] = {}
    for step in design.steps.values():
        arrivals: list[Arrival] = []
        for source, lanes, elements in zip(step.inputs, step.lanes_in, elements_of(step.unit), strict=False):
            if source not in streams:
                streams[source] = _input(elements, design.inputs[source], run)
            latency = fifo_latency(design.depth(source, step.name))
            stream = streams[source]
            if isinstance(stream, Rows):
                arrivals.append(stream.later(latency))
            else:
                arrivals.append(arrive(stream, lanes, latency))
        streams[step.name] = rule_of(step.unit)(step.unit, arrivals, run)
    return streams


def _input(elements: int, lanes: int, run: Run) -> Beats:
    """Return a stream that is always there, and taken a beat a cycle."""
    beats = 1 if elements == INDEX else elements // lanes
    offsets = np.arange(beats, dtype=np.int64)
    return Beats((Start(np.arange(run.tokens, dtype=np.int64) * beats),), (offsets,), lanes)


def _run(design: Design, tokens: int, start: int) -> Run:
    if tokens < 1:
        raise InputError(f"a run must have 1 token or more, not {tokens!r}")
    if start < 0:
        raise InputError(f"the first token of a run must have a position of 0 or more, not {start!r}")
    for name, step in design.steps.items():
        rows = rows_of(step.unit)
        if tokens % rows:
            raise InputError(f"step {name} takes {rows} tokens at once: tokens must be a multiple of it, not {tokens}")
    return Run(np.arange(start, start + tokens, dtype=np.int64))
