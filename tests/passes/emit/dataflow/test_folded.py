"""Units that layers share: each token meets its own layer's constants, under any stalls, in the cycles predicted."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from amaranth.hdl import Signal

from mxhw.arithmetic.dataflow import (
    Folded,
    Operation,
)
from mxhw.passes.emit.dataflow import timing_functions
from mxhw.passes.emit.dataflow.place import Placed
from mxhw.passes.emit.dataflow.schedule import step_interval
from mxhw.passes.emit.dataflow.timing import Component, Work, register_timing, time_component
from mxhw.rtl_templates.dataflow import bias as bias_module
from mxhw.rtl_templates.function import channels as channels_module
from mxhw.rtl_templates.function import norm as norm_module
from mxhw.rtl_templates.function import requantize as requantize_module
from mxhw.sim.performance.events import Events
from tests.passes.emit.dataflow.layers import (
    Case,
    alone,
    bias,
    integers,
    layer_norm,
    placed,
    random,
    requantize,
    rms_norm,
    scaled,
    stimulus,
)
from tests.rtl_templates.bank import Bench, damaged
from tests.rtl_templates.dataflow.streams import integer_beats

STALLS = pytest.mark.parametrize(("stall", "seed"), [(0.0, 0), (0.3, 1), (0.6, 2), (0.8, 3)])
# The largest constants are never those of layer 0, so that widths that were its own would be too small.
CASES = {
    "requantize": Case(scaled(300, 65535, 9000)),
    "requantize_lanes": Case(scaled(300, 65535, 9000, 4, 77), 3),
    "requantize_beat": Case(scaled(300, 65535), 6),
    "requantize_alone": Case(alone(300, 65535, 9000), 2),
    "requantize_mixed": Case(Folded(members=(requantize((9,), 4), requantize((65535, 1, 2, 30000), 4))), 2),
    "requantize_equal": Case(alone(40000, 40000, length=4), 2),
    "requantize_one": Case(scaled(65535), 2),
    "bias": Case(bias((1, -2, 3), (-30000, 2, 32767), (0, 0, 0), (7, 7, 7))),
    "bias_lanes": Case(bias((5,) * 6, (-32767,) * 6, (9,) * 6), 3),
    "rms_norm": Case(rms_norm(*(random(1, 3, 8) * torch.tensor([[0.5], [0.9], [0.2]])))),
    "rms_norm_lanes": Case(rms_norm(*random(2, 2, 24)), 4),
    "layer_norm": Case(layer_norm(*random(3, 5, 6)), 2),
    "layer_norm_beat": Case(layer_norm(*random(4, 2, 3)), 3),
}


def sent(case: Case, x: torch.Tensor, layers: torch.Tensor) -> dict[str, list[int]]:
    bits = case.operation.inputs[0].bits  # type: ignore[union-attr]
    return {"x": integer_beats(x, bits, case.lanes), "layer": layers.flatten().tolist()}


def expected(case: Case, x: torch.Tensor, layers: torch.Tensor) -> list[int]:
    bits = case.operation.output.bits  # type: ignore[union-attr]
    return integer_beats(case.operation.run(x, layers), bits, case.lanes)


def given(bench: Bench, name: str, case: Case, seed: int = 0, **options: Any) -> tuple[list[int], list[int], int]:
    """Beats that came, those that should have, and the cycles it took."""
    x, layers = stimulus(case.operation, seed)
    wanted = expected(case, x, layers)
    run = bench.run(name, sent(case, x, layers), len(wanted), **options)
    mask = (1 << case.operation.output.bits * case.lanes) - 1  # type: ignore[union-attr]
    return [beat & mask for beat in run.ints("y")], wanted, run.cycles


def rotated(case: Case) -> Placed:
    """The unit with the memory of other layers."""
    members = case.operation.members
    return placed(replace(case, operation=Folded(members=(*members[1:], members[0]))))


def a_token_late(m: Any, name: str, values: Any, *, layer: Any, **options: Any) -> Any:
    """`channel_word` that looks at the layer of the token before."""
    before = Signal.like(layer.payload)
    with m.If(layer.valid & layer.ready):
        m.d.sync += before.eq(layer.payload)
    late = SimpleNamespace(payload=before, valid=layer.valid, ready=layer.ready)
    return channels_module.channel_word(m, name, values, layer=late, **options)


def a_stage_early(m: Any, name: str, values: Any, *, stage: int, **options: Any) -> Any:
    """`channel_word` whose address waits for a stage less."""
    return channels_module.channel_word(m, name, values, stage=stage - 1, **options)


def first_widths(case: Case) -> Any:
    """The unit with the widths of layer 0."""
    unit: Any = placed(case).component
    unit._spec = case.operation.members[0].spec  # type: ignore[attr-defined]
    return unit


FAULTS: dict[str, tuple[str, Callable[[Case], Any]]] = {
    "other_multipliers": ("requantize", lambda case: rotated(case).component),
    "other_multiplier": ("requantize_alone", lambda case: rotated(case).component),
    "other_gains": ("rms_norm", lambda case: rotated(case).component),
    "late_requantize": (
        "requantize_lanes",
        lambda case: damaged(placed(case).component, requantize_module, channel_word=a_token_late),
    ),
    "late_bias": ("bias", lambda case: damaged(placed(case).component, bias_module, channel_word=a_token_late)),
    "late_norm": ("layer_norm", lambda case: damaged(placed(case).component, norm_module, channel_word=a_token_late)),
    "early_norm": (
        "rms_norm_lanes",
        lambda case: damaged(placed(case).component, norm_module, channel_word=a_stage_early),
    ),
    "narrow": ("requantize", first_widths),
}


@pytest.fixture(scope="module")
def units() -> dict[str, Placed]:
    return {name: placed(case) for name, case in CASES.items()}


@pytest.fixture(scope="module")
def bench(units: dict[str, Placed]) -> Bench:
    return Bench(
        {name: unit.component for name, unit in units.items()}
        | {fault: make(CASES[name]) for fault, (name, make) in FAULTS.items()}
    )


def test_verilator_has_no_complaint(bench: Bench) -> None:
    assert bench.complaints() == ""


@STALLS
@pytest.mark.parametrize("name", CASES)
def test_every_token_meets_the_constants_of_its_layer(bench: Bench, name: str, stall: float, seed: int) -> None:
    found, wanted, _ = given(bench, name, CASES[name], seed, stall=stall)
    assert found == wanted


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(bench: Bench, fault: str) -> None:
    found, wanted, _ = given(bench, fault, CASES[FAULTS[fault][0]])
    assert found != wanted


def predicted(operation: Operation, unit: Placed, tokens: int) -> int:
    events = Events()
    component = time_component(events, Work("s", operation, unit, np.zeros(tokens, dtype=np.int64)))
    assert len(component.inputs) == len(operation.inputs)
    times = events.earliest()
    first = min(int(times[port.taken][0]) for port in component.inputs)
    return int(times[component.output][-1]) - first + 1


@pytest.mark.parametrize("name", CASES)
def test_cycles_are_those_of_the_rtl(bench: Bench, units: dict[str, Placed], name: str) -> None:
    case = CASES[name]
    _, wanted, cycles = given(bench, name, case)
    tokens = len(stimulus(case.operation, 0)[1][0])
    assert predicted(case.operation, units[name], tokens) == cycles
    beats = len(wanted) // tokens
    assert step_interval(case.operation, units[name]) == beats


@pytest.mark.parametrize(("name", "before", "behind"), [("requantize", 0, 4), ("rms_norm", 2 * 8 + 16, 6)])
def test_the_number_of_a_layer_stays_while_its_constants_are_read(
    units: dict[str, Placed], name: str, before: int, behind: int
) -> None:
    """Taken with the token's last read; a number that comes late holds up its own token."""
    operation, events = CASES[name].operation, Events()
    component = time_component(events, Work("s", operation, units[name], np.zeros(4, dtype=np.int64)))
    length, port = operation.output.length, component.inputs[-1]  # type: ignore[union-attr]
    taken = events.earliest()[port.taken]
    assert taken.tolist() == [before + length * (token + 1) - 1 for token in range(4)]
    times = events.earliest({port.needed: 50 + 200 * np.arange(4)})
    assert times[component.output][::length].tolist() == [50 + 200 * token + behind for token in range(4)]


def test_an_operation_of_ones_own_holds_the_layer_until_its_output() -> None:
    """A rule that does not say what reads constants."""

    class Own(Operation):
        kind = "own"
        inputs = (integers(4, 8),)
        output = integers(4, 8)

        def run(self, x: torch.Tensor) -> torch.Tensor:
            return x

    @register_timing(Own)
    def _own(events: Events, work: Work) -> Component:
        found = timing_functions._elementwise(events, work)
        return Component(found.inputs, found.output)

    unit = replace(placed(CASES["requantize_equal"]), component=SimpleNamespace(latency=3))  # type: ignore[arg-type]
    operation = Folded(members=(Own(), Own()))
    events = Events()
    component = time_component(events, Work("s", operation, unit, np.zeros(2, dtype=np.int64)))
    times = events.earliest()
    assert times[component.inputs[-1].taken].tolist() == times[component.output][1::2].tolist()
