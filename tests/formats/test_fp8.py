"""FP8 with a scale: exact oracles, torch's own float8, every code, saturation, names, the ledger."""

import pytest
import torch

from mxhw.errors import InputError
from mxhw.formats import FP8Format, pack, parse_format, unpack
from tests.formats import oracle
from tests.formats.draws import differences, hard_rows

ELEMENTS = ("e4m3", "e5m2")
DTYPES = {"e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}


@pytest.mark.parametrize("element", ELEMENTS)
@pytest.mark.parametrize(("suffix", "bits"), [("", 32), ("-sf16", 16), ("-unscaled", 0)])
def test_values_equal_exact_arithmetic(element, suffix, bits):
    x = hard_rows(48, seed=4, repeats=1)
    ours = parse_format(f"fp8-{element}{suffix}").fake_quantize(x)
    assert differences(ours, torch.tensor([oracle.fp8(row, element, bits) for row in x.tolist()])) == 0


@pytest.mark.parametrize(("element", "largest", "half_step"), [("e4m3", 448.0, 1 / 16), ("e5m2", 57344.0, 1 / 8)])
def test_the_exact_oracle_notices_ties_that_round_away_from_zero(element, largest, half_step):
    x = torch.tensor([[largest, *(1 + (2 * i + 1) * half_step for i in range(4))]])
    ours = parse_format(f"fp8-{element}").fake_quantize(x)
    assert differences(ours, torch.tensor([oracle.fp8(x[0].tolist(), element)])) == 0
    assert differences(ours, torch.tensor([oracle.fp8(x[0].tolist(), element, fault="ties")])) > 0


@pytest.mark.parametrize("element", ELEMENTS)
def test_every_bfloat16_rounds_as_torch_casts(element):
    patterns = torch.arange(1 << 16, dtype=torch.int32)
    x = (patterns << 16).view(torch.float32)
    x = x[x.isfinite()]
    limit = torch.finfo(DTYPES[element]).max
    ours = parse_format(f"fp8-{element}-unscaled").fake_quantize(x)
    assert differences(ours, x.clamp(-limit, limit).to(DTYPES[element]).float()) == 0
    assert len(ours.unique()) == {"e4m3": 253, "e5m2": 247}[element]  # finite codes; both zeros are one


@pytest.mark.parametrize("element", ELEMENTS)
def test_every_finite_code_survives_packing(element):
    codes = torch.arange(256, dtype=torch.uint8)
    values = codes.view(DTYPES[element]).float()
    finite = values.isfinite()
    x = values[finite]
    fmt = parse_format(f"fp8-{element}")
    encoded = fmt.encode(x)
    assert encoded.scales.tolist() == [1.0]
    assert encoded.codes.flatten().tolist() == codes[finite].tolist()
    again = unpack(fmt, pack(fmt, encoded), encoded.shape)
    assert differences(fmt.decode(again), x) == 0


@pytest.mark.parametrize("name", ["fp8-e4m3", "fp8-e5m2-g16", "fp8-e4m3-tensor"])
@pytest.mark.parametrize("power", [2.0**-30, 2.0**20])
def test_scaling_by_a_power_of_two_commutes(name, power):
    x = torch.randn(6, 64)
    fmt = parse_format(name)
    assert differences(fmt.fake_quantize(x * power), fmt.fake_quantize(x) * power) == 0


def test_one_scale_per_tensor_is_that_of_its_maximum():
    x = torch.randn(6, 64)
    encoded = parse_format("fp8-e4m3-tensor").encode(x)
    assert encoded.scales.unique().tolist() == [float(x.abs().amax() / 448)]


@pytest.mark.parametrize("name", ["fp8-e4m3", "fp8-e5m2-sf16", "fp8-e4m3-sbf16", "fp8-e5m2-tensor"])
def test_the_ends_of_float32_stay_finite_and_keep_their_signs(name):
    x = torch.tensor([[torch.finfo(torch.float32).max, -3e38, 1e-45, -0.0], [1e-45, -1e-45, 0.0, -0.0]])
    values = parse_format(name).fake_quantize(x)
    assert values.isfinite().all()
    assert torch.equal(values.signbit(), x.signbit())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fp8-e4m3", 6 * 100 * 8 + 6 * 32),
        ("fp8-e5m2-g64", 6 * 128 * 8 + 6 * 2 * 32),
        ("fp8-e4m3-tensor-sf16", 6 * 100 * 8 + 16),
        ("fp8-e4m3-unscaled", 6 * 100 * 8),
    ],
)
def test_the_ledger_counts_codes_scales_and_padding(name, expected):
    assert parse_format(name).bits((6, 100)) == expected


def test_a_name_may_state_the_default_scale():
    assert parse_format("fp8-e5m2-g16-sf32") == parse_format("fp8-e5m2-g16")


def test_impossible_formats_say_why():
    with pytest.raises(InputError, match="one scale per tensor leaves nothing for a group"):
        parse_format("fp8-e4m3-g16-tensor")
    with pytest.raises(InputError, match="a group has at least 1 element, not 0"):
        parse_format("fp8-e4m3-g0")
    with pytest.raises(InputError, match="must be one of e4m3, e5m2, not 'e3m4'"):
        FP8Format("e3m4")
    with pytest.raises(InputError, match="unknown format 'fp8'; did you mean"):
        parse_format("fp8")
