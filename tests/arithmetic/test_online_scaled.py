"""On-line quantizers with a power-of-two scale equal their formats, or exact fractions where there is no format."""

from fractions import Fraction
from math import floor

import pytest
import torch

from mxhw.arithmetic import online_scaled
from mxhw.arithmetic.online_scaled import (
    MX_ELEMENTS,
    element_format,
    encode_integer,
    encode_mx,
    integer_exponents,
    mx_exponents,
    round_shift_even,
)
from mxhw.arithmetic.rounding import leading_one, round_shift, saturate
from mxhw.errors import InputError
from mxhw.formats import parse_format
from tests.arithmetic.online_draws import every_mantissa_at_every_scale, mantissa_blocks


def assert_equals(found, encoded):
    assert torch.equal(found.codes, encoded.codes[:, 0].long())
    assert torch.equal(found.exponent, encoded.metadata["exponent"][:, 0].long())


@pytest.mark.parametrize("element", MX_ELEMENTS)
@pytest.mark.parametrize("block", [16, 32])
def test_mx_blocks_equal_the_format_at_every_exponent(element, block):
    fmt = element_format(element, block)
    allowed = mx_exponents(fmt)
    for exponent in (allowed[0], allowed[0] + 1, -20, 0, allowed[-1]):
        mantissas = mantissa_blocks(150, block, seed=exponent)
        assert_equals(encode_mx(mantissas, element, exponent), fmt.encode((mantissas.double() * 2.0**exponent).float()))


@pytest.mark.parametrize("element", MX_ELEMENTS)
def test_every_mantissa_at_every_scale_equals_the_format(element):
    mantissas = every_mantissa_at_every_scale(32)
    assert_equals(encode_mx(mantissas, element), element_format(element).encode(mantissas.float()))


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("length", [1, 37])
def test_integers_equal_the_format_at_every_exponent(bits, length):
    fmt, allowed = parse_format(f"int{bits}-e8m0"), integer_exponents(bits)
    for exponent in (allowed[0], -20, 0, allowed[-1]):
        mantissas = mantissa_blocks(150, length, seed=exponent)
        encoded = fmt.encode((mantissas.double() * 2.0**exponent).float())
        assert_equals(encode_integer(mantissas, bits, exponent), encoded)


@pytest.mark.parametrize("bits", range(2, 17))
@pytest.mark.parametrize("rounding", ["half_even", "half_up"])
def test_integers_equal_exact_fractions(bits, rounding):
    mantissas = mantissa_blocks(20, 8, seed=bits)
    found, largest = encode_integer(mantissas, bits, rounding=rounding), (1 << bits - 1) - 1
    for row, codes, byte in zip(mantissas.tolist(), found.codes.tolist(), found.exponent.tolist(), strict=True):
        position = max(map(abs, row)).bit_length() - 1
        assert byte == (0 if not any(row) else position - (bits - 2) + 127)
        for m, code in zip(row, codes, strict=True):
            exact = Fraction(m) / Fraction(2) ** (max(position, 0) - (bits - 2))
            rounded = round(exact) if rounding == "half_even" else floor(exact + Fraction(1, 2))
            assert code == max(-largest, min(largest, rounded))


def test_half_up_has_the_values_of_the_design_notes():
    """arithmetic.md section 4: s = max(0, msb - 6), q = sat(rsr(m, s), 8)."""
    mantissas = mantissa_blocks(300, 24)
    shift = (leading_one(mantissas.abs().amax(-1, keepdim=True)) - 6).clamp(min=0)
    values = saturate(round_shift(mantissas, shift), 8).double() * 2.0**shift
    found = encode_integer(mantissas, 8, rounding="half_up")
    scale = torch.where(found.exponent > 0, 2.0 ** (found.exponent - 127).double(), 0.0)
    assert torch.equal(found.codes * scale.unsqueeze(-1), values)


def test_the_two_roundings_differ_only_in_ties():
    mantissas = mantissa_blocks(300, 24)
    even, up = (encode_integer(mantissas, 8, rounding=rounding).codes for rounding in ("half_even", "half_up"))
    position = leading_one(mantissas.abs().amax(-1, keepdim=True))
    # The same bits at the same place: a tie is a half of a code.
    twice = (mantissas << 16) >> (position - 7 + 16)
    is_tie = (twice & 1 == 1) & ((twice << (position - 7 + 16)) == mantissas << 16)
    assert torch.equal((even != up) | is_tie, is_tie) and bool((even != up).any())


def test_round_shift_even_equals_python():
    values, shifts = torch.arange(0, 300), range(6)
    for shift in shifts:
        expected = [round(Fraction(v, 1 << shift)) for v in values.tolist()]
        assert round_shift_even(values, shift).tolist() == expected


def test_another_rounding_is_noticed(monkeypatch):
    monkeypatch.setattr(online_scaled, "round_shift_even", lambda x, shift: round_shift(x, shift))
    mantissas = mantissa_blocks(150, 32)
    with pytest.raises(AssertionError):
        assert_equals(encode_mx(mantissas, "mxfp4"), element_format("mxfp4").encode(mantissas.float()))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: encode_mx(torch.zeros(1, 32), "mxfp5"), "element must be one of mxfp4, .*mxint8, not 'mxfp5'"),
        (lambda: encode_mx(torch.zeros(1, 32), "mxfp4", 113), "exponent must be -124 to 112 for mxfp4, not 113"),
        (lambda: encode_integer(torch.zeros(1, 32), 8, -121), "exponent must be -120 to 112 for 8 bits, not -121"),
    ],
)
def test_impossible_parameters_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
