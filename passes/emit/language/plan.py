"""What is decided about a design that generates text: parallelism, and FIFO depths with those of the loop."""

from collections.abc import Mapping

from mxhw.arithmetic.dataflow import AttentionScores, IntegerGraph, Integers
from mxhw.errors import InputError
from mxhw.hardware import Platform
from mxhw.passes.emit.dataflow.fifos import fifo_depths
from mxhw.passes.emit.dataflow.place import Parallelism, Placed, input_lanes
from mxhw.passes.emit.dataflow.plan import DesignPlan, plan_design
from mxhw.passes.transform.fold import CONTROL, LanguageGraph

__all__ = ["language_depths", "plan_language"]

_IN_WORKS = 12
"""Passes that are told to the far end of a block before the first of them is there."""


def plan_language(
    graph: LanguageGraph,
    *,
    platform: Platform | None = None,
    share: float = 1.0,
    fixed: Parallelism | None = None,
) -> DesignPlan:
    """Return the plan of a design, as :func:`plan_design` does; linear layers work on one token at a time.

    Raises
    ------
    InputError
        If the design with all weights and caches exceeds the platform, or a step cannot be built so.
    """
    for name, sizes in (fixed or {}).items():
        if sizes.get("rows", 1) != 1:
            raise InputError(
                f"step {name} of a design that generates text works on one token at a time, not on rows of "
                f"{sizes['rows']!r}: the next token is not known before"
            )
    times = {name: graph.layers for name, domain in graph.domains.items() if domain == "passes"}
    return plan_design(graph, platform=platform, share=share, fixed=fixed, times=times, sizing=language_depths)


def language_depths(graph: LanguageGraph, placed: Mapping[str, Placed]) -> dict[tuple[str, str], int]:
    """Return the depth of every FIFO that is not the default.

    Those of the blocks are sized as a dataflow of tokens without a loop: (input or step, step that reads it) → beats.
    What comes back waits in a FIFO with room for a whole chunk, so that the loop never stops.
    """
    body = _body(graph)
    inside = {name: placed[name] for name in body.steps}
    depths = fifo_depths(body, inside)
    lanes = input_lanes(body, inside)
    for (source, name), depth in depths.items():
        if source in body.inputs and source in placed:
            # Sized in the beats that the block takes; what stands here is in those that control gives.
            depths[source, name] = -(-depth * lanes[source] // placed[source].output.lanes)
    blocks = max(1, sum(isinstance(step.operation, AttentionScores) for step in graph.steps.values()))
    for name, step in graph.steps.items():
        if step.node != CONTROL:
            continue
        for source in step.inputs:
            if source == "passes" and graph.domains[name] != "passes":
                depths[source, name] = _IN_WORKS * blocks
            if graph.feedback.get(source) == "returned":
                kind, beat = graph.types[source], placed["returned"].output.lanes
                assert isinstance(kind, Integers)
                depths[source, name] = graph.chunk * kind.length // beat
    return depths


def _body(graph: LanguageGraph) -> IntegerGraph:
    """Return the steps between control: what tokens go through in a line."""
    steps = [s for s in graph.steps.values() if s.node != CONTROL and graph.domains[s.name] != "logits"]
    if graph.folded:
        steps = [step for step in steps if graph.domains[step.name] == "passes"]
    known = {step.name for step in steps}
    inputs = {source: graph.types[source] for step in steps for source in step.inputs if source not in known}
    read = {source for step in steps for source in step.inputs}
    return IntegerGraph(inputs, steps, [step.name for step in steps if step.name not in read])
