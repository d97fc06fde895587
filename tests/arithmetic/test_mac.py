"""Block MACs: equal to the formats' values in exact arithmetic, and registers exactly as wide as the largest sum."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from mxhw.arithmetic import (
    Decoded,
    accumulate,
    block_element,
    block_elements,
    block_sums,
    block_widths,
    decode_element,
    gemm_accumulators,
    integer_sum_bits,
    weight_exponents,
)
from mxhw.errors import InputError
from mxhw.formats import DIALECT_TABLE, MXFloatFormat, parse_format

FLOATS = [name for name, kind in block_elements().items() if kind.kind == "float"]
INTEGERS = [name for name, kind in block_elements().items() if kind.kind == "integer"]
SCALED = ["dialect4", *FLOATS, *(f"mxint{width}" for width in range(2, 9))]


def fits(value: int, bits: int) -> bool:
    return -(1 << bits - 1) <= value < 1 << bits - 1


def element_values(name: str) -> list[Fraction]:
    """The exact value of every code of a float element, from its format."""
    fmt = parse_format(name)
    assert isinstance(fmt, MXFloatFormat)
    return [Fraction(v) for v in fmt.type.values(torch.arange(1 << fmt.type.bits, dtype=torch.uint8)).double().tolist()]


def all_codes(name: str) -> Decoded:
    return decode_element(name, torch.arange(1 << block_element(name).code_bits))


@pytest.mark.parametrize("name", FLOATS)
def test_every_float_code_decodes_to_the_value_of_the_format(name):
    kind, step = block_element(name), Fraction(2) ** parse_format(name).type.step_exponent
    decoded = all_codes(name)
    assert [integer * step for integer in decoded.integers().tolist()] == element_values(name)
    assert decoded.sign.tolist() == [code >> kind.code_bits - 1 for code in range(1 << kind.code_bits)]
    assert int(decoded.significand.max()) < 1 << kind.significand_bits


def test_codes_of_nan_and_infinity_are_read_as_numbers_beyond_the_largest():
    e4m3, e5m2 = (decode_element(f"mxfp8-{name}", torch.tensor([0x7E, 0x7F, 0x7C])) for name in ("e4m3", "e5m2"))
    assert [v * 2.0**-9 for v in e4m3.integers().tolist()] == [448.0, 480.0, 384.0]
    assert [v * 2.0**-16 for v in e5m2.integers().tolist()] == [98304.0, 114688.0, 65536.0]
    largest = decode_element("mxfp8-e5m2", torch.tensor([0x7B])).integers()
    assert largest.item() == block_element("mxfp8-e5m2").largest


def test_every_code_of_every_dialect_decodes_to_the_table():
    decoded = decode_element("dialect4", torch.arange(16), torch.arange(16)[:, None])
    expected = [[(-h if code > 7 else h) for code in range(16) for h in [row[code & 7]]] for row in DIALECT_TABLE]
    assert decoded.integers().tolist() == expected
    with pytest.raises(InputError, match="without the dialect"):
        decode_element("dialect4", torch.arange(16))


@pytest.mark.parametrize("name", INTEGERS)
def test_every_integer_code_decodes_to_itself_signed_or_as_a_pattern(name):
    half = 1 << block_element(name).code_bits - 1
    values = torch.arange(-half, half)
    assert decode_element(name, values).integers().equal(values)
    assert decode_element(name, values & (2 * half - 1)).integers().equal(values)


@pytest.mark.parametrize("name", FLOATS)
def test_the_product_of_every_pair_of_codes_is_exact(name):
    values, unit = element_values(name), Fraction(2) ** (2 * parse_format(name).type.step_exponent)
    decoded, count = all_codes(name), len(element_values(name))
    x, w = (
        Decoded(*(part.repeat_interleave(count) for part in vars(decoded).values())),
        Decoded(*(part.repeat(count) for part in vars(decoded).values())),
    )
    sums = block_sums(*(Decoded(*(part[:, None] for part in vars(side).values())) for side in (x, w)))
    expected = [int(a * b / unit) for a in values for b in values]
    assert sums.objects().tolist() == expected


def encoded_pair(name: str, seed: int):
    """Two rows of blocks of one format with wild scales: encoded, decoded by `decode_element`, dialects if any."""
    fmt, rng = parse_format(name), np.random.default_rng(seed)
    sides = []
    for _ in range(2):
        scale = np.repeat(2.0 ** rng.integers(-6, 6, 5), fmt.block)
        x = torch.tensor(rng.standard_t(3, 5 * fmt.block) * scale, dtype=torch.float32)
        encoded = fmt.encode(x)
        sides.append((encoded, fmt.decode(encoded), encoded.metadata.get("dialect")))
    return fmt, sides


@pytest.mark.parametrize("name", SCALED)
@pytest.mark.parametrize("seed", [0, 1])
def test_accumulators_equal_the_fractions_that_the_format_decodes_to(name, seed):
    fmt, sides = encoded_pair(name, seed)
    decoded, exponents, windows = [], [], []
    for encoded, _, dialect in sides:
        codes = encoded.codes.reshape(-1, fmt.block)
        decoded.append(decode_element(name, codes, None if dialect is None else dialect.reshape(-1, 1)))
        exponents.append(encoded.metadata["exponent"].reshape(-1))
        windows.append((int(exponents[-1].min()), int(exponents[-1].max())))
    result = accumulate(block_sums(*decoded), *exponents, *windows)
    unit = Fraction(2) ** (windows[0][0] + windows[1][0] - 2 * block_element(name).bias)
    x, w = (values.double().tolist() for _, values, _ in sides)
    expected = sum(Fraction(a) * Fraction(b) for a, b in zip(x, w, strict=True))
    assert int(result.objects()) * unit == expected
    widths = block_widths(name, 5 * fmt.block, fmt.block, *windows)
    assert fits(int(result.objects()), widths.accumulator)


def test_the_dialect_accumulator_is_that_of_the_gemm_reference():
    fmt, sides = encoded_pair("dialect4", 3)
    forms = [fmt.integers(encoded) for encoded, _, _ in sides]
    window = weight_exponents(forms[1])
    decoded = [
        decode_element("dialect4", encoded.codes.reshape(-1, 32), dialect.reshape(-1, 1))
        for encoded, _, dialect in sides
    ]
    exponents = [encoded.metadata["exponent"].reshape(-1) for encoded, _, _ in sides]
    mine = accumulate(block_sums(*decoded), *exponents, (0, 31), window)
    for form in forms:
        for field in ("values", "multiplier", "exponent", "row_scale"):
            object.__setattr__(form, field, getattr(form, field)[None])
    assert int(mine.objects()) == gemm_accumulators(*forms, "dialect").objects().item()


@pytest.mark.parametrize("name", list(block_elements()))
@pytest.mark.parametrize("block", [16, 32, 64])
def test_the_largest_sums_of_both_signs_fit_and_one_bit_less_would_not_hold_them(name, block):
    kind = block_element(name)
    windows = (3, 8), (1, 5)
    k = 3 * block
    widths = block_widths(name, k, block, *windows)
    largest = Decoded(*(torch.full((3, block), value) for value in (0, kind.largest >> kind.largest_shift, 0)))
    largest.shift.fill_(kind.largest_shift)
    for sign in (0, 1):
        flipped = Decoded(torch.full_like(largest.sign, sign), largest.significand, largest.shift)
        sums = block_sums(flipped, largest)
        total = int(accumulate(sums, torch.full((3,), 8), torch.full((3,), 5), *windows).objects())
        assert sums.objects().tolist() == [(-1) ** sign * kind.largest**2 * block] * 3
        assert total == (-1) ** sign * kind.largest**2 * k << 9
        assert fits(int(sums.objects()[0]), widths.block_sum) and fits(total, widths.accumulator)
    assert not fits(kind.largest**2 * block, widths.block_sum - 1) and not fits(abs(total), widths.accumulator - 1)
    assert (widths.shift, widths.x_exponent, widths.w_exponent) == (4, 3, 3)


def test_an_override_below_the_bound_is_refused_and_one_above_is_taken():
    bound = block_widths("mxfp4", 256, 32, (0, 3), (0, 0))
    wider = block_widths("mxfp4", 256, 32, (0, 3), (0, 0), block_sum=20, accumulator=40)
    assert (wider.block_sum, wider.accumulator) == (20, 40)
    with pytest.raises(InputError, match=f"accumulator must be an integer of at least {bound.accumulator} bits"):
        block_widths("mxfp4", 256, 32, (0, 3), (0, 0), accumulator=bound.accumulator - 1)
    with pytest.raises(InputError, match="block_sum must be an integer of at least 14 bits, its exact bound, not 13"):
        block_widths("mxfp4", 256, 32, (0, 3), (0, 0), block_sum=13)


def test_the_sum_of_integers_has_the_bound_of_symmetric_codes():
    assert [integer_sum_bits(8, 8, k) for k in (352, 520, 521, 4096, 16384)] == [24, 24, 25, 27, 29]
    assert integer_sum_bits(4, 8, 1) == 12


def test_exponents_outside_their_window_are_refused():
    sums = block_sums(*(decode_element("mxfp4", torch.tensor([[1, 2]])) for _ in range(2)))
    exponent = torch.tensor([7])
    with pytest.raises(InputError, match=r"w_exponent must be in the window 8\.\.9, not 7"):
        accumulate(sums, exponent, exponent, (7, 7), (8, 9))
    with pytest.raises(InputError, match="exceed 95 bits"):
        accumulate(sums, exponent, torch.tensor([254]), (0, 7), (0, 254))


def test_unknown_elements_and_impossible_windows_are_refused():
    with pytest.raises(InputError, match=r"element must be one of dialect4, mxfp4, .* not 'mxfp5'"):
        block_element("mxfp5")
    with pytest.raises(
        InputError, match=r"x_exponents must be \(low, high\) with 0 <= low <= high <= 31, not \(0, 32\)"
    ):
        block_widths("dialect4", 32, 32, (0, 32), (0, 0))
