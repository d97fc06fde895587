"""NF4: exact oracle, midpoints, stored scales, every code, names, the ledger."""

import pytest
import torch

from mxhw.errors import InputError
from mxhw.formats import NF4_TABLE, NF4Format, pack, parse_format, unpack
from tests.formats import oracle_nvfp4 as oracle
from tests.formats.draws import differences, hard_rows

KINDS = ["", "sf16", "s8"]


def name_of(kind: str, group: int = 16) -> str:
    return f"nf4-g{group}{'-' * bool(kind)}{kind}"


def exact(x: torch.Tensor, kind: str = "", fault: str = "") -> torch.Tensor:
    return torch.tensor([oracle.nf4(row, 16, kind, fault) for row in x.tolist()])


def midpoints() -> torch.Tensor:
    """Rows of 16: 1, then the midpoints as float32 with both their neighbours, under many powers of two."""
    table = torch.tensor(NF4_TABLE, dtype=torch.float64)
    middle = ((table[1:] + table[:-1]) / 2).float()
    up, down = (torch.nextafter(middle, torch.full_like(middle, end)) for end in (9.0, -9.0))
    rows = torch.stack([torch.cat([torch.ones(1), row]) for row in (middle, up, down)])
    return torch.cat([rows * 2.0**k for k in (-100, -3, 0, 9, 100)])


@pytest.mark.parametrize("kind", KINDS)
def test_equals_exact_arithmetic(kind):
    fmt = parse_format(name_of(kind))
    for x in (hard_rows(70, repeats=1), midpoints(), torch.randn(20, 70) * torch.logspace(-6, 6, 70)):
        assert differences(fmt.fake_quantize(x), exact(x, kind)) == 0
        assert differences(fmt.decode(fmt.encode(x)), exact(x, kind)) == 0


@pytest.mark.parametrize("kind", ["sf16", "s8"])
def test_the_exact_oracle_notices_codes_of_unquantized_scales(kind):
    x = torch.randn(20, 70) * torch.logspace(-3, 3, 70)
    assert differences(parse_format(name_of(kind)).fake_quantize(x), exact(x, kind, "unquantized")) > 0


def test_the_exact_oracle_notices_midpoints_rounded_to_float32():
    assert differences(parse_format("nf4-g16").fake_quantize(midpoints()), exact(midpoints(), fault="float32")) > 0


def test_the_table_is_of_float32_values_and_codes_count_up_through_it():
    assert torch.tensor(NF4_TABLE).double().tolist() == list(NF4_TABLE)
    assert list(NF4_TABLE) == sorted(oracle.NF4)
    x = torch.tensor(NF4_TABLE).repeat(1, 4) * 2.0**-9
    assert parse_format("nf4-g64").encode(x).codes.flatten().tolist() == [*range(16)] * 4
    assert differences(parse_format("nf4-g64").fake_quantize(x), x) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_every_other_value_of_the_table_errs_at_least_as_much(kind):
    fmt, x = parse_format(name_of(kind, 64)), torch.randn(32, 128)
    encoded = fmt.encode(x)
    blocks = x.view(encoded.codes.shape)
    distance = (torch.tensor(NF4_TABLE) * encoded.scales[..., None, None] - blocks.unsqueeze(-1)).abs()
    chosen = distance.gather(-1, encoded.codes.long().unsqueeze(-1))
    assert bool((chosen <= distance + 1e-6).all())
    assert not bool((chosen <= distance.roll(1, -1).gather(-1, encoded.codes.long().unsqueeze(-1)) * 0.9).all())


@pytest.mark.parametrize("name", ["nf4-g64", "nf4-g64-sf16", "nf4-g32-sbf16", "nf4-g16-s8"])
def test_scales_are_the_stored_maxima(name):
    x = torch.randn(8, 128) * torch.logspace(-3, 3, 128)
    fmt = parse_format(name)
    encoded = fmt.encode(x)
    peak = x.view(8, -1, fmt.block).abs().amax(-1)
    if fmt.scale_dtype == "s8":
        row = peak.amax(-1, keepdim=True) / 255
        expected = (peak / row).round().clamp(1, 255) * row
        assert int(encoded.metadata["multiplier"].min()) == 1
    else:
        dtype = getattr(torch, fmt.scale_dtype)
        expected = peak.to(dtype).float()
    assert differences(encoded.scales, expected) == 0
    assert (differences(encoded.scales, peak) == 0) == (name == "nf4-g64")


@pytest.mark.parametrize("name", ["nf4-g16", "nf4-g16-sf16", "nf4-g16-sbf16", "nf4-g16-s8"])
def test_every_code_survives_packing_and_decodes_to_its_value(name):
    fmt = parse_format(name)
    encoded = fmt.encode(torch.tensor(NF4_TABLE).repeat(3, 2) * torch.tensor([[0.5], [1.0], [96.0]]))
    again = unpack(fmt, pack(fmt, encoded), (3, 32))
    assert again.codes.flatten().tolist() == [*range(16)] * 6
    assert differences(fmt.decode(again), fmt.decode(encoded)) == 0
    values = torch.tensor(NF4_TABLE) * encoded.scales.unsqueeze(-1)
    assert differences(fmt.decode(again).view(3, 2, 16), values) == 0


@pytest.mark.parametrize("power", [-60, 7, 90])
def test_scaling_by_a_power_of_two_commutes(power):
    x, fmt = torch.randn(64, 128), parse_format("nf4-g64")
    assert differences(fmt.fake_quantize(x * 2.0**power), fmt.fake_quantize(x) * 2.0**power) == 0
    assert differences(fmt.fake_quantize(x * 1.3), fmt.fake_quantize(x) * 1.3) > 0


def test_zeros_become_positive_and_the_ends_of_float32_stay_finite():
    for kind in ("", "-sf16", "-sbf16", "-s8"):
        fmt = parse_format(f"nf4-g16{kind}")
        assert differences(fmt.fake_quantize(-torch.zeros(2, 32)), torch.zeros(2, 32)) == 0
        limit = torch.finfo(torch.float32).max
        ends = torch.tensor([limit, -limit, 2.0**-149, -(2.0**-130)]).repeat_interleave(16).unsqueeze(0)
        assert bool(torch.isfinite(fmt.fake_quantize(ends)).all())
    assert differences(parse_format("nf4-g16").fake_quantize(ends), ends) == 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nf4", 10 * (320 * 4 + 5 * 32)),
        ("nf4-sf16", 10 * (320 * 4 + 5 * 16)),
        ("nf4-g128-sbf16", 10 * (384 * 4 + 3 * 16)),
        ("nf4-s8", 10 * (320 * 4 + 5 * 8 + 32)),
    ],
)
def test_the_ledger_counts_codes_scales_and_padding(name, expected):
    assert parse_format(name).bits((10, 300)) == expected


def test_the_short_name_is_an_alias():
    assert parse_format("nf4") is parse_format("nf4-g64")
    assert parse_format("nf4-s8").name == "nf4-g64-s8"
    assert parse_format("nf4-g64-sf32") == NF4Format()


def test_impossible_names_say_why():
    with pytest.raises(InputError, match="at least 1 element"):
        parse_format("nf4-g0")
    with pytest.raises(InputError, match="scale_dtype must be"):
        NF4Format(64, "e8m0")
    with pytest.raises(InputError, match="unknown format 'nf4-g64-e8m0'"):
        parse_format("nf4-g64-e8m0")
    with pytest.raises(InputError, match="no exact integer form"):
        parse_format("nf4").integers(parse_format("nf4").encode(torch.ones(1, 64)))
