"""LayerNorm equals its formula in Python integers, has exact means where it says so, and keeps its stated error."""

from fractions import Fraction

import pytest
import torch
from torch.nn.functional import layer_norm as float_layer_norm

from mxhw.arithmetic.functions.layer_norm import MEAN_FRACTION, LayerNormSpec, layer_norm, length_reciprocal
from mxhw.arithmetic.functions.rms_norm import NORMALIZED_FRACTION, normalize
from mxhw.errors import InputError
from tests.arithmetic.functions.norms import LARGEST, adversarial, clamped, quotients, rounded, vectors

INPUT_EXPONENT, OUTPUT_EXPONENT, EPS = -18, -11, 1e-5
LENGTHS = [1, 2, 3, 64, 100, 768, 4096]


def spec_of(length, seed=0, eps=EPS):
    generator = torch.Generator().manual_seed(seed)
    gains = torch.rand(length, generator=generator) * 2 - 0.3
    biases = torch.randn(length, generator=generator)
    return gains, biases, LayerNormSpec.of(gains, biases, eps, INPUT_EXPONENT, OUTPUT_EXPONENT)


def centred_vectors(length, seed=0):
    """Vectors of every kind, then such whose spread is small beside their mean."""
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randint(-LARGEST // 2, LARGEST // 2, (60, 1), generator=generator)
    spread = 2.0 ** torch.randint(0, 20, (60, 1), generator=generator)
    close = mean + (torch.randn(60, length, generator=generator) * spread).long()
    return torch.cat([vectors(length, seed), close.clamp(-LARGEST, LARGEST), adversarial(length, 20, seed)])


def oracle(vector, spec):
    mean = rounded(Fraction(sum(vector) * spec.reciprocal.multiplier), spec.reciprocal.places - MEAN_FRACTION)
    found = []
    for u, g, b in zip(quotients([4 * x - mean for x in vector], spec.epsilon), spec.gains, spec.biases, strict=True):
        found.append(clamped(rounded(u * g + Fraction(b * 2**spec.shift, 4), spec.shift), 16))
    return found


@pytest.mark.parametrize("eps", [0.0, 1e-5])
@pytest.mark.parametrize("length", [1, 2, 3, 64])
def test_it_equals_the_formula_in_python_integers(length, eps):
    *_, spec = spec_of(length, eps=eps)
    x = centred_vectors(length)
    assert layer_norm(x, spec).tolist() == [oracle(v, spec) for v in x.tolist()]


@pytest.mark.parametrize("length", [*LENGTHS, 5120, 8192, 12288])
def test_the_mean_of_a_constant_vector_is_exact_and_others_are_off_by_less_than_a_unit(length):
    """One place less in the reciprocal breaks the promise, but for powers of two, whose reciprocals are exact."""
    reciprocal = length_reciprocal(length, 24)
    for value in (LARGEST, -LARGEST, 1, 1 << 20):
        total = value * length * reciprocal.multiplier
        assert abs(total) < 1 << 62
        assert rounded(total, reciprocal.places - MEAN_FRACTION) == value << MEAN_FRACTION
    if length & (length - 1) == 0:
        assert reciprocal.multiplier * length == 1 << reciprocal.places
        return
    places = reciprocal.places - 1
    shorter = Fraction(round(Fraction(1 << places, length)), 1 << places)
    assert abs(shorter - Fraction(1, length)) * length * LARGEST * 4 >= Fraction(1, 2)


@pytest.mark.parametrize("length", LENGTHS)
def test_it_is_torchs_layer_norm_within_the_stated_error(length):
    """Beside the unit's own error: the rounding of gains (half a unit), of biases (1/8), and of epsilon."""
    gains, biases, spec = spec_of(length)
    x = centred_vectors(length)
    value = x.double() * 2.0**INPUT_EXPONENT
    unit = 2.0**OUTPUT_EXPONENT
    exact = float_layer_norm(value, (length,), gains.double(), None, EPS) / unit
    plain = float_layer_norm(value, (length,), None, None, EPS)
    centred = x.double() - x.double().mean(-1, keepdim=True)
    energy = (4 * centred).square().sum(-1, keepdim=True) + spec.epsilon
    rounding = plain.abs() / length**0.5 * 2.0 ** (NORMALIZED_FRACTION - spec.shift) / 2
    bound = spec.worst_error(exact, energy) + rounding + 0.125 + exact.abs() * 0.25 / max(1, spec.epsilon)
    with_bias = exact + biases.double() / unit
    inside = with_bias.abs() <= 32767
    error = (layer_norm(x, spec) - with_bias).abs()
    assert bool((error <= bound)[inside].all())


@pytest.mark.parametrize("length", [64, 96])
@pytest.mark.parametrize("spread", ["small", "large"])
def test_the_stated_error_is_not_idle(length, spread):
    """A spread of one input unit, where the mean's rounding rules; a large one, where the root's does."""
    spec = LayerNormSpec(gains=(32767,) * length, biases=(0,) * length, epsilon=0, shift=14, output_bits=32)
    if spread == "small":
        x = (torch.arange(length) < torch.arange(1, length // 2)[:, None]).long() + LARGEST - 1
    else:
        half = torch.arange(length) % 2 * 2 - 1
        # Just below half a unit of the squarer's is lost of each.
        x = half * (torch.linspace(1 << 14, 1 << 15, 2000).long()[:, None] * 64 + 31)
    centred = 4 * (x.double() - x.double().mean(-1, keepdim=True))
    energy = centred.square().sum(-1, keepdim=True)
    exact = centred / energy.sqrt() * 2.0 ** (NORMALIZED_FRACTION - spec.shift) * 32767
    error, bound = (layer_norm(x, spec) - exact).abs(), spec.worst_error(exact, energy)
    assert bool((error <= bound).all())
    assert float((error / bound).max()) > 1 / 1.5


@pytest.mark.parametrize("length", [2, 100, 4096])
def test_extremes_fit_the_widths(length):
    spec = LayerNormSpec(gains=(32767,) * length, biases=(131071,) * length, epsilon=0, shift=24)
    x = torch.full((length,), LARGEST)
    assert int(x.sum()).bit_length() + 1 == spec.sum_bits
    x[1:] = -LARGEST
    mean = rounded(int(x.sum()) * spec.reciprocal.multiplier, spec.reciprocal.places - MEAN_FRACTION)
    distance = abs(4 * LARGEST - mean)
    assert distance < 1 << spec.centred_bits - 1
    # Of two elements both lie half their distance from the mean; many leave all of it to the odd one.
    assert length == 2 or distance.bit_length() + 1 == spec.centred_bits
    spike = torch.zeros(512, length, dtype=torch.int64)
    spike[:, 0] = torch.linspace(1 << 20, 1 << 22, 512).long()
    found = normalize(spike, spike[:, :1], 0) * 32767 + (131071 << 22)
    assert int(found.max()).bit_length() + 1 == spec.widths.gained


def test_zero_and_constant_vectors_give_the_bias():
    _, biases, spec = spec_of(100)
    x = torch.tensor([0, 1, -1, LARGEST, -LARGEST, 54321])[:, None].expand(-1, 100)
    expected = [rounded(Fraction(b, 4), 0) for b in spec.biases]
    assert layer_norm(x, spec).tolist() == [expected] * 6
    assert abs(expected[0] - float(biases[0]) * 2.0**-OUTPUT_EXPONENT) <= 0.625


@pytest.mark.parametrize(
    "given,message",
    [
        ({"biases": (1,)}, r"biases must be one per gain \(2\), not 1"),
        ({"biases": (0, 1 << 17)}, "biases must be integers in"),
        ({"shift": 1}, "shift must be an integer of at least 2"),
        ({"epsilon": -1}, "epsilon must be an integer of at least 0"),
        ({"gains": (1,) * 98304, "biases": (0,) * 98304}, r"sum times the reciprocal must stay below 2\^62"),
    ],
)
def test_impossible_units_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        LayerNormSpec(**({"gains": (1, 2), "biases": (0, 0), "epsilon": 0, "shift": 20} | given))


def test_a_bias_beyond_the_output_is_refused_with_what_would_do():
    with pytest.raises(
        InputError, match=r"biases must fit the output, at most 15\.\d+, not 17; take a larger output_exp"
    ):
        LayerNormSpec.of(torch.ones(2), torch.tensor([17.0, 0.0]), EPS, INPUT_EXPONENT, OUTPUT_EXPONENT)


def test_units_of_one_largest_gain_have_one_shift():
    rows = torch.tensor([[0.3, -0.2], [5.0, -9.0]])
    shared = [LayerNormSpec.of(row, row, EPS, INPUT_EXPONENT, OUTPUT_EXPONENT, largest_gain=9.0) for row in rows]
    own = [LayerNormSpec.of(row, row, EPS, INPUT_EXPONENT, OUTPUT_EXPONENT) for row in rows]
    assert shared[0].shift == shared[1].shift == own[1].shift != own[0].shift
    assert [unit.biases for unit in shared] == [unit.biases for unit in own]
    assert shared[1] == own[1]
