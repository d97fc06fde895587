"""The on-line DialectFP4 quantizer in integers equals the format, block for block and bit for bit."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from mxhw.arithmetic import online_dialect
from mxhw.arithmetic.online_dialect import DIALECT_INT16_EXPONENTS, encode_dialect
from mxhw.errors import InputError
from mxhw.formats import DIALECT_RANGES, DIALECT_TABLE, DialectFormat
from tests.arithmetic.online_draws import every_mantissa_at_every_scale, fp16_blocks, fp16_values, mantissa_blocks

BLOCKS = [16, 32, 64]


def assert_equals_the_format(found, values, block):
    encoded = DialectFormat(block, online=True).encode(values)
    assert torch.equal(found.codes, encoded.codes[:, 0].long())
    assert torch.equal(found.dialect, encoded.metadata["dialect"][:, 0].long())
    assert torch.equal(found.exponent, encoded.metadata["exponent"][:, 0].long())


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("exponent", [-28, -27, -20, -14, -13, -12, -5, 0, 3])
def test_mantissas_equal_the_format_at_every_exponent(block, exponent):
    mantissas = mantissa_blocks(300, block, seed=exponent)
    values = (mantissas.double() * 2.0**exponent).float()
    assert_equals_the_format(encode_dialect(mantissas, exponent=exponent), values, block)


def test_every_mantissa_at_every_scale_equals_the_format():
    mantissas = every_mantissa_at_every_scale(16)
    assert_equals_the_format(encode_dialect(mantissas), mantissas.float(), 16)


@pytest.mark.parametrize("block", BLOCKS)
def test_fp16_equals_the_format(block):
    patterns = fp16_blocks(300, block)
    assert_equals_the_format(encode_dialect(patterns, "fp16"), fp16_values(patterns), block)


def test_fp16_beyond_the_largest_value_counts_as_it():
    patterns = fp16_blocks(50, 16)
    patterns[:, 5], patterns[:, 9] = 0x7C00, 0xFE01
    clamped = patterns.clone()
    clamped[:, 5], clamped[:, 9] = 0x7BFF, 0xFBFF
    assert all(map(torch.equal, encode_dialect(patterns, "fp16"), encode_dialect(clamped, "fp16")))


def test_fp16_equals_the_golden_vectors_and_not_those_of_the_other_tie(shared):
    golden = {
        name: torch.from_numpy(np.load(shared / f"golden/dialect/{name}.npy")).long()
        for name in ("a_codes", "a_dialect", "a_exp", "a_tieodd_dialect")
    }
    x = torch.from_numpy(np.load(shared / "golden/dialect/x.npy"))
    found = encode_dialect(x.half().view(torch.int16).long() & 0xFFFF, "fp16")
    assert torch.equal(found.codes, golden["a_codes"])
    assert torch.equal(found.dialect, golden["a_dialect"])
    assert torch.equal(found.exponent, golden["a_exp"])
    assert not torch.equal(found.dialect, golden["a_tieodd_dialect"])


@pytest.mark.parametrize("block", [16, 32])
def test_values_are_within_half_a_gap_of_what_was_encoded(block):
    """A slow look at the meaning: no magnitude of the dialect is nearer than the one that was chosen."""
    mantissas = mantissa_blocks(20, block, seed=5)
    found = encode_dialect(mantissas)
    for row, codes, dialect, exponent in zip(mantissas.tolist(), *(part.tolist() for part in found), strict=True):
        unit = Fraction(2) ** (exponent - 15) / 2
        grid = [h * unit for h in DIALECT_TABLE[dialect]]
        for m, code in zip(row, codes, strict=True):
            assert code >> 3 == (m < 0)
            assert abs(abs(m) - grid[code & 7]) == min(abs(abs(m) - g) for g in grid)


def test_another_range_is_noticed(monkeypatch):
    mantissas = mantissa_blocks(300, 32)
    low, high = DIALECT_RANGES[4]
    monkeypatch.setattr(online_dialect, "DIALECT_RANGES", (*DIALECT_RANGES[:4], (low + 1, high), *DIALECT_RANGES[5:]))
    with pytest.raises(AssertionError):
        assert_equals_the_format(encode_dialect(mantissas), mantissas.float(), 32)


@pytest.mark.parametrize("exponent", [DIALECT_INT16_EXPONENTS[0] - 1, DIALECT_INT16_EXPONENTS[-1] + 1])
def test_an_exponent_out_of_range_is_refused(exponent):
    with pytest.raises(InputError, match=f"exponent must be -28 to 3 for int16 input, not {exponent}"):
        encode_dialect(torch.zeros(1, 16), exponent=exponent)
