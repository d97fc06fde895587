"""Widths: the extreme sum of every configuration fits, and one bit less would not hold it; and which unit does what."""

import pytest

from mxhw.arithmetic import (
    bitmod_widths,
    dialect_widths,
    signed_bits,
    supports,
    unit_for,
    weight_type,
    weight_types,
    weight_unit,
)
from mxhw.errors import InputError


def fits(value: int, bits: int) -> bool:
    return -(1 << bits - 1) <= value < 1 << bits - 1


def test_signed_bits_is_the_smallest_symmetric_width():
    for largest in range(1, 300):
        bits = signed_bits(largest)
        assert fits(largest, bits) and fits(-largest, bits) and not fits(largest, bits - 1)


@pytest.mark.parametrize("name", list(weight_types()))
@pytest.mark.parametrize(("k", "group"), [(352, 128), (4096, 128), (16384, 64), (100, None)])
def test_bitmod_widths_hold_the_largest_sums_exactly(name, k, group):
    widths = bitmod_widths(name, k, group)
    product = 127 * weight_types()[name].largest
    scale = 255 if group else 1
    assert fits(-product * (group or k), widths.group_sum) and not fits(product * (group or k), widths.group_sum - 1)
    assert fits(-product * (group or k) * scale, widths.scaled_sum)
    assert fits(-product * k * scale, widths.accumulator) and not fits(product * k * scale, widths.accumulator - 1)


def test_widths_are_those_of_the_arithmetic_definition():
    assert [bitmod_widths("fp4", k, 128).accumulator for k in (352, 4096, 16384)] == [29, 32, 34]
    assert [bitmod_widths("fp3", k, 128).accumulator for k in (352, 4096, 16384)] == [28, 31, 33]
    assert [bitmod_widths("int8", k).accumulator for k in (352, 4096, 16384)] == [24, 27, 29]
    assert (bitmod_widths("fp4", 128, 128).group_sum, bitmod_widths("fp3", 128, 128).group_sum) == (19, 18)


def test_dialect_widths_hold_the_largest_sums_exactly():
    for low, high in ((0, 0), (8, 12), (0, 31)):
        widths = dialect_widths(352, 32, (low, high))
        largest = 225 * 352 << 31 + high - low
        assert widths.block_sum == 14 and 31 + high - low < 1 << widths.shift
        assert fits(-largest, widths.accumulator) and not fits(largest, widths.accumulator - 1)


def test_impossible_numbers_are_refused():
    with pytest.raises(InputError, match="k must be at least 1, not 0"):
        bitmod_widths("fp4", 0, 128)
    with pytest.raises(InputError, match=r"0 <= low <= high <= 31, not \(3, 2\)"):
        dialect_widths(32, 32, (3, 2))


@pytest.mark.parametrize(
    ("x_format", "w_format", "unit"),
    [
        ("int8-e8m0", "int8", "bitmod"),
        ("int8-e8m0", "int8-e8m0", "bitmod"),
        ("int8-e8m0", "int6", "bitmod"),
        ("int8-e8m0", "int6-g128-s8", "bitmod"),
        ("int8-e8m0", "bitmod3", "bitmod"),
        ("int8-e8m0", "bitmod4", "bitmod"),
        ("int8-e8m0", "bitmod4-clip", "bitmod"),
        ("int8-e8m0", "bitmod3-clip-g16", "bitmod"),
        ("int8-e8m0", "bitmod4-g1024", "bitmod"),
        ("dialect4-online", "dialect4", "dialect"),
        ("dialect4-online", "dialect4-search", "dialect"),
        ("dialect4", "dialect4-b16", None),
        ("int8-e8m0", "dialect4", None),
        ("int8-e8m0", "bitmod4-sf16", None),
        ("int8-e8m0", "bitmod4-sv8", None),
        ("int8-e8m0", "bitmod3-sv8-clip", None),
        ("int8-e8m0", "bitmod3-oneterm", None),
        ("int8-e8m0", "bitmod3-clip-sf32", None),
        ("int8-e8m0", "int4-g128", None),
        ("int8-e8m0", "int4-g8-s8", None),
        ("int8-e8m0", "int4-asym", None),
        ("int8-e8m0", "int6-s8", None),
        ("int8", "int8", None),
        ("fp32", "bitmod4", None),
        ("mxfp4", "mxfp4", None),
        ("mxint8", "mxint8-b4x8", None),
    ],
)
def test_each_pair_of_formats_has_its_unit_or_none(x_format, w_format, unit):
    assert supports(x_format, w_format) == unit


@pytest.mark.parametrize(
    ("w_format", "unit"),
    [("int8", "bitmod"), ("bitmod4-clip", "bitmod"), ("dialect4-b16", "dialect"), ("int4-g128", None), ("mxfp4", None)],
)
def test_a_unit_takes_weights_that_some_input_fits(w_format, unit):
    assert weight_unit(w_format) == unit


def test_weight_types_follow_the_format():
    assert [weight_type(f) for f in ("int8-e8m0", "int4-g128-s8", "bitmod3", "bitmod4")] == [
        "int8",
        "int4",
        "fp3",
        "fp4",
    ]


@pytest.mark.parametrize("name", ["bitmod3-sv8", "bitmod4-sv8-clip", "bitmod3-oneterm"])
def test_special_values_that_no_unit_decodes_are_refused(name):
    with pytest.raises(InputError, match=f"no weight type for {name}; .* with the paper's four special values"):
        weight_type(name)
    with pytest.raises(
        InputError, match=f"no hardware unit multiplies int8-e8m0 inputs by {name} weights; .* four special"
    ):
        unit_for("int8-e8m0", name)
