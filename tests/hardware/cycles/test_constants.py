"""Constants that the hardware room repeats are those of the components."""

import random

from mxhw.arithmetic.dataflow import IntegerGraph, Integers
from mxhw.hardware.cycles import attention, functions, products, streams
from mxhw.hardware.structure import Requantize, Values
from mxhw.passes.emit.dataflow import timing
from mxhw.passes.emit.dataflow.place import place_graph
from mxhw.passes.emit.dataflow.timing_functions import _NORMS
from mxhw.rtl_templates.dataflow.attention_scores import STAGES
from mxhw.rtl_templates.dataflow.weighted_sum import WeightedSum
from mxhw.rtl_templates.gemm.serial_scale import SCALE_LATENCY
from tests.hardware.cycles.draws import draw_unit
from tests.passes.emit.dataflow.graphs import product


def test_latencies_of_pipelines() -> None:
    rng = random.Random(0)
    met = set()
    for _ in range(80):
        drawn = draw_unit(rng, "pipeline")
        met.add(type(drawn.unit))
        assert functions.LATENCIES[type(drawn.unit)] == drawn.placed.component.latency  # type: ignore[attr-defined]
    x = Integers(length=8, bits=16, exponent=-12)
    graph = IntegerGraph({"x": x}, product("p", x, 4, ("int8-e8m0", "int8"), 0, "x"), ["p.requantize"])
    requantizer = place_graph(graph)["p.requantize"].component
    assert functions.LATENCIES[Requantize] == requantizer.latency  # type: ignore[attr-defined]
    assert met | {Requantize} == set(functions.LATENCIES)


def test_stages_of_norms() -> None:
    assert {kind.kind: stages for kind, stages in _NORMS.items()} == functions.NORM_STAGES


def test_stages_of_attention_and_of_products() -> None:
    assert attention.SCORE_STAGES == STAGES
    assert WeightedSum.latency == attention.SUM_STAGES
    assert products.SCALE_BITS + 1 == SCALE_LATENCY
    rng = random.Random(1)
    for _ in range(10):
        drawn = draw_unit(rng, "values")
        assert isinstance(drawn.unit, Values)
        assert drawn.placed.component._mean.latency == attention.DIVISION  # type: ignore[attr-defined]
        gemm = draw_unit(rng, "product")
        scaled = (products.SCALE_BITS + 1) * gemm.unit.scaled  # type: ignore[attr-defined]
        assert products.CAPTURE + scaled == gemm.placed.component.gemm.latency  # type: ignore[attr-defined]


def test_latencies_of_queues() -> None:
    for depth in (None, 0, 1, 2, 3, 40):
        assert streams.fifo_latency(depth) == timing.fifo_latency(depth)
    assert streams.QUEUE_LATENCY == timing.QUEUE
