"""Integer formats: exact oracles, stored scales, zero points, the second level, names, the ledger."""

import numpy as np
import pytest
import torch

from mxhw.errors import InputError
from mxhw.formats import IntegerFormat, parse_format
from tests.formats import oracle
from tests.formats.draws import differences, hard_rows


@pytest.mark.parametrize("width", range(2, 9))
def test_power_of_two_scales_equal_exact_arithmetic(width):
    x = hard_rows(48, seed=8, repeats=1)
    expected = torch.tensor([oracle.int_shift(row, width) for row in x.tolist()])
    assert differences(parse_format(f"int{width}-e8m0").fake_quantize(x), expected) == 0


@pytest.mark.parametrize("width", [3, 4, 8])
def test_float16_scales_equal_exact_arithmetic(width):
    x = hard_rows(48, seed=9, repeats=1)
    expected = torch.tensor([oracle.int_float16(row, width) for row in x.tolist()])
    assert differences(parse_format(f"int{width}").fake_quantize(x), expected) == 0


@pytest.mark.parametrize("rule", [oracle.int_shift, oracle.int_float16])
def test_the_exact_oracles_notice_ties_that_round_away_from_zero(rule):
    x = (torch.arange(-127, 127) + 0.5).unsqueeze(0)
    x[:, 0] = 127.0
    ours = parse_format("int8-e8m0" if rule is oracle.int_shift else "int8").fake_quantize(x)
    assert differences(ours, torch.tensor([rule(row, 8) for row in x.tolist()])) == 0
    assert differences(ours, torch.tensor([rule(row, 8, "ties") for row in x.tolist()])) > 100


def test_the_exponent_of_an_all_zero_vector_is_the_smallest():
    encoded = parse_format("int8-e8m0").encode(torch.zeros(2, 5))
    assert encoded.metadata["exponent"].tolist() == [[0], [0]]
    assert encoded.scales.tolist() == [[2.0**-127], [2.0**-127]]


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_stored_scales_are_clamped_float16_and_used(scale):
    x = torch.randn(16, 64) * scale
    encoded = parse_format("int4-g32").encode(x)
    assert differences(encoded.scales, encoded.scales.half().float()) == 0
    peak = x.view(16, 2, 32).abs().amax(-1)
    assert differences(encoded.scales, (peak / 7).clamp(2.0**-24, 65504).half().float()) == 0
    value = (encoded.codes * encoded.scales.unsqueeze(-1)).flatten(-2)
    assert differences(parse_format("int4-g32").fake_quantize(x), value) == 0


def test_asymmetric_codes_span_a_range_that_includes_zero():
    x = torch.rand(8, 64) + 3
    encoded = parse_format("int4-g32-asym").encode(x)
    assert encoded.metadata["zero_point"].unique().tolist() == [0]
    assert int(encoded.codes.amax()) == 15
    below = parse_format("int4-g32-asym").encode(-x)
    assert below.metadata["zero_point"].unique().tolist() == [15]
    assert int(below.codes.amin()) == 0


@pytest.mark.parametrize("name", ["int4-g32-asym", "int3-asym", "int8-asym-tensor", "int4-g32-asym-s8", "int6-g16"])
def test_errors_stay_within_half_a_step_and_the_range(name):
    x = torch.randn(16, 64)
    fmt = parse_format(name)
    encoded = fmt.encode(x)
    scale = encoded.scales.repeat_interleave(encoded.codes.shape[-1], -1)
    assert bool(((fmt.decode(encoded) - x).abs() <= 1.02 * scale).all())
    assert not bool(((fmt.decode(encoded) - x).abs() <= 0.4 * scale).all())


def test_the_second_level_is_the_rounded_ratio_and_never_zero():
    x = torch.randn(8, 512) * torch.logspace(-5, 1, 512)
    encoded = parse_format("int4-g128-s8").encode(x)
    scale = x.view(8, 4, 128).abs().amax(-1) / 7
    row = scale.amax(-1) / 255
    assert differences(encoded.metadata["row_scale"], row) == 0
    expected = (scale / row.unsqueeze(-1)).round().clamp(1, 255).int()
    assert encoded.metadata["multiplier"].tolist() == expected.tolist()
    assert int(expected.amin()) == 1
    assert differences(encoded.scales, expected * row.unsqueeze(-1)) == 0


@pytest.mark.parametrize("name", ["int8", "int4", "int8-e8m0", "int5-tensor"])
def test_quantizing_twice_changes_nothing_for_one_scale_a_vector(name):
    """Where the second scale equals the first: always for powers of two; for float16 unless the scale was clamped."""
    once = parse_format(name).fake_quantize(torch.randn(32, 64))
    assert differences(parse_format(name).fake_quantize(once), once) == 0


def test_one_scale_per_tensor_is_that_of_the_flattened_vector():
    x = torch.randn(4, 6, 8)
    flat = parse_format("int8").fake_quantize(x.flatten())
    for axis in range(3):
        assert differences(parse_format("int8-tensor").fake_quantize(x, axis), flat.view(x.shape)) == 0
    assert parse_format("int8-tensor").bits(x.shape) == 8 * 192 + 16


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("int4-g128", 10 * (384 * 4 + 3 * 16)),
        ("int4-g128-asym", 10 * (384 * 4 + 3 * (16 + 4))),
        ("int4-g128-s8", 10 * (384 * 4 + 3 * 8 + 32)),
        ("int8", 10 * (300 * 8 + 16)),
        ("int8-e8m0", 10 * (300 * 8 + 8)),
        ("int8-sf32", 10 * (300 * 8 + 32)),
    ],
)
def test_the_ledger_counts_codes_scales_zero_points_and_padding(name, expected):
    assert parse_format(name).bits((10, 300)) == expected
    assert parse_format(name).bits((300, 10), axis=0) == expected


def test_integers_equal_values_exactly_where_scales_are_powers_of_two():
    x = torch.randn(4, 96)
    for name in ("int8-e8m0", "int4-g32-e8m0"):
        fmt = parse_format(name)
        form = fmt.integers(fmt.encode(x))
        value = form.values * torch.exp2(form.exponent.double()).unsqueeze(-1)
        assert np.array_equal(value.flatten(-2).numpy(), fmt.fake_quantize(x).double().numpy())


@pytest.mark.parametrize("name", ["int4-g128", "int4-g128-asym", "int4-g128-sf32"])
def test_free_scales_per_group_have_no_integer_form(name):
    fmt = parse_format(name)
    assert not fmt.has_integer_form
    with pytest.raises(InputError, match="no exact integer form"):
        fmt.integers(fmt.encode(torch.ones(1, 128)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("int9", "2 to 8 bits, not 9"),
        ("int1", "2 to 8 bits, not 1"),
        ("int4-g0", "at least 1 element"),
        ("int4-g128-tensor", "one scale per tensor"),
        ("int8-asym-e8m0", "drop -asym or -e8m0"),
        ("int4-g32-g64", "says one thing twice"),
        ("int4-e8m0-s8", "says one thing twice"),
    ],
)
def test_impossible_names_say_why(name, message):
    with pytest.raises(InputError, match=message):
        parse_format(name)


def test_suffixes_in_another_order_are_the_same_format():
    assert parse_format("int4-asym-g128") is parse_format("int4-g128-asym")
    assert parse_format("int4-sf16") == IntegerFormat(4)
    with pytest.raises(InputError, match="scale_dtype must be"):
        IntegerFormat(4, scale_dtype="float64")
