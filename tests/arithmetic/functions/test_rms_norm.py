"""RMSNorm equals the formula of arithmetic.md in Python integers, needs its widths, and keeps its stated error."""

import sys
from importlib.util import module_from_spec, spec_from_file_location

import pytest
import torch
from torch.nn.functional import rms_norm as float_rms_norm

from mxhw.arithmetic.functions.inverse_root import inverse_root
from mxhw.arithmetic.functions.rms_norm import (
    NORMALIZED_FRACTION,
    SQUARED_BITS,
    RMSNormSpec,
    norm_widths,
    normalize,
    quantize_gains,
    relative_error,
    rms_norm,
)
from mxhw.arithmetic.rounding import round_shift, saturate
from mxhw.errors import InputError
from tests.arithmetic.functions.norms import LARGEST, adversarial, clamped, quotients, rounded, vectors

INPUT_EXPONENT, OUTPUT_EXPONENT, EPS = -18, -11, 1e-5


def spec_of(length, seed=0, eps=EPS, input_exponent=INPUT_EXPONENT):
    gains = torch.rand(length, generator=torch.Generator().manual_seed(seed)) * 2 - 0.3
    return gains, RMSNormSpec.of(gains, eps, input_exponent, OUTPUT_EXPONENT)


def normalized(x, epsilon=0):
    return normalize(x, x.abs().amax(-1, keepdim=True), epsilon)


@pytest.mark.parametrize("eps", [0.0, 1e-5, 0.3])
@pytest.mark.parametrize("length", [1, 2, 3, 64])
def test_it_equals_the_formula_in_python_integers(length, eps):
    _, spec = spec_of(length, eps=eps)
    x = vectors(length)
    expected = [
        [clamped(rounded(u * g, spec.shift), 16) for u, g in zip(quotients(v, spec.epsilon), spec.gains, strict=True)]
        for v in x.tolist()
    ]
    assert rms_norm(x, spec).tolist() == expected


@pytest.fixture(scope="module")
def prototype(shared):
    """The module that the perplexities of arithmetic.md were measured with."""
    place = spec_from_file_location("integer_llama_prototype", shared / "prototypes" / "integer_llama_prototype.py")
    module = module_from_spec(place)
    sys.modules[place.name] = module
    place.loader.exec_module(module)
    yield module
    del sys.modules[place.name]


@pytest.mark.parametrize("length", [1, 64, 100, 4096])
def test_it_is_the_norm_whose_accuracy_was_measured(prototype, length):
    gains, spec = spec_of(length)
    x, config = vectors(length), prototype.Config()
    gain = prototype.IntLlama.gain(gains.double())
    tables = prototype.build_tables(config)
    y, exponent = prototype.rmsnorm(x, INPUT_EXPONENT, gain, spec.epsilon, config, tables)
    expected, _ = prototype.requantize(y, exponent, ("static", 16), OUTPUT_EXPONENT)
    assert torch.equal(rms_norm(x, spec), expected)


@pytest.mark.parametrize("length", [1, 2, 64, 4096])
def test_it_is_torchs_rms_norm_within_the_stated_error(length):
    """Beside the unit's own error there are the rounding of the gains, half a unit, and that of epsilon."""
    gains, spec = spec_of(length)
    x = torch.cat([vectors(length), adversarial(length, 20)])
    value = x.double() * 2.0**INPUT_EXPONENT
    exact = float_rms_norm(value, (length,), gains.double(), EPS) * 2.0**-OUTPUT_EXPONENT
    plain = float_rms_norm(value, (length,), None, EPS)
    gain_rounding = plain.abs() / length**0.5 * 2.0 ** (NORMALIZED_FRACTION - spec.shift) / 2
    inside = exact.abs() <= 32767
    error = (rms_norm(x, spec) - exact).abs()
    bound = spec.worst_error(exact) + gain_rounding + exact.abs() * 0.25 / max(1, spec.epsilon)
    assert bool((error <= bound)[inside].all())
    assert float((error / bound)[inside].max()) > 1 / 1.5
    saturated = ~inside
    assert bool((rms_norm(x, spec)[saturated].abs() >= 32767 - bound[saturated]).all())


@pytest.mark.parametrize("length", [1, 64, 4096])
def test_the_stated_relative_error_is_reached_by_adversarial_vectors_and_never_passed(length):
    measured = 0.0
    for seed in range(8):
        x = torch.cat([adversarial(length, 250 if length > 1000 else 4000, seed), vectors(length, seed)[1:]])
        exact = x.double() / x.double().square().sum(-1, keepdim=True).sqrt()
        error = (normalized(x) * 2.0**-NORMALIZED_FRACTION - exact).abs() - 2.0 ** -(NORMALIZED_FRACTION + 1)
        measured = max(measured, float((error / exact.abs().clamp(min=1e-30))[exact != 0].max()))
    assert measured <= relative_error(length) <= 1.5 * measured


def test_every_single_number_is_normalized_to_one_within_the_stated_error():
    """Length 1 is one-dimensional: all 2^19 numbers that the squarer takes with up to three bits less, and a draw."""
    x = torch.cat([torch.arange(1, 1 << 18), torch.randint(1, LARGEST, (100_000,)), torch.tensor([LARGEST])])[:, None]
    found = torch.cat([normalized(x), -normalized(-x)]).double() * 2.0**-NORMALIZED_FRACTION
    measured = float((found - 1).abs().max())
    assert measured <= relative_error(1) <= 1.5 * measured


def test_intermediates_reach_the_widths_and_never_pass_them():
    """Each width is needed: some vector uses its last bit."""
    length = 64
    spec = RMSNormSpec(gains=(32767,) * length, epsilon=12345, shift=24)
    widths = norm_widths(24, length, spec.epsilon, int((1 << 24) * (1 + 2.0**-11)) * 32767)
    assert widths == spec.widths
    # One large element and a few that make the sum a power of four: the root is largest there.
    peak = torch.zeros(1, length, dtype=torch.int64)
    peak[0, :9] = torch.tensor([LARGEST, *[46 * 256] * 8])
    spike = torch.zeros(256, length, dtype=torch.int64)
    spike[:, 0] = torch.linspace(1 << 14, 1 << 15, 256).long()
    x = torch.cat([vectors(length), peak, spike])
    shift = (x.abs().amax(-1, keepdim=True).double().clamp(min=1).log2().floor().long() - 14).clamp(min=0)
    reduced = saturate(round_shift(x, shift), SQUARED_BITS)
    energy = (reduced * reduced).sum(-1, keepdim=True) + (torch.full_like(shift, spec.epsilon) >> 2 * shift)
    root, exponent = inverse_root(energy.clamp(min=1))
    found = normalized(x, spec.epsilon)
    used = {
        "magnitude_shift": int(shift.max()).bit_length(),
        "energy": int(energy.max()).bit_length(),
        "root_shift": int((exponent + shift).max()).bit_length(),
        "product": int((x * root).abs().max()).bit_length() + 1,
        "normalized": int(found.abs().max()).bit_length() + 1,
        "gained": int((found * 32767).abs().max()).bit_length() + 1,
    }
    assert used == vars(widths)


def test_gains_use_all_bits_and_keep_their_exponent():
    for scale in (1e-6, 0.99, 1.0, 1.001, 777.0):
        gains, exponent = quantize_gains(torch.tensor([scale, -scale / 3]), 16)
        assert 1 << 14 <= max(map(abs, gains)) < 1 << 15
        assert abs(gains[0] * 2.0**exponent - scale * 2**0.5) <= 2.0 ** (exponent - 1) * 1.0001
    assert quantize_gains(torch.zeros(3), 16) == ((0, 0, 0), 0)


def test_gains_with_one_largest_have_one_exponent():
    rows = torch.tensor([[0.3, -0.2, 0.1], [5.0, -9.0, 1.0]])
    exponents = {quantize_gains(row, 16, 9.0)[1] for row in rows}
    assert exponents == {quantize_gains(rows[1], 16)[1]} != {quantize_gains(rows[0], 16)[1]}
    assert quantize_gains(rows[1], 16, 9.0) == quantize_gains(rows[1], 16)
    gains, exponent = quantize_gains(rows[0], 16, 9.0)
    assert float((torch.tensor(gains) * 2.0**exponent - rows[0] * 3**0.5).abs().max()) <= 2.0 ** (exponent - 1) * 1.001
    assert {RMSNormSpec.of(row, 1e-5, -9, -12, largest_gain=9.0).shift for row in rows} == {24 - 12 - exponent}


def test_without_epsilon_a_shifted_vector_has_the_same_quotients():
    """The input's exponent cancels, as long as the squarer takes all bits."""
    x = vectors(64) >> 9
    small = x[x.abs().amax(-1) < 1 << 10]
    assert len(small) > 20
    spec = spec_of(64, eps=0.0)[1]
    assert torch.equal(rms_norm(small, spec), rms_norm(small << 4, spec))
    with_epsilon = spec_of(64, eps=0.3)[1]
    assert not torch.equal(rms_norm(small, with_epsilon), rms_norm(small << 4, with_epsilon))


@pytest.mark.parametrize(
    "given,message",
    [
        ({"gains": ()}, "gains must be at least one integer"),
        ({"gains": (1 << 15,)}, r"gains must be integers in -32767\.\.32767, not 32768"),
        ({"epsilon": -1}, "epsilon must be an integer of at least 0"),
        ({"epsilon": (1 << 62) - 1}, r"sum of squares must stay below 2\^62"),
        ({"shift": -1}, "shift must be an integer of at least 0"),
        ({"input_bits": 50}, r"product of element and root must stay below 2\^62"),
        ({"output_bits": 1}, "output_bits must be"),
    ],
)
def test_impossible_units_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        RMSNormSpec(**({"gains": (1, 2), "epsilon": 0, "shift": 20} | given))


def test_vectors_that_do_not_fit_are_refused():
    spec = spec_of(4)[1]
    with pytest.raises(InputError, match="vectors of 4 elements"):
        rms_norm(torch.zeros(3, dtype=torch.int64), spec)
    with pytest.raises(InputError, match="input must be in ±8388607"):
        rms_norm(torch.full((4,), -(1 << 23)), spec)
    with pytest.raises(InputError, match="gains must be finite"):
        quantize_gains(torch.tensor([float("nan")]), 16)
    with pytest.raises(InputError, match="gains must be at most 1 in magnitude, not 2"):
        quantize_gains(torch.tensor([0.5, -2.0]), 16, 1.0)
