"""Timed components against their RTL: the same cycles, for sizes that meet every part of a rule."""

import numpy as np
import pytest
import torch
from amaranth.hdl import Shape

from mxhw.arithmetic.dataflow import (
    AttentionScores,
    AttentionValues,
    AttentionWeights,
    BlockCodes,
    Embedding,
    Indices,
    IntegerGraph,
    Integers,
    KeyWeights,
    Linear,
    Operation,
    Quantize,
    RMSNorm,
    Rope,
    Scores,
    Step,
    StreamType,
    code_stream,
)
from mxhw.arithmetic.functions.embedding import EmbeddingSpec
from mxhw.arithmetic.functions.rms_norm import RMSNormSpec
from mxhw.arithmetic.functions.rope import RopeSpec
from mxhw.arithmetic.functions.softmax import SoftmaxSpec
from mxhw.formats import parse_format
from mxhw.passes.emit.dataflow import timing_products
from mxhw.passes.emit.dataflow.beats import payload_shape
from mxhw.passes.emit.dataflow.place import Placed, Port, place_graph
from mxhw.passes.emit.dataflow.schedule import step_interval
from mxhw.passes.emit.dataflow.timing import Work, time_component
from mxhw.sim.performance.events import Events
from tests.rtl_templates.bank import Benches, slow_ones

KEYS = 6
POSITIONS = np.array([*range(KEYS), *range(KEYS)])  # two sequences
INT8, DIALECT = parse_format("int8-e8m0"), parse_format("dialect4-online")


def integers(length: int, bits: int = 16) -> Integers:
    return Integers(length=length, bits=bits, exponent=-10)


def heads(count: int, dim: int) -> BlockCodes:
    return BlockCodes(kind="integer", length=count * dim, block=dim, bits=8, exponent=-10)


def product(k: int, n: int, x_format: str, w_format: str) -> Linear:
    x = code_stream(parse_format(x_format), integers(k))
    weight = torch.randn(n, k, generator=torch.Generator().manual_seed(0))
    return Linear.of(weight, x, parse_format(x_format), parse_format(w_format))


def rope(dim: int, length: int) -> Rope:
    spec = RopeSpec(head_dim=dim, positions=KEYS)
    return Rope(x=integers(length), y=integers(length, spec.output_bits), spec=spec)


def embedding(rows: int, length: int) -> Embedding:
    spec = EmbeddingSpec(codes=torch.ones(rows, length, dtype=torch.int64), multipliers=(1 << 15,) * rows, shift=4)
    return Embedding(y=integers(length, spec.output_bits), spec=spec)


GAINS = torch.linspace(0.5, 1.5, 16)
SOFTMAX = SoftmaxSpec()
SCORES = Scores(heads=4, keys=KEYS, spec=SOFTMAX)
WEIGHTS = KeyWeights(heads=4, keys=KEYS, spec=SOFTMAX)
NORM = RMSNormSpec.of(GAINS, 1e-5, -19, -12, input_bits=24, output_bits=16)
UNITS: dict[str, tuple[Operation, dict[str, int]]] = {
    "quantize heads": (Quantize(x=integers(24), y=code_stream(INT8, integers(24), 8)), {"lanes": 2}),
    "quantize padded": (Quantize(x=integers(48), y=code_stream(DIALECT, integers(48))), {"lanes": 4}),
    "product": (product(32, 8, "int8-e8m0", "int8"), {"lanes": 4, "columns": 2}),
    "product that its load bounds": (product(32, 4, "dialect4-online", "dialect4"), {"lanes": 4, "columns": 4}),
    "product that is padded": (product(24, 4, "int8-e8m0", "bitmod4"), {"lanes": 4, "columns": 2}),
    "product of rows": (product(32, 12, "dialect4-online", "dialect4"), {"lanes": 8, "columns": 3, "rows": 3}),
    "rms_norm": (RMSNorm(x=integers(16, 24), y=integers(16), spec=NORM), {"lanes": 2}),
    "rope": (rope(8, 16), {}),
    "embedding": (embedding(KEYS, 8), {"lanes": 2}),
    "scores": (AttentionScores(query=heads(4, 8), key=heads(2, 8), y=SCORES), {"lanes": 4}),
    "weights": (AttentionWeights(x=SCORES), {}),
    "values": (AttentionValues(weights=WEIGHTS, value=heads(2, 8), y=integers(32)), {"lanes": 4, "output_lanes": 2}),
}
# For slow runs: whole designs, which other tests simulate, have these too.
MORE = "quantize heads", "product", "product that is padded", "embedding"


def placed_alone(operation: Operation, sizes: dict[str, int]) -> Placed:
    names = [f"input {i}" for i in range(len(operation.inputs))]
    graph = IntegerGraph(
        dict(zip(names, operation.inputs, strict=True)), [Step("s", "s", operation, tuple(names))], ["s"]
    )
    return place_graph(graph, {"s": sizes})["s"]


def beats(port: Port, count: int) -> list[int]:
    """Payloads that move a component as a run does; what they say does not matter."""
    kind: StreamType = port.type
    if isinstance(kind, Indices):
        return POSITIONS.tolist()
    if isinstance(kind, Scores | KeyWeights):
        last = Shape.cast(payload_shape(kind, 1)).width - 1
        rows = [[0] * position + [1 << last] for position in POSITIONS for _ in range(kind.heads)]
        return [beat for row in rows for beat in row]
    return [0] * count


def predicted(placed: Placed, operation: Operation) -> tuple[int, Work]:
    events, work = Events(), Work("unit", operation, placed, POSITIONS)
    component = time_component(events, work)
    times = events.earliest()
    first = min(int(times[port.taken][0]) for port in component.inputs)
    return int(times[component.output][-1]) - first + 1, work


@pytest.fixture(scope="module")
def placed() -> dict[str, Placed]:
    return {name: placed_alone(*unit) for name, unit in UNITS.items()}


@pytest.fixture(scope="module")
def bench(placed: dict[str, Placed]) -> Benches:
    units = {name.replace(" ", "_"): unit.component for name, unit in placed.items()}
    more = {name: units.pop(name) for name in (name.replace(" ", "_") for name in MORE)}
    return Benches(units, more)


@pytest.mark.parametrize("name", slow_ones(UNITS, MORE))
def test_cycles_are_those_of_the_rtl(name: str, placed: dict[str, Placed], bench: Benches) -> None:
    unit, (operation, _) = placed[name], UNITS[name]
    cycles, work = predicted(unit, operation)
    inputs = {port.member: beats(port, int(work.input_beats(i).sum())) for i, port in enumerate(unit.inputs)}
    run = bench.run(name.replace(" ", "_"), inputs, int(work.output_beats.sum()))
    assert cycles == run.cycles


def test_a_wrong_constant_would_be_noticed(placed: dict[str, Placed], monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: predicted(placed[name], UNITS[name][0])[0] for name in ("product that its load bounds", "scores")}
    monkeypatch.setattr(timing_products, "_DECODE", 40)
    monkeypatch.setattr(timing_products, "STAGES", timing_products.STAGES + 1)
    assert all(predicted(placed[name], UNITS[name][0])[0] > cycles for name, cycles in before.items())


def test_intervals_are_those_that_components_state(placed: dict[str, Placed]) -> None:
    for name in ("product", "product that its load bounds", "product of rows", "quantize heads", "quantize padded"):
        component = placed[name].component
        expected = float(component.interval)  # type: ignore[attr-defined]
        assert step_interval(UNITS[name][0], placed[name]) == pytest.approx(expected), name
    for name in ("scores", "values"):
        component = placed[name].component
        expected = component.interval(KEYS - 1)  # type: ignore[attr-defined]
        assert step_interval(UNITS[name][0], placed[name], KEYS - 1) == pytest.approx(expected, rel=0.5), name


@pytest.mark.parametrize("keys", [1, 2, 4, 40])
def test_intervals_are_known_for_sequences_of_any_length(keys: int) -> None:
    """Attention that has room for few keys only, too; the more keys, the longer its tokens take."""
    scores, weights = Scores(heads=4, keys=keys, spec=SOFTMAX), KeyWeights(heads=4, keys=keys, spec=SOFTMAX)
    for operation in (
        AttentionScores(query=heads(4, 8), key=heads(2, 8), y=scores),
        AttentionWeights(x=scores),
        AttentionValues(weights=weights, value=heads(2, 8), y=integers(32)),
    ):
        unit = placed_alone(operation, {})
        last = step_interval(operation, unit, keys - 1)
        assert last >= 4 * (keys - 1)
        assert last >= step_interval(operation, unit, 0) >= 4


def test_an_operation_without_a_rule_takes_and_gives_a_beat_a_cycle() -> None:
    class Own(Operation):
        kind = "own"
        inputs = (integers(8),)
        output = integers(4)

        def run(self, x: torch.Tensor) -> torch.Tensor:
            return x[..., ::2]

    class Unit:
        latency = 3

    unit = Placed(
        module="own",
        component=Unit(),  # type: ignore[arg-type]
        inputs=(Port("x", integers(8)),),
        output=Port("y", integers(4)),
        parallelism={},
    )
    # Two beats in for one out, twelve tokens; the last one leaves three cycles after its second half came.
    assert predicted(unit, Own())[0] == 12 * 8 + 3
