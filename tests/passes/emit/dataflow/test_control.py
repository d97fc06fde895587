"""Control of a language model in a design: its streams on wires, its components, and their cycles.

A run of a component alone takes the cycles that its rule says, and gives the beats of its definition.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mxhw.arithmetic.dataflow import (
    ArgMax,
    Bias,
    Enter,
    Field,
    Indices,
    IntegerGraph,
    Integers,
    Keep,
    Operation,
    Passes,
    PassOrder,
    PassValues,
    Requests,
    RequestValues,
    Step,
    TokenSelect,
)
from mxhw.errors import InputError
from mxhw.hardware import load_platform
from mxhw.passes.emit.dataflow import timing_control
from mxhw.passes.emit.dataflow.beats import check_value, payload_bits, stream_beats
from mxhw.passes.emit.dataflow.modules import Modules
from mxhw.passes.emit.dataflow.names import stream_names
from mxhw.passes.emit.dataflow.place import Placed, input_lanes, place_graph
from mxhw.passes.emit.dataflow.resources import step_resources
from mxhw.passes.emit.dataflow.schedule import Loops, TimedGraph, step_interval
from mxhw.passes.emit.dataflow.timing import Work, time_component
from mxhw.passes.emit.dataflow.timing_control import control_schedule, pass_numbers
from mxhw.passes.emit.dataflow.top import Top, top_verilog
from mxhw.passes.emit.dataflow.words import describe
from mxhw.rtl_templates import verilog_library
from mxhw.sim import Library, build_library_from_sources
from mxhw.sim.performance.events import Events
from tests.arithmetic.dataflow.control_cases import (
    Asked,
    drawn_requests,
    pass_values,
    passes_of,
    payloads,
    request_values,
)
from tests.passes.emit.dataflow.test_timing import placed_alone
from tests.rtl_templates.bank import Bench

KIND = Requests(vocabulary=300, sequences=3, keys=21)
LAYERS, CHUNK, COUNT = 3, 4, 40
PASSES = Passes(layers=LAYERS, sequences=3, keys=21)
HIDDEN = Integers(length=8, bits=12, exponent=-3)
LOGITS = Integers(length=300, bits=10, exponent=-3)
UNITS: dict[str, tuple[Operation, dict[str, int]]] = {
    "pass_order": (PassOrder(x=KIND, layers=LAYERS, chunk=CHUNK), {}),
    "pass_order_of_one_layer": (PassOrder(x=KIND, layers=1, chunk=CHUNK), {}),
    "bank": (Field(x=PASSES, name="bank"), {}),
    "position": (Field(x=KIND, name="position"), {}),
    "token_select": (TokenSelect(x=KIND, chunk=CHUNK), {}),
    "token_select_of_one": (TokenSelect(x=KIND, chunk=1), {}),
    "enter": (Enter(x=HIDDEN, passes=PASSES), {"lanes": 4}),
    "returned": (Keep(x=HIDDEN, passes=PASSES, which="returned"), {"lanes": 2}),
    "final": (Keep(x=HIDDEN, passes=PASSES, which="final"), {}),
    "arg_max": (ArgMax(x=LOGITS), {"lanes": 4}),
    "arg_max_of_a_beat": (ArgMax(x=HIDDEN), {"lanes": 8}),
}
DRAWS: list[tuple[int, dict[str, float]]] = [
    (0, {}),
    (1, {"logits": 0.9, "last": 0.0}),
    (2, {"logits": 0.8, "generated": 0.9, "last": 0.9}),
    (3, {"logits": 0.1, "generated": 0.9}),
]


def drawn_values(kinds: tuple[Any, ...], asked: list[Asked], layers: int) -> list[Any]:
    """Values of the inputs of an operation, as many tokens each as the requests make of them."""
    passes = pass_values(passes_of(asked, layers, CHUNK))
    wanted = sum(one.logits for one in asked)
    first = int((passes.layer == 0).sum())
    counts = iter([first, passes.shape[1] - first] if len(kinds) == 3 else [passes.shape[1]])
    values: list[Any] = []
    for kind in kinds:
        if isinstance(kind, Requests):
            values.append(request_values(asked))
        elif isinstance(kind, Passes):
            values.append(passes)
        elif isinstance(kind, Indices):
            values.append(torch.randint(0, kind.count, (1, wanted)))
        else:
            count = next(counts) if Passes in map(type, kinds) else wanted
            values.append(torch.randint(-500, 501, (1, count, kind.length)))
    return values


def layers_of(operation: Operation) -> int:
    return operation.layers if isinstance(operation, PassOrder) else LAYERS


def predicted(placed: Placed, operation: Operation, asked: list[Asked]) -> int:
    """Cycles by the rule; beats are shown one after the other."""
    control = control_schedule(request_values(asked), layers_of(operation), CHUNK)
    events = Events()
    component = time_component(events, Work("unit", operation, placed, np.zeros(0, np.int64), control=control))
    for port in component.inputs:
        if port.needed != port.taken:
            events.after(port.needed, port.taken, 1, lag=1, back=True)
    times = events.earliest()
    begins = min(int(times[port.taken][0]) for port in component.inputs if len(times[port.taken]))
    return int(times[component.output][-1]) - begins + 1


@pytest.fixture(scope="module")
def placed() -> dict[str, Placed]:
    return {name: placed_alone(*unit) for name, unit in UNITS.items()}


@pytest.fixture(scope="module")
def bench(placed: dict[str, Placed]) -> Bench:
    return Bench({name: unit.component for name, unit in placed.items()})


@pytest.mark.parametrize("seed,shares", DRAWS)
@pytest.mark.parametrize("name", UNITS)
def test_beats_and_cycles_are_those_of_the_rtl(
    name: str, seed: int, shares: dict[str, float], placed: dict[str, Placed], bench: Bench
) -> None:
    (operation, _), unit = UNITS[name], placed[name]
    asked = drawn_requests(KIND, 1 if name == "token_select_of_one" else CHUNK, COUNT, seed, **shares)
    values = drawn_values(operation.inputs, asked, layers_of(operation))
    for port, value in zip(unit.inputs, values, strict=True):
        check_value(port.member, value, port.type)
    inputs = {
        port.member: stream_beats(value, port.type, port.lanes) for port, value in zip(unit.inputs, values, strict=True)
    }
    y = operation.run(*values)
    check_value("y", y, unit.output.type)
    expected = stream_beats(y, unit.output.type, unit.output.lanes)
    run = bench.run(name, inputs, len(expected))
    mask = (1 << unit.output.bits) - 1
    assert [beat & mask for beat in run.ints("y")] == expected.tolist()
    assert predicted(unit, operation, asked) == run.cycles


def test_wrong_constants_would_be_noticed(placed: dict[str, Placed], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = drawn_requests(KIND, CHUNK, COUNT, 2, logits=0.8, generated=0.9, last=0.9)
    names = "pass_order", "token_select", "enter"
    before = [predicted(placed[name], UNITS[name][0], asked) for name in names]
    monkeypatch.setattr(timing_control, "fifo_latency", lambda depth: 3)
    monkeypatch.setattr(timing_control, "through", lambda events, a, b, latency: events.after(b, a, latency + 1))
    after = [predicted(placed[name], UNITS[name][0], asked) for name in names]
    assert after[0] > before[0] and after[1] > before[1] and after[2] == before[2]


FEEDBACK = {"loop": "returned", "feedback": "arg_max"}
DEPTHS = {("loop", "hidden"): CHUNK * HIDDEN.length // 4}


def talking() -> IntegerGraph:
    """One block for all layers: it adds a constant. The arg-max of what leaves is the next token."""
    kind = Requests(vocabulary=HIDDEN.length, sequences=3, keys=21)
    steps = [
        Step("tokens", "", TokenSelect(x=kind, chunk=CHUNK), ("requests", "feedback")),
        Step("passes", "", PassOrder(x=kind, layers=LAYERS, chunk=CHUNK), ("requests",)),
        Step("hidden", "", Enter(x=HIDDEN, passes=PASSES), ("passes", "embedded", "loop")),
        Step("block", "", Bias(x=HIDDEN, y=HIDDEN, values=(3,) * HIDDEN.length), ("hidden",)),
        Step("returned", "", Keep(x=HIDDEN, passes=PASSES, which="returned"), ("passes", "block")),
        Step("final", "", Keep(x=HIDDEN, passes=PASSES, which="final"), ("passes", "block")),
        Step("arg_max", "", ArgMax(x=HIDDEN), ("final",)),
    ]
    inputs = {"requests": kind, "embedded": HIDDEN, "loop": HIDDEN, "feedback": Indices(count=HIDDEN.length)}
    return IntegerGraph(inputs, steps, ("tokens", "arg_max"))


def compiled(graph: IntegerGraph, placed: dict[str, Placed], folder: Path) -> Library:
    names, images = stream_names([*graph.inputs, *graph.steps]), {name: dict[str, str]() for name in graph.steps}
    top = Top(graph, placed, names, input_lanes(graph, placed, FEEDBACK), DEPTHS, images, FEEDBACK)
    modules = Modules()
    top_verilog(top, modules, "core", [])
    modules.make()
    texts = {"core.v": top_verilog(top, modules, "core", []), **verilog_library()}
    texts |= {f"{name}.v": module.text for name, module in modules.texts.items()}
    for name, text in texts.items():
        (folder / name).write_text(text)
    return build_library_from_sources([folder / name for name in texts], "core")


def counted(asked: list[Asked]) -> dict[str, int]:
    """Tokens of every stream."""
    requests, wanted = len(asked), sum(one.logits for one in asked)
    counts = dict.fromkeys(("requests", "tokens", "embedded"), requests)
    counts |= dict.fromkeys(("passes", "hidden", "block"), requests * LAYERS)
    counts |= dict.fromkeys(("returned", "loop"), requests * (LAYERS - 1))
    return counts | dict.fromkeys(("final", "arg_max", "feedback"), wanted)


def test_components_in_a_loop_take_the_cycles_that_are_predicted(tmp_path: Path) -> None:
    """FIFOs, forks and converters between them, of four lanes, and of one behind: everybody is held up by somebody."""
    graph = talking()
    placed = place_graph(graph, {name: {"lanes": 4} for name in ("hidden", "block", "returned", "final")})
    library = compiled(graph, placed, tmp_path)
    kind, select = graph.inputs["requests"], graph.steps["tokens"].operation
    assert isinstance(kind, Requests)
    for seed, shares in DRAWS:
        asked = drawn_requests(kind, CHUNK, COUNT, seed, **shares)
        value, embedded = request_values(asked), torch.randint(-500, 501, (1, COUNT, HIDDEN.length))
        arg_max = embedded[:, value.logits[0] != 0].argmax(-1)
        inputs = {"requests": stream_beats(value, kind), "embedded": stream_beats(embedded, HIDDEN, 4)}
        wanted = {"tokens": select.run(value, arg_max)[0].tolist(), "arg_max": arg_max[0].tolist()}
        runs = [
            library.run(inputs, {name: len(beats) for name, beats in wanted.items()}, stall=stall, seed=seed)
            for stall in (0.0, 0.3, 0.7)
        ]
        assert all(run.ints(name) == beats for run in runs for name, beats in wanted.items())
        positions = {name: np.zeros(count, np.int64) for name, count in counted(asked).items()}
        loops = Loops(FEEDBACK, positions, {}, control_schedule(value, LAYERS, CHUNK))
        timed = TimedGraph(graph, placed, np.zeros(0, np.int64), DEPTHS, loops)
        assert timed.cycles == pytest.approx(runs[0].cycles, rel=0.02)


@pytest.mark.parametrize("layers", [1, 3])
def test_passes_of_a_schedule_are_those_of_the_definition(layers: int) -> None:
    asked = drawn_requests(KIND, CHUNK, COUNT, 5)
    request, layer = pass_numbers(control_schedule(request_values(asked), layers, CHUNK))
    expected = passes_of(asked, layers, CHUNK)
    assert layer.tolist() == [one.layer for one in expected]
    assert [asked[i].position for i in request] == [one.position for one in expected]
    assert [asked[i].sequence for i in request] == [one.sequence for one in expected]


def test_payloads_have_their_fields_in_order() -> None:
    asked = drawn_requests(KIND, CHUNK, COUNT, 0)
    passes = passes_of(asked, LAYERS, CHUNK)
    assert payload_bits(KIND, 1) == 9 + 5 + 2 + 3 and payload_bits(PASSES, 1) == 5 + 2 + 2 + 1
    assert stream_beats(request_values(asked), KIND).tolist() == payloads(KIND, asked)
    assert stream_beats(pass_values(passes), PASSES).tolist() == payloads(PASSES, passes)


def test_values_out_of_range_are_refused() -> None:
    value = request_values(drawn_requests(KIND, CHUNK, COUNT, 0))
    with pytest.raises(InputError, match="the values of asked must be RequestValues"):
        check_value("asked", value.token, KIND)
    with pytest.raises(InputError, match=r"the values of asked.token must be from 0 to 299, not .* to 300"):
        check_value("asked", RequestValues(**{**vars(value), "token": value.token + 300 - value.token.max()}), KIND)
    with pytest.raises(InputError, match=r"the values of asked.last must be from 0 to 1, not 2 to"):
        check_value("asked", RequestValues(**{**vars(value), "last": value.last + 2}), KIND)
    with pytest.raises(InputError, match="the fields of asked must have one shape"):
        check_value("asked", RequestValues(**{**vars(value), "last": value.last[:, 1:]}), KIND)
    with pytest.raises(InputError, match=r"the values of passes.layer must be from 0 to 2, not 3 to 3"):
        position = value.position
        check_value("passes", PassValues(position, value.sequence, torch.full_like(position, 3), value.logits), PASSES)


def test_streams_are_described() -> None:
    assert describe(KIND, 1) == "requests of 3 sequences of 21 tokens below 300"
    assert describe(PASSES, 1) == "passes through 3 layers of 3 sequences of 21 tokens"


def test_intervals_are_known_without_requests(placed: dict[str, Placed]) -> None:
    """Cycles a pass, or a vector of logits."""
    intervals = {name: step_interval(UNITS[name][0], unit) for name, unit in placed.items()}
    for name, cycles in {"bank": 1, "pass_order_of_one_layer": 1, "arg_max": 75, "arg_max_of_a_beat": 1}.items():
        assert intervals[name] == cycles, name
    assert (intervals["final"], intervals["returned"], intervals["enter"]) == (8, 4, 2)
    assert 1 <= intervals["pass_order"] <= 3


def test_resources_follow_sizes(placed: dict[str, Placed]) -> None:
    platform = load_platform("asap7")
    area = {name: step_resources(UNITS[name][0], unit, platform)["area"] for name, unit in placed.items()}
    assert area["pass_order"] > area["pass_order_of_one_layer"] > 0
    assert area["enter"] >= area["returned"] >= area["final"] > 0  # lanes of 4, 2 and 1
    assert area["token_select"] > area["token_select_of_one"] > 0
