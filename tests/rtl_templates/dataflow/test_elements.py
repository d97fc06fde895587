"""Bias, copies side by side, and the converter of lanes: elements as they are defined, in order, under any stalls."""

from dataclasses import dataclass
from itertools import cycle
from math import lcm
from typing import Any

import pytest
import torch
from amaranth.hdl import Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from mxhw.arithmetic.dataflow import Activation, Bias, Integers
from mxhw.arithmetic.functions.activation import ActivationSpec, gated_activation
from mxhw.errors import InputError
from mxhw.rtl_templates.dataflow import BiasUnit, Lanes, WidthUnit
from mxhw.rtl_templates.dataflow import bias as bias_module
from mxhw.rtl_templates.dataflow import width as width_module
from mxhw.rtl_templates.function.self_gated import SelfGated, SelfGatedProduct
from mxhw.sim import StreamError
from tests.rtl_templates.bank import Bench, beats, damaged
from tests.rtl_templates.dataflow.streams import integer_beats, mantissas

STALLS = [(0.0, 0), (0.3, 1), (0.6, 2)]


def bias(values: tuple[int, ...], x_bits: int, y_bits: int) -> Bias:
    x, y = (Integers(length=len(values), bits=bits, exponent=-12) for bits in (x_bits, y_bits))
    return Bias(x=x, y=y, values=values)


BIASES = {
    "bias": (bias((5, -32767, 32767, 0, -1, 12000), 16, 16), 1),
    "bias_lanes": (bias((5, -32767, 32767, 0, -1, 12000), 16, 16), 3),
    "bias_beat": (bias((100, -100), 10, 8), 2),
    "bias_equal": (bias((-77,) * 4, 8, 12), 2),
}
SPECS = {
    "silu": ActivationSpec(function="silu", exponent=-10),
    "gelu": ActivationSpec(function="gelu", exponent=-9, range_log2=3),
}
ACTIVATIONS = {"gelu": ("gelu", 1), "silu_3": ("silu", 3)}


@dataclass(frozen=True)
class Widths:
    """A converter, and what its blocks carry beside their elements."""

    x_lanes: int
    y_lanes: int
    block: int | None = None

    @property
    def unit(self) -> WidthUnit:
        fields = {"dialect": 4, "exponent": 3} if self.block else None
        return WidthUnit(shape=5, x_lanes=self.x_lanes, y_lanes=self.y_lanes, fields=fields)

    def beats(self, lanes: int, elements: torch.Tensor, beside: torch.Tensor) -> list[int]:
        low = beats(elements, 5, lanes)
        if self.block is None:
            return low
        repeats = self.block // lanes
        return [a | b << 5 * lanes for a, b in zip(low, beside.repeat_interleave(repeats).tolist(), strict=True)]


WIDTHS = {
    "same": Widths(3, 3),
    "widen": Widths(2, 6),
    "narrow": Widths(6, 2),
    "up": Widths(4, 6),
    "down": Widths(6, 4),
    "far_up": Widths(3, 8),
    "far_down": Widths(7, 2),
    "blocks_widen": Widths(2, 4, 8),
    "blocks_narrow": Widths(8, 2, 8),
    "blocks_up": Widths(4, 6, 12),
    "blocks_down": Widths(6, 4, 12),
}


def bias_unit(name: str) -> BiasUnit:
    operation, lanes = BIASES[name]
    return BiasUnit(values=operation.values, bits=operation.x.bits, output_bits=operation.y.bits, lanes=lanes)


def activation_unit(function: str, lanes: int) -> Lanes:
    return Lanes(unit=lambda: SelfGated(spec=SPECS[function]), lanes=lanes)


def second_lane_differs() -> Lanes:
    functions = cycle(["silu", "gelu"])
    spec = {"silu": SPECS["silu"], "gelu": ActivationSpec(function="gelu", exponent=-10)}
    return Lanes(unit=lambda: SelfGated(spec=spec[next(functions)]), lanes=2)


def wrapping(value: Value, bits: int) -> Value:
    return value[:bits].as_signed()


class OneWordLess(width_module._Gearbox):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._size -= 1


@pytest.fixture(scope="module")
def bench():
    gate = ActivationSpec(function="silu", exponent=-10, gate_bits=12)
    return Bench(
        {name: bias_unit(name) for name in BIASES}
        | {name: activation_unit(*given) for name, given in ACTIVATIONS.items()}
        | {"gate": Lanes(unit=lambda: SelfGatedProduct(spec=gate), lanes=2)}
        | {name: widths.unit for name, widths in WIDTHS.items()}
        | {
            "bias_wraps": damaged(bias_unit("bias_lanes"), bias_module, saturate=wrapping),
            "other_lane": second_lane_differs(),
            "short_gearbox": damaged(WIDTHS["up"].unit, width_module, _Gearbox=OneWordLess),
        }
    )


def test_verilator_has_no_complaint(bench):
    assert bench.complaints() == ""


@pytest.mark.parametrize("stall,seed", STALLS)
@pytest.mark.parametrize("name", BIASES)
def test_a_bias_is_added_and_saturated(bench, name, stall, seed):
    operation, lanes = BIASES[name]
    x = mantissas(200, operation.x.length, seed, operation.x.bits)
    y = integer_beats(operation.run(x), operation.y.bits, lanes)
    run = bench.run(name, {"x": integer_beats(x, operation.x.bits, lanes)}, len(y), stall=stall, seed=seed)
    mask = (1 << operation.y.bits * lanes) - 1
    assert [beat & mask for beat in run.ints("y")] == y
    unit = bench.units[name]
    assert stall or run.cycles == len(y) + unit.latency == 200 * unit.interval + unit.latency


def test_a_sum_that_wraps_is_caught_where_it_saturates(bench):
    operation, lanes = BIASES["bias_lanes"]
    x = mantissas(200, operation.x.length, 0)
    y = integer_beats(operation.run(x), 16, lanes)
    found = bench.y("bias_wraps", {"x": integer_beats(x, 16, lanes)}, len(y))
    exact = (x + torch.tensor(operation.values)).flatten()
    leaves = (exact.abs() > 32767).reshape(-1, lanes).any(-1).tolist()
    assert [a != b for a, b in zip(found, y, strict=True)] == leaves and any(leaves)


@pytest.mark.parametrize("stall,seed", STALLS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_lane_is_the_unit(bench, name, stall, seed):
    function, lanes = ACTIVATIONS[name]
    spec = SPECS[function]
    x = mantissas(300, 12, seed)
    stream = Integers(length=12, bits=16, exponent=spec.exponent)
    y = Activation(x=stream, y=Integers(length=12, bits=spec.output_bits, exponent=0), spec=spec).run(x)
    expected = integer_beats(y, spec.output_bits, lanes)
    run = bench.run(name, {"x": integer_beats(x, 16, lanes)}, len(expected), stall=stall, seed=seed)
    mask = (1 << spec.output_bits * lanes) - 1
    assert [beat & mask for beat in run.ints("y")] == expected
    assert stall or run.cycles == len(expected) + bench.units[name].latency


@pytest.mark.parametrize("stall,seed", STALLS)
def test_lanes_of_a_unit_with_two_inputs(bench, stall, seed):
    spec = ActivationSpec(function="silu", exponent=-10, gate_bits=12)
    gate, x = mantissas(200, 8, seed), mantissas(200, 8, seed + 1, 12)
    expected = integer_beats(gated_activation(gate, x, spec), spec.gated_bits, 2)
    inputs = {"gate": integer_beats(gate, 16, 2), "x": integer_beats(x, 12, 2)}
    assert bench.y("gate", inputs, len(expected), stall=stall, seed=seed) == expected


def test_a_lane_that_differs_is_caught_in_that_lane(bench):
    spec, x = SPECS["silu"], mantissas(300, 12, 0)
    y = Activation(x=Integers(length=12, bits=16, exponent=-10), y=Integers(length=12, bits=1, exponent=0), spec=spec)
    expected, bits = integer_beats(y.run(x), spec.output_bits, 2), spec.output_bits
    found = bench.y("other_lane", {"x": integer_beats(x, 16, 2)}, len(expected))
    differs = [(a ^ b) & (1 << 2 * bits) - 1 for a, b in zip(found, expected, strict=True)]
    assert any(differs) and not any(word & (1 << bits) - 1 for word in differs)


def converted(widths: Widths, seed: int) -> tuple[list[int], list[int]]:
    """Beats before and behind."""
    generator = torch.Generator().manual_seed(seed)
    length = (widths.block or lcm(widths.x_lanes, widths.y_lanes)) * 40
    elements = torch.randint(0, 32, (length,), generator=generator)
    beside = torch.randint(0, 128, (40,), generator=generator)
    return widths.beats(widths.x_lanes, elements, beside), widths.beats(widths.y_lanes, elements, beside)


@pytest.mark.parametrize("stall,seed", STALLS)
@pytest.mark.parametrize("name", WIDTHS)
def test_a_converter_keeps_elements_and_their_order_at_full_rate(bench, name, stall, seed):
    x, y = converted(WIDTHS[name], seed)
    run = bench.run(name, {"x": x}, len(y), stall=stall, seed=seed)
    assert run.ints("y") == y
    delay = 0 if WIDTHS[name].x_lanes == WIDTHS[name].y_lanes else 1
    assert stall or run.cycles == max(len(x), len(y)) + delay


def test_a_gearbox_that_is_too_short_is_caught(bench):
    x, y = converted(WIDTHS["up"], 0)
    with pytest.raises(StreamError, match="a lost beat"):
        bench.y("short_gearbox", {"x": x}, len(y), stall=0.3, seed=1)


class _Level(wiring.Component):
    def __init__(self) -> None:
        super().__init__({"level": In(1)})

    def elaborate(self, platform: Any) -> Any:
        raise AssertionError


def test_impossible_parameters_are_refused():
    _Level._MustUse__silence = True
    with pytest.raises(InputError, match="lanes must be an integer of at least 1, not 0"):
        Lanes(unit=_Level, lanes=0)
    with pytest.raises(InputError, match="member level of the unit must be a stream"):
        Lanes(unit=_Level, lanes=2)
    with pytest.raises(InputError, match="y_lanes must be an integer of at least 1, not 0"):
        WidthUnit(shape=4, x_lanes=2, y_lanes=0)
    with pytest.raises(InputError, match=r"values must be a constant per channel, not \(\)"):
        BiasUnit(values=())
    with pytest.raises(InputError, match="lanes must be a divisor of the length of 3, not 2"):
        BiasUnit(values=(1, 2, 3), lanes=2)
