"""SiLU and GELU: the definition equals plain Python and float to the stated error, over every int16 input."""

import math
from fractions import Fraction
from math import floor

import pytest
import torch

from mxhw.arithmetic.functions.activation import ActivationSpec, activation, gated_activation
from mxhw.arithmetic.rounding import saturate
from mxhw.errors import InputError

EVERY = torch.arange(-(1 << 15), 1 << 15)
FUNCTIONS = ("silu", "gelu", "gelu_tanh")


def s_of(function, x):
    """s in Python's own floats."""
    if function == "silu":
        return 1 / (1 + math.exp(-x))
    if function == "gelu":
        return (1 + math.erf(x / math.sqrt(2))) / 2
    return (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


def rounded(x: Fraction) -> int:
    return floor(x + Fraction(1, 2))


def oracle(x, function, exponent, top, points):
    """Section 7 of arithmetic.md, one element, with fractions; ``points`` table points over ``[0, top)``."""
    argument = min(rounded(abs(x) * Fraction(2) ** (exponent + 12)), top * 4096 - 1)
    step = top * 4096 // points
    index, rest = divmod(argument, step)
    low, high = (min(65535, round(65536 * s_of(function, top * i / points))) for i in (index, index + 1))
    z = low + rounded(Fraction((high - low) * rest, step))
    if x < 0:
        z = 65536 - z
    return max(-(2**17 - 1), min(2**17 - 1, rounded(Fraction(x * z, 2**14))))


@pytest.mark.parametrize("exponent", [-16, -13, -11, -8, -3, 1])
@pytest.mark.parametrize(("function", "top"), [("silu", 16), ("gelu", 8), ("gelu_tanh", 8)])
def test_the_definition_is_that_of_the_design(function, top, exponent):
    x = torch.cat(
        [
            torch.randint(-32768, 32768, (300,), generator=torch.Generator().manual_seed(1)),
            torch.tensor([-32768, -32767, -1, 0, 1, 32767]),
        ]
    )
    found = activation(x, ActivationSpec(function=function, exponent=exponent)).tolist()
    assert found == [oracle(v, function, exponent, top, 128) for v in x.tolist()]


def test_the_small_table_is_another_definition():
    x = torch.randint(-32768, 32768, (300,), generator=torch.Generator().manual_seed(1))
    found = activation(x, ActivationSpec(function="silu", exponent=-11, entries_log2=5, range_log2=3)).tolist()
    assert found == [oracle(v, "silu", -11, 8, 32) for v in x.tolist()]
    assert found != activation(x, ActivationSpec(function="silu", exponent=-11)).tolist()


@pytest.mark.parametrize("exponent", [-20, -16, *range(-14, 3)])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_stated_error_holds_for_every_int16(function, exponent):
    spec = ActivationSpec(function=function, exponent=exponent)
    exact = spec.reference(EVERY.double() * 2.0**exponent)
    measured = float((activation(EVERY, spec).double() * 2.0**spec.output_exponent - exact).abs().max())
    assert measured <= spec.worst_error
    if exponent >= -14:
        assert spec.worst_error <= 1.5 * measured


def test_the_figures_of_the_docstring():
    """SiLU 3.8e-4 below 16 and 9.8e-4 up to 64; the erf table is three times too coarse for the tanh approximation."""
    for exponent, low, high in ((-11, 3.5e-4, 3.8e-4), (-9, 9.0e-4, 9.8e-4)):
        spec = ActivationSpec(function="silu", exponent=exponent)
        exact = spec.reference(EVERY.double() * 2.0**exponent)
        assert low < (activation(EVERY, spec).double() * 2.0**spec.output_exponent - exact).abs().max() < high
    erf, tanh = (ActivationSpec(function=name, exponent=-12) for name in ("gelu", "gelu_tanh"))
    value = EVERY.double() * 2.0**-12
    mixed = (activation(EVERY, erf).double() * 2.0**-14 - tanh.reference(value)).abs().max()
    own = (activation(EVERY, tanh).double() * 2.0**-14 - tanh.reference(value)).abs().max()
    assert 5.6e-4 < mixed < 5.7e-4 and mixed > 3 * own
    assert 4.7e-4 < (erf.reference(value) - tanh.reference(value)).abs().max() < 4.8e-4


def test_the_tables_are_of_the_size_that_the_design_says():
    table = ActivationSpec(function="silu", exponent=-11).table
    assert (table.entries, table.output_bits, table.difference_bits, table.stored_bits) == (128, 16, 11, 3456)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_nothing_saturates_and_one_bit_less_would_not_do(function):
    spec = ActivationSpec(function=function, exponent=-6)
    found = activation(EVERY, spec)
    assert spec.output_bits == 18 and torch.equal(found, saturate(found, 18))
    assert not torch.equal(found, saturate(found, 17))
    gated = [gated_activation(EVERY, torch.tensor(u), spec) for u in (-32768, 32767)]
    assert spec.gated_bits == 33
    assert all(int(g.min()) >= -(1 << 32) and int(g.max()) < 1 << 32 for g in gated)
    assert min(int(g.min()) for g in gated) < -(1 << 31)


def test_the_gate_is_an_exact_product():
    spec = ActivationSpec(function="silu", exponent=-10)
    gate, x = torch.randint(-32768, 32768, (2, 500), generator=torch.Generator().manual_seed(2))
    found = gated_activation(gate, x, spec).tolist()
    assert found == [oracle(g, "silu", -10, 16, 128) * u for g, u in zip(gate.tolist(), x.tolist(), strict=True)]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"function": "swish"}, "function must be one of silu, gelu, gelu_tanh, not 'swish'"),
        ({"exponent": 9}, "exponent must be an integer of at least -32 and at most 8, not 9"),
        ({"range_log2": 7}, "range_log2 must be an integer of at least 0 and at most 6, not 7"),
        ({"entries_log2": 16}, "entries_log2 must be an integer of at least 1 and at most 15, not 16"),
        ({"input_bits": 1}, "input_bits must be an integer of at least 2"),
    ],
)
def test_impossible_parameters_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        ActivationSpec(**({"function": "silu", "exponent": -10} | wrong))
    with pytest.raises(InputError, match="worst_error is stated for the default table only"):
        _ = ActivationSpec(function="silu", exponent=-10, entries_log2=5).worst_error


def test_operands_that_do_not_fit_are_refused():
    spec, one = ActivationSpec(function="gelu", exponent=-10, gate_bits=8), torch.tensor([1])
    with pytest.raises(InputError, match=r"x must be integers in -32768..32767, not 32768..32768"):
        activation(one << 15, spec)
    with pytest.raises(InputError, match=r"x must be integers in -128..127, not 128..128"):
        gated_activation(one, one << 7, spec)
