"""Closed forms of whole small models, from token numbers to logits, against their series of events: every step.

What decoder blocks of Llamas lack is here: biases, LayerNorm, GELU, learnt positions, one key head, windows, joined
projections.
"""

import random

import numpy as np
import pytest

from mxhw.hardware.cycles import Run, design_cycles, design_streams
from mxhw.passes.emit.dataflow.costed import design_of
from mxhw.passes.emit.dataflow.place import place_graph
from mxhw.passes.emit.dataflow.schedule import TimedGraph
from tests.hardware.cycles.draws import drawn_sizes
from tests.hardware.cycles.events import beats_of
from tests.passes.transform.lower.families import FAMILIES, Lowered

TOKENS = 10
QUICK = ("gpt2",)


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in FAMILIES]
)
def test_a_model_takes_the_cycles_of_its_components(family: str) -> None:
    graph = Lowered(family).whole
    for parallelism in ({}, drawn_sizes(random.Random(family), graph)):
        placed = place_graph(graph, parallelism)
        positions = np.arange(TOKENS)
        timed = TimedGraph(graph, placed, positions, {}, room=False)
        times = timed.earliest()
        design = design_of(graph, placed)
        streams = design_streams(design, Run(positions))
        for name in graph.steps:
            first, last = beats_of(timed, times, graph, placed, name)
            assert np.array_equal(streams[name].at(0), first), name
            assert np.array_equal(streams[name].last, last), name
        assert design_cycles(design, TOKENS).total == timed.span(times)
