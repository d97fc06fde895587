"""The example of a user's own format: exact by its own oracle, and it keeps every promise that our formats keep."""

from fractions import Fraction
from math import copysign, isqrt
from pathlib import Path

import pytest
import torch

from mxhw.formats import known_formats, load_extension, parse_format
from tests.formats import test_base, test_packing
from tests.formats.draws import differences, hard_rows
from tests.formats.oracle import float32, floor_log2

FILE = Path(__file__).resolve().parents[2] / "examples" / "own_format.py"
NAMES = ["lns4", "lns4-b16", "lns4-b5"]
PROMISES = [
    test_base.test_the_shapes_and_dtypes_of_an_encoding_are_the_documented_ones,
    test_base.test_encode_names_the_first_value_that_is_not_finite,
    test_base.test_out_is_filled_even_if_it_is_the_input_or_has_gaps,
    test_base.test_padding_costs_bits_but_changes_no_value,
    test_base.test_formats_are_frozen_hashable_and_equal_by_value,
]


@pytest.fixture(autouse=True, scope="module")
def _loaded() -> None:
    load_extension(FILE)


def root(quarters: int) -> Fraction:
    """The float32 nearest to 2^(quarters / 4), by integers alone."""
    whole, part = divmod(quarters, 4)
    doubled = isqrt(isqrt(1 << (part + 4 * 24)))  # floor of 2^24 times the fourth root
    return Fraction((doubled + 1) // 2, 1 << 23) * Fraction(2) ** whole


def oracle(block: list[float], fault: str = "") -> list[float]:
    """The values of a block in exact arithmetic, from the rule in the example's docstring."""
    peak = max(abs(x) for x in block)
    scale = Fraction(2) ** (-127 if peak == 0 else max(-127, floor_log2(peak)))
    values = []
    for x in block:
        quotient = abs(Fraction(x)) / scale
        code = int(quotient >= root(-10) / 2)
        for m in range(2, 8):
            middle = (root(2 * m - 14) + root(2 * m - 12)) / 2 if fault == "arithmetic middle" else root(2 * m - 13)
            code += quotient > middle if fault == "ties down" else quotient >= middle
        values.append(copysign(float32(root(2 * code - 12) * scale) if code else 0.0, x))
    return values


def inputs(size: int) -> torch.Tensor:
    """Hard rows, and rows whose quotients are the thresholds and their neighbours."""
    x = hard_rows(4 * size, seed=20, repeats=1)
    threshold = torch.tensor([1.0, *(float(root(2 * m - 13)) for m in range(2, 8)), 2.0**-3.5], dtype=torch.float32)
    near = [threshold, torch.nextafter(threshold, torch.zeros(8)), torch.nextafter(threshold, torch.full((8,), 9.0))]
    ties = torch.cat(near).repeat(size)[: 4 * size]
    ties[::size] = 1.9  # the scale of every block is 1
    return torch.cat((x, torch.stack((ties, -ties, ties * 2.0**60))))


def expected(x: torch.Tensor, size: int, fault: str = "") -> torch.Tensor:
    rows = [[oracle(block.tolist(), fault) for block in row.split(size)] for row in x]
    return torch.tensor(rows, dtype=torch.float64).flatten(1).float()


@pytest.mark.parametrize("size", [32, 16])
def test_it_equals_exact_arithmetic(size):
    x = inputs(size)
    assert differences(parse_format(f"lns4-b{size}").fake_quantize(x), expected(x, size)) == 0


@pytest.mark.parametrize("fault", ["ties down", "arithmetic middle"])
def test_a_planted_fault_is_seen(fault):
    x = inputs(32)
    assert differences(parse_format("lns4").fake_quantize(x), expected(x, 32, fault)) > 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__.removeprefix("test_"))
def test_it_keeps_what_every_format_promises(promise, name):
    promise(name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_decode_of_encode_is_fake_quantize(name, dtype):
    test_base.test_fake_quantize_equals_decode_of_encode_bit_for_bit(name, dtype)


@pytest.mark.parametrize("name", NAMES)
def test_axes_and_non_finite_blocks_are_as_everywhere(name):
    test_base.test_any_axis_equals_the_last_axis_of_the_transposed_tensor(name, (3, 50, 4), 1)
    test_base.test_a_non_finite_value_makes_its_block_nan_and_no_other(name, torch.nan)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("shape", "axis"), [((3, 100), -1), ((70, 6), 0)])
def test_packing_loses_nothing(name, shape, axis):
    test_packing.test_packing_loses_nothing_and_is_as_long_as_the_ledger_says(name, shape, axis)


def test_its_bits_are_codes_and_exponents():
    assert parse_format("lns4").bits((64, 4096)) == 64 * (4096 * 4 + 4096 // 32 * 8)
    assert parse_format("lns4-b16").bits((3, 20)) == 3 * (32 * 4 + 2 * 8)


def test_it_is_listed_and_suggested():
    assert "lns4 | lns4-bN" in [pattern for pattern, _ in known_formats()]
    with pytest.raises(ValueError, match="did you mean 'lns4'"):
        parse_format("lns44")
    with pytest.raises(ValueError, match="lns4-b0: a block has at least 1 element, not 0"):
        parse_format("lns4-b0")
