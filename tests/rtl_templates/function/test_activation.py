"""SiLU, GELU and the gate in hardware: every int16 input, random stalls, stated cycles."""

import pytest
import torch

from mxhw.arithmetic.functions.activation import ActivationSpec, activation, gated_activation
from mxhw.errors import InputError
from mxhw.rtl_templates.catalogue import unit_named
from mxhw.rtl_templates.function.self_gated import SelfGated, SelfGatedProduct
from tests.rtl_templates.bank import Bench, off_by_one

EVERY = torch.arange(-(1 << 15), 1 << 15)
SPECS = {
    "silu_fine": ActivationSpec(function="silu", exponent=-14),
    "silu": ActivationSpec(function="silu", exponent=-11),
    "silu_coarse": ActivationSpec(function="silu", exponent=-2),
    "silu_small": ActivationSpec(function="silu", exponent=-10, entries_log2=5, range_log2=3, extra_bits=0),
    "gelu": ActivationSpec(function="gelu", exponent=-12),
    "gelu_tanh": ActivationSpec(function="gelu_tanh", exponent=-10),
}
GATE = ActivationSpec(function="silu", exponent=-10, gate_bits=12)


def damaged(spec: ActivationSpec) -> ActivationSpec:
    """The same with one point of the table off by one."""
    other = ActivationSpec(function=spec.function, exponent=spec.exponent)
    other.__dict__["table"] = off_by_one(spec.table, 37)
    return other


@pytest.fixture(scope="module")
def bench():
    units = {name: SelfGated(spec=spec) for name, spec in SPECS.items()}
    return Bench(units | {"gate": SelfGatedProduct(spec=GATE), "damaged": SelfGated(spec=damaged(SPECS["silu"]))})


def shuffled(seed):
    return EVERY[torch.randperm(len(EVERY), generator=torch.Generator().manual_seed(seed))]


@pytest.mark.parametrize("name", SPECS)
def test_every_input_gives_the_output_of_the_definition(bench, name):
    found = bench.y(name, {"x": EVERY.numpy()}, len(EVERY))
    assert found == activation(EVERY, SPECS[name]).tolist()


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", SPECS)
def test_stalls_change_nothing(bench, name, seed):
    x = shuffled(seed)[:5000]
    found = bench.y(name, {"x": x.numpy()}, len(x), stall=0.4, seed=seed)
    assert found == activation(x, SPECS[name]).tolist()


@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_every_gate_input_times_another(bench, stall):
    for seed in (1, 2):
        gate, x = shuffled(seed), shuffled(seed + 10) >> 4
        if stall:
            gate, x = gate[:5000], x[:5000]
        found = bench.y("gate", {"gate": gate.numpy(), "x": x.numpy()}, len(x), stall=stall, seed=seed)
        assert found == gated_activation(gate, x, GATE).tolist()


def test_the_gate_takes_its_largest_products(bench):
    gate = torch.tensor([32767, 32767, -32768, -32768]).repeat(3)
    x = torch.tensor([2047, -2048, 2047, -2048]).repeat(3)
    found = bench.y("gate", {"gate": gate.numpy(), "x": x.numpy()}, 12)
    assert found == gated_activation(gate, x, GATE).tolist()
    assert max(map(abs, found)) >= 1 << GATE.gated_bits - 2


@pytest.mark.parametrize("count", [1, 100])
@pytest.mark.parametrize("name", [*SPECS, "gate"])
def test_an_element_a_cycle_and_the_stated_latency(bench, name, count):
    x = EVERY[:count].numpy()
    inputs = {"x": x} if name in SPECS else {"gate": x, "x": x >> 4}
    latency = bench.units[name].latency
    assert bench.run(name, inputs, count).cycles == count + latency
    assert latency == (7 if name in SPECS else 8)


def test_a_table_entry_off_by_one_is_found(bench):
    expected = activation(EVERY, SPECS["silu"])
    found = torch.tensor(bench.y("damaged", {"x": EVERY.numpy()}, len(EVERY)))
    wrong = EVERY[found != expected].abs()
    # Point 37 is 4.625; it is used from the point below to the point above it.
    assert len(wrong) and 4.5 < wrong.min() / 2048 <= 4.625 <= wrong.max() / 2048 < 4.75


def test_its_verilog_is_clean(bench):
    assert bench.complaints() == ""


def test_the_catalogue_has_it():
    for name, parameters in (("silu", {"exponent": -13}), ("silu_gate", {}), ("gelu", {"approximation": "tanh"})):
        unit = unit_named(name).make(**parameters)
        assert isinstance(unit, SelfGatedProduct if name == "silu_gate" else SelfGated)


def test_an_unknown_approximation_is_refused():
    with pytest.raises(InputError, match="approximation of unit gelu must be one of erf, tanh, not 'cubic'"):
        unit_named("gelu").make(approximation="cubic")
