"""Faults that the comparison with the definitions must catch, what it draws, and refused parameters."""

from functools import partial

import pytest
import torch

from mxhw.arithmetic import signed_bits
from mxhw.arithmetic.online_dialect import encode_dialect
from mxhw.errors import InputError
from mxhw.formats import DIALECT_RANGES
from mxhw.rtl_templates.encoder import (
    BeneficialRanges,
    DialectEncoder,
    IntegerEncoder,
    MXEncoder,
    elements,
)
from mxhw.rtl_templates.encoder import dialect as dialect_module
from mxhw.rtl_templates.integer import round_shift
from tests.arithmetic.online_draws import mantissa_blocks
from tests.rtl_templates.bank import Bench, damaged
from tests.rtl_templates.encoder.cases import dialect, mx


@pytest.fixture(scope="module")
def bench():
    return Bench({name: case.unit for name, case in CASES.items()})


def wrong_ranges():
    """A DialectFP4 encoder whose fifth range begins a step later."""
    ranges = [list(bounds) for bounds in DIALECT_RANGES]
    ranges[4][0] += 1
    case = dialect(16, 1)
    damaged(case.unit, dialect_module, BeneficialRanges=partial(BeneficialRanges, ranges=ranges))
    return case


def narrow_count():
    """One whose count of elements in a range lacks a bit."""
    case = dialect(16, 1, exponent=-17)
    damaged(case.unit, dialect_module, signed_bits=lambda largest: signed_bits(largest) - 1)
    return case


def half_up():
    """An MXFP4 encoder that rounds half up in place of to even."""
    case = mx("mxfp4", 16, 1)
    damaged(case.unit, elements, _round_even=round_shift)
    return case


CASES = {
    "dialect": dialect(16, 1),
    "clamped": dialect(16, 1, exponent=-17),
    "mxfp4": mx("mxfp4", 16, 1),
    "wrong_ranges": wrong_ranges(),
    "narrow_count": narrow_count(),
    "half_up": half_up(),
}


def is_right(bench, name, blocks):
    case = CASES[name]
    return bench.y(name, {"x": case.x(blocks)}, len(case.y(blocks))) == case.y(blocks)


def test_drawn_blocks_reach_every_dialect_and_equal_counts_in_every_pair():
    """What the comparisons under stalls draw is not all of a kind."""
    blocks = mantissa_blocks(2000, 16)
    assert set(encode_dialect(blocks).dialect.tolist()) == set(range(16))
    peak = blocks.abs().amax(-1, keepdim=True)
    q = (blocks.abs() << 4) >> torch.tensor([[max(int(p).bit_length() - 1, 0)] for p in peak.flatten()])
    pair = 15 - ((q.amax(-1) + 1) >> 1).clamp(8, 15)
    low, high = torch.tensor(DIALECT_RANGES).unbind(-1)
    counts = [
        ((q >= low[2 * pair + odd].unsqueeze(-1)) & (q < high[2 * pair + odd].unsqueeze(-1))).sum(-1) for odd in (0, 1)
    ]
    is_tie = (counts[0] == counts[1]) & (counts[0] > 0)
    assert set(pair[is_tie].tolist()) == set(range(8))


@pytest.mark.parametrize(("right", "fault"), [("dialect", "wrong_ranges"), ("mxfp4", "half_up")])
def test_a_planted_fault_is_noticed(bench, right, fault):
    blocks = mantissa_blocks(200, 16)
    assert is_right(bench, right, blocks) and not is_right(bench, fault, blocks)


def test_the_count_holds_a_whole_block_and_needs_every_bit(bench):
    blocks = torch.tensor([[13] * 16, [9] * 16])
    assert is_right(bench, "clamped", blocks) and not is_right(bench, "narrow_count", blocks)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DialectEncoder(block=24), "block must be 16, 32 or 64, not 24"),
        (lambda: DialectEncoder(block=16, lanes=3), "lanes must be a divisor of the block of 16, not 3"),
        (lambda: DialectEncoder(lanes=0), "lanes must be an integer of at least 1, not 0"),
        (lambda: DialectEncoder(source="bf16"), "source must be 'int16' or 'fp16', not 'bf16'"),
        (lambda: DialectEncoder(exponent=4), "exponent must be -28 to 3 for int16 input, not 4"),
        (lambda: DialectEncoder(source="fp16", exponent=1), "exponent must be 0 for fp16, not 1"),
        (lambda: MXEncoder(element="mxfp5"), "element must be one of mxfp4, .*, not 'mxfp5'"),
        (lambda: MXEncoder(block=0), "block must be an integer of at least 1, not 0"),
        (lambda: MXEncoder(block=32, lanes=5), "lanes must be a divisor of the block of 32, not 5"),
        (lambda: MXEncoder(exponent=113), "exponent must be -124 to 112 for mxfp4, not 113"),
        (lambda: IntegerEncoder(bits=1, length=8), "bits must be 2 to 16, not 1"),
        (lambda: IntegerEncoder(bits=17, length=8), "bits must be 2 to 16, not 17"),
        (lambda: IntegerEncoder(length=0), "length must be an integer of at least 1, not 0"),
        (lambda: IntegerEncoder(length=9, lanes=2), "lanes must be a divisor of the length of 9, not 2"),
        (lambda: IntegerEncoder(length=8, rounding="floor"), "rounding must be 'half_even' or 'half_up', not 'floor'"),
        (lambda: IntegerEncoder(length=8, exponent=-121), "exponent must be -120 to 112 for 8 bits, not -121"),
    ],
)
def test_impossible_parameters_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
