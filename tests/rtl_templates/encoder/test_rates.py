"""Throughput and latency as promised, clean Verilog, refused parameters, and faults that the comparison must catch."""

from functools import partial

import pytest
import torch

from mxhw.arithmetic import signed_bits
from mxhw.arithmetic.online_dialect import encode_dialect
from mxhw.errors import InputError
from mxhw.formats import DIALECT_RANGES
from mxhw.rtl_templates import component_verilog
from mxhw.rtl_templates.encoder import (
    UNITS,
    BeneficialRanges,
    DialectEncoder,
    IntegerEncoder,
    MXEncoder,
    elements,
)
from mxhw.rtl_templates.encoder import dialect as dialect_module
from mxhw.rtl_templates.integer import round_shift
from mxhw.sim import build
from tests.arithmetic.online_draws import mantissa_blocks
from tests.rtl_templates.encoder.bank import dialect, integer, mx
from tests.rtl_templates.stream.bench import run

DIALECT = [(16, 1), (16, 4), (16, 16), (32, 8)]
SCALED = [(mx, ("mxfp4", 16, 1)), (mx, ("mxfp8-e5m2", 8, 4)), (mx, ("mxint8", 4, 4)), (integer, (8, 12, 2))]


def outputs(case, blocks, **stalls):
    return run(case.unit, {"x": case.x(blocks)}, {"y": len(case.y(blocks))}, **stalls)


@pytest.mark.parametrize(("block", "lanes"), DIALECT)
def test_a_dialect_encoder_gives_a_beat_a_cycle(block, lanes):
    case, blocks = dialect(block, lanes), mantissa_blocks(0, block)[:8]
    found = outputs(case, blocks)
    assert found.outputs["y"] == case.y(blocks)
    assert found.is_gapless("x") and found.is_gapless("y")
    assert found.latency() == 2 * block // lanes + 4


@pytest.mark.parametrize(("make", "parameters"), SCALED)
def test_an_encoder_with_a_scale_gives_a_beat_a_cycle(make, parameters):
    case = make(*parameters)
    blocks = mantissa_blocks(0, case.block)[:8]
    found = outputs(case, blocks)
    assert found.outputs["y"] == case.y(blocks)
    assert found.is_gapless("x") and found.is_gapless("y")
    assert found.latency() == case.block // case.lanes + 3


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


def test_a_wrong_range_is_noticed(monkeypatch):
    wrong = [list(bounds) for bounds in DIALECT_RANGES]
    wrong[4][0] += 1
    monkeypatch.setattr(dialect_module, "BeneficialRanges", partial(BeneficialRanges, ranges=wrong))
    case, blocks = dialect(16, 4), mantissa_blocks(200, 16)
    assert outputs(case, blocks).outputs["y"] != case.y(blocks)


@pytest.mark.parametrize("missing", [0, 1])
def test_the_count_holds_a_whole_block_and_needs_every_bit(monkeypatch, missing):
    monkeypatch.setattr(dialect_module, "signed_bits", lambda largest: signed_bits(largest) - missing)
    case = dialect(16, 4, exponent=-17)
    blocks = torch.tensor([[13] * 16, [9] * 16])
    assert (outputs(case, blocks).outputs["y"] == case.y(blocks)) == (not missing)


def test_half_up_in_place_of_half_even_is_noticed(monkeypatch):
    monkeypatch.setattr(elements, "_round_even", round_shift)
    case, blocks = mx("mxfp4", 16, 4), mantissa_blocks(50, 16)
    assert outputs(case, blocks).outputs["y"] != case.y(blocks)


CASES = [
    *((unit.name, {}) for unit in UNITS),
    ("dialect_encoder", {"source": "fp16"}),
    ("dialect_encoder", {"block": 16, "lanes": 2, "exponent": -28}),
    ("mx_encoder", {"element": "mxfp8-e5m2", "lanes": 2}),
    ("mx_encoder", {"element": "mxint8"}),
    ("integer_encoder", {"rounding": "half_up"}),
    ("integer_encoder", {"bits": 16, "length": 1}),
]


@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_verilog_is_clean(name, parameters, tmp_path):
    unit = next(unit for unit in UNITS if unit.name == name)
    source = tmp_path / "unit.v"
    source.write_text(component_verilog(unit.make(**parameters), "unit"))
    assert build.lint([source], "unit") == ""


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
