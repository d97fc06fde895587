"""RMSNorm and LayerNorm in hardware equal their definitions under any stalls, at full rate, at their widths' bounds."""

from dataclasses import replace

import pytest
import torch

from mxhw.arithmetic.functions.inverse_root import RSQRT
from mxhw.arithmetic.functions.layer_norm import LayerNormSpec, layer_norm
from mxhw.arithmetic.functions.rms_norm import RMSNormSpec, rms_norm
from mxhw.errors import InputError
from mxhw.rtl_templates.catalogue import unit_named
from mxhw.rtl_templates.function import norm as norm_module
from mxhw.rtl_templates.function.layer_norm import LayerNorm
from mxhw.rtl_templates.function.rms_norm import RMSNorm
from tests.arithmetic.functions.norms import LARGEST, adversarial, vectors
from tests.rtl_templates.bank import Bench, beats, damaged, off_by_one, without_half


def rms(length, seed=1):
    gains = torch.rand(length, generator=torch.Generator().manual_seed(seed)) * 2 - 0.3
    return RMSNormSpec.of(gains, 1e-5, -18, -11)


def layer(length, seed=2):
    generator = torch.Generator().manual_seed(seed)
    gains, biases = torch.rand(length, generator=generator) * 2 - 0.3, torch.randn(length, generator=generator)
    return LayerNormSpec.of(gains, biases, 1e-5, -18, -11)


# All gains and biases are the largest: every product reaches its width.
FULL_RMS = RMSNormSpec(gains=(32767,) * 64, epsilon=12345, shift=24)
FULL_LAYER = LayerNormSpec(gains=(32767,) * 64, biases=(131071,) * 64, epsilon=0, shift=24)
# So wide an output that every bit of quotient times gain is seen.
FINE_RMS = RMSNormSpec(gains=tuple(range(32760, 32768)), epsilon=0, shift=0, output_bits=42)
FINE_LAYER = LayerNormSpec(gains=tuple(range(32760, 32768)), biases=(-5,) * 8, epsilon=0, shift=2, output_bits=42)
NORMS = {
    "rms": (rms(8), 1),
    "rms_one": (rms(1), 1),
    "rms_lanes": (rms(24), 4),
    "rms_fine": (FINE_RMS, 1),
    "layer_odd": (layer(33), 3),
    "layer_fine": (FINE_LAYER, 1),
}
MORE_NORMS = {
    "rms_beat": (rms(5), 5),
    "rms_narrow_input": (RMSNormSpec(gains=(1, -2, 3), epsilon=7, shift=8, input_bits=10, output_bits=8), 1),
    "rms_full": (FULL_RMS, 2),
    "layer": (layer(8), 1),
    "layer_one": (layer(1), 1),
    "layer_full": (FULL_LAYER, 2),
}


def unit(spec, lanes=1):
    return (RMSNorm if isinstance(spec, RMSNormSpec) else LayerNorm)(spec=spec, lanes=lanes)


def expected(spec, x):
    return rms_norm(x, spec) if isinstance(spec, RMSNormSpec) else layer_norm(x, spec)


def narrowed(spec, name):
    """The unit with one of its widths a bit too small."""
    made = unit(spec)
    widths = made._shape.widths
    made._shape = replace(made._shape, widths=replace(widths, **{name: getattr(widths, name) - 1}))
    return made


WIDTHS = ["magnitude_shift", "energy", "root_shift", "product", "normalized", "gained"]


@pytest.fixture(scope="module")
def bench():
    return Bench(
        {name: unit(*norm) for name, norm in NORMS.items()}
        | {
            "off_by_one": damaged(unit(FINE_RMS), norm_module, RSQRT=off_by_one(RSQRT, 20)),
            "without_half": damaged(unit(FINE_LAYER), norm_module, round_shift=without_half),
        }
    )


@pytest.fixture(scope="module")
def more():
    """The other sizes, and every width one bit too small."""
    return Bench(
        {name: unit(*norm) for name, norm in MORE_NORMS.items()}
        | {f"rms_less_{name}": narrowed(FULL_RMS, name) for name in WIDTHS}
        | {"layer_less_product": narrowed(FULL_LAYER, "product")}
    )


def stimulus(spec, seed):
    """Vectors of every kind, and such as drive the intermediates to their bounds."""
    length, largest = spec.length, (1 << spec.input_bits - 1) - 1
    spike = torch.zeros(64, length, dtype=torch.int64)
    spike[:, 0] = torch.linspace(1 << 20, LARGEST, 64).long() * (1 - torch.arange(64) % 2 * 2)
    peak = torch.zeros(2, length, dtype=torch.int64)
    peak[:, 0] = torch.tensor([LARGEST, -LARGEST])
    peak[:, 1:9] = 46 * 256
    edge = torch.full((64, length), -LARGEST)
    edge[:, 1 % length] = torch.linspace(-LARGEST, 0, 64).long()
    edge[:, 0] = LARGEST
    x = torch.cat([vectors(length, seed, 40), adversarial(length, 10, seed), spike, peak, edge])
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    return (x >> 24 - spec.input_bits).clamp(-largest, largest)[order]


def check(bench, name, spec, lanes, stall, seed):
    x = stimulus(spec, seed)
    y = beats(expected(spec, x), spec.output_bits, lanes)
    run = bench.run(name, {"x": beats(x, spec.input_bits, lanes)}, len(y), stall=stall, seed=seed)
    assert run.ints("y") == y
    assert stall or run.cycles == bench.units[name].latency + len(y)


STALLS = pytest.mark.parametrize("stall,seed", [(0.0, 0), (0.3, 1), (0.6, 2)])


@STALLS
@pytest.mark.parametrize("name", NORMS)
def test_vectors_are_normalized_as_defined_at_one_beat_a_cycle(bench, name, stall, seed):
    check(bench, name, *NORMS[name], stall, seed)


@pytest.mark.slow
@STALLS
@pytest.mark.parametrize("name", MORE_NORMS)
def test_vectors_of_other_sizes_too(more, name, stall, seed):
    check(more, name, *MORE_NORMS[name], stall, seed)


@pytest.mark.parametrize("name", NORMS)
def test_the_latency_is_the_stated_formula(bench, name):
    """Two walks through the vector and a constant; also for a single vector."""
    spec, lanes = NORMS[name]
    latency = bench.units[name].latency
    assert latency == 2 * spec.length // lanes + (22 if isinstance(spec, RMSNormSpec) else 27)
    x = stimulus(spec, 3)[:1]
    run = bench.run(name, {"x": beats(x, spec.input_bits, lanes)}, spec.length // lanes)
    assert run.cycles == latency + spec.length // lanes


@pytest.mark.parametrize("fault,spec", [("off_by_one", FINE_RMS), ("without_half", FINE_LAYER)])
def test_a_planted_fault_is_found(bench, fault, spec):
    x = stimulus(spec, 4)
    found = bench.y(fault, {"x": beats(x, 24)}, x.numel())
    assert found != beats(expected(spec, x), spec.output_bits)


@pytest.mark.slow
@pytest.mark.parametrize("width", [*(f"rms_less_{name}" for name in WIDTHS), "layer_less_product"])
def test_one_bit_less_anywhere_is_found(more, width):
    spec = FULL_RMS if width.startswith("rms") else FULL_LAYER
    x = stimulus(spec, 5)
    assert more.y(width, {"x": beats(x, 24)}, x.numel()) != beats(expected(spec, x), 16)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [rms, layer])
def test_a_long_vector_of_a_large_model(kind):
    spec = kind(4096)
    bench = Bench({"norm": unit(spec, 4)})
    x = torch.cat([vectors(4096, 6, 20), adversarial(4096, 10)])
    for stall in (0.0, 0.3):
        run = bench.run("norm", {"x": beats(x, 24, 4)}, x.numel() // 4, stall=stall, seed=1)
        assert run.ints("y") == beats(expected(spec, x), 16, 4)
        assert stall or run.cycles == bench.units["norm"].latency + x.numel() // 4


def test_verilog_is_clean(bench):
    assert bench.complaints() == ""


@pytest.mark.parametrize("name", ["rms_norm", "layer_norm"])
@pytest.mark.parametrize(
    "given,message",
    [
        ({"lanes": 3}, "lanes must be a divisor of the length of 128, not 3"),
        ({"lanes": 0}, "lanes must be an integer of at least 1, not 0"),
        ({"length": 0}, "length must be an integer of at least 1, not 0"),
    ],
)
def test_impossible_units_are_refused(name, given, message):
    with pytest.raises(InputError, match=message):
        unit_named(name).make(**given)
