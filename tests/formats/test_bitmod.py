"""BitMoD against the golden float32 reference and an own exact oracle: selection, ties, second level, codes."""

import numpy as np
import pytest
import torch

from mxhw.errors import InputError
from mxhw.formats import BitModFormat, parse_format
from tests.formats import oracle
from tests.formats.draws import differences, hard_rows

OPTIONS = ["bitmod3-sv8", "bitmod4-sv8", "bitmod3-oneterm", "bitmod3-clip", "bitmod4-clip-g64", "bitmod3-oneterm-clip"]
OPTIONS += ["bitmod4-g16", "bitmod3-g1024", "bitmod4-sv8-clip-g32"]


def grids(fmt: BitModFormat) -> list[tuple[int, ...]]:
    """The oracle's own table."""
    if fmt.special_values == "oneterm":
        return oracle.BITMOD_ONE_TERM
    return (oracle.BITMOD_EIGHT if fmt.special_values == "eight" else oracle.BITMOD)[fmt.width]


def exact(fmt: BitModFormat, x: torch.Tensor, fault: str = "") -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The oracle's grid values [rows, groups, group], selectors and scales [rows, groups]."""
    found = []
    for row in x.tolist():
        row += [0.0] * (-len(row) % fmt.group)
        groups = [row[at : at + fmt.group] for at in range(0, len(row), fmt.group)]
        found.append([oracle.bitmod(group, grids(fmt), fmt.clip, fault) for group in groups])
    return tuple(torch.tensor([[group[i] for group in row] for row in found]) for i in range(3))


@pytest.mark.parametrize("width", [3, 4])
def test_every_array_equals_the_golden_reference(width, shared):
    golden = np.load(shared / "golden/bitmod/reference_fp32.npz")
    expected = {key[3:]: torch.from_numpy(golden[key]) for key in golden.files if key.startswith(f"w{width}_")}
    x = torch.from_numpy(golden["input"])
    unquantized, fmt = parse_format(f"bitmod{width}-sf32"), parse_format(f"bitmod{width}")
    encoded = fmt.encode(x)
    integers = fmt.integers(encoded)
    assert int((integers.values.flatten(-2) != expected["code"]).sum()) == 0
    assert int((encoded.metadata["selector"] != expected["svidx"]).sum()) == 0
    assert int((integers.multiplier != expected["s8_qscale"]).sum()) == 0
    assert differences(integers.row_scale, expected["s8_rowscale"]) == 0
    assert differences(unquantized.encode(x).scales, expected["scale"]) == 0
    assert int((unquantized.fake_quantize(x) != expected["deq"]).sum()) == 0
    assert int((fmt.fake_quantize(x) != expected["s8_deq"]).sum()) == 0
    assert int((unquantized.fake_quantize(x) != expected["s8_deq"]).sum()) > 0


@pytest.mark.parametrize("name", ["bitmod3", "bitmod4", *OPTIONS])
def test_codes_selectors_and_scales_equal_exact_arithmetic(name):
    x = hard_rows(160, seed=5, repeats=1)
    fmt = parse_format(f"{name}-sf32")
    x = x[::3] if fmt.clip else x
    encoded = fmt.encode(x)
    values, selectors, scales = exact(fmt, x)
    assert encoded.metadata["selector"].tolist() == selectors.tolist()
    assert fmt._grid_values(encoded.codes, encoded.metadata["selector"]).tolist() == values.tolist()
    stored = scales.clamp(min=2.0**-149)
    assert differences(encoded.scales, stored) == 0
    saturated = (values.double() * stored.unsqueeze(-1).double()).clamp(-oracle.FLT_MAX, oracle.FLT_MAX).float()
    assert differences(fmt.fake_quantize(x), saturated.flatten(-2)[:, :160].contiguous()) == 0
    second_level = parse_format(name).encode(x)
    assert second_level.codes.tolist() == encoded.codes.tolist()
    assert second_level.metadata["selector"].tolist() == selectors.tolist()


@pytest.mark.parametrize("name", ["bitmod3", "bitmod4", *OPTIONS])
@pytest.mark.parametrize("fault", ["ties", "last"])
def test_the_exact_oracle_notices_other_tie_rules(name, fault):
    fmt = parse_format(f"{name}-sf32")
    x = hard_rows(160, seed=5, repeats=1)
    x = x[::3] if fmt.clip else x
    peaks = torch.tensor([float(max(grid)) for grid in grids(fmt)[::2]]).unsqueeze(1)
    ties = torch.cat([peaks, (torch.arange(159) - 80).expand(len(peaks), -1) / 8], 1)
    x = torch.cat([x, ties])
    encoded = fmt.encode(x)
    values, selectors, scales = exact(fmt, x, fault)
    ours = fmt._grid_values(encoded.codes, encoded.metadata["selector"])
    same_choice = encoded.metadata["selector"].tolist() == selectors.tolist() and torch.equal(encoded.scales, scales)
    assert ours.tolist() != values.tolist() or not same_choice


@pytest.mark.parametrize("name", ["bitmod4", "bitmod4-sv8"])
def test_near_ties_between_candidates_are_decided_like_the_exact_sums(name):
    generator = torch.Generator().manual_seed(6)
    x = torch.randint(-96, 97, (60, 128), generator=generator) / 8
    x[:, 0] = 12.0
    x[:30] = torch.nextafter(x[:30], torch.tensor(20.0))
    fmt = parse_format(name)
    assert fmt.encode(x).metadata["selector"].tolist() == exact(fmt, x)[1].tolist()


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("bitmod3", 0.04503),
        ("bitmod4", 0.010545),
        ("bitmod3-clip", 0.03827),
        ("bitmod4-clip", 0.009615),
        ("bitmod3-sv8", 0.04008),
        ("bitmod4-sv8", 0.00991),
        ("bitmod3-oneterm", 0.04707),
        ("bitmod3-oneterm-clip", 0.04019),
    ],
)
def test_the_error_of_every_option_is_the_measured_one(name, error, shared):
    x = torch.from_numpy(np.load(shared / "golden/bitmod/reference_fp32.npz")["input"])
    values = parse_format(f"{name}-sf32").fake_quantize(x)
    assert float((values.double() - x.double()).square().mean()) == pytest.approx(error, abs=5.1e-6)


def errors(name: str, x: torch.Tensor) -> torch.Tensor:
    """Squared error of each group, summed as the formats sum it."""
    fmt = parse_format(name)
    squares = (fmt.fake_quantize(x).double() - x.double()).square()
    return squares.view(-1, fmt.group).cumsum(-1)[:, -1]


@pytest.mark.parametrize(
    ("option", "plain"),
    [
        ("bitmod3-clip", "bitmod3"),
        ("bitmod4-clip", "bitmod4"),
        ("bitmod3-sv8", "bitmod3"),
        ("bitmod4-sv8", "bitmod4"),
        ("bitmod4-sv8-clip-g64", "bitmod4-sv8-g64"),
        ("bitmod3-sv8-clip", "bitmod3-clip"),
        ("bitmod3-oneterm-clip", "bitmod3-oneterm"),
    ],
)
def test_an_option_that_adds_candidates_is_never_worse_in_any_group(option, plain):
    x = torch.cat([torch.randn(200, 256), torch.randn(200, 256) ** 3, hard_rows(256, seed=9, repeats=1)])
    better, worse = errors(f"{option}-sf32", x), errors(f"{plain}-sf32", x)
    assert bool((better <= worse).all())
    assert bool((better < worse).any())


@pytest.mark.parametrize("name", ["bitmod3", "bitmod4"])
def test_clipping_changes_only_groups_that_it_improves(name):
    x = torch.randn(400, 128)
    x[::2] = torch.randint(-1, 2, (200, 128)) * 3.0
    plain, clipped = parse_format(f"{name}-sf32").encode(x), parse_format(f"{name}-clip-sf32").encode(x)
    same = errors(f"{name}-clip-sf32", x) == errors(f"{name}-sf32", x)
    assert 100 < int(same.sum()) < 400
    assert plain.codes[same].tolist() == clipped.codes[same].tolist()
    assert differences(plain.scales[same], clipped.scales[same]) == 0


def test_every_value_of_one_term_is_a_power_of_two():
    fmt = parse_format("bitmod3-oneterm")
    codes = torch.arange(8).repeat(4, 1)
    values = fmt._grid_values(codes, torch.arange(4)).abs()
    assert set(values.unique().tolist()) == {0, 1, 2, 4, 8, 16}
    plain = parse_format("bitmod3")._grid_values(codes, torch.arange(4)).abs()
    assert 3 in plain and 6 in plain


@pytest.mark.parametrize("name", ["bitmod3", "bitmod4", "bitmod3-oneterm", "bitmod4-sv8-clip-g64", "bitmod3-g256"])
def test_the_estimate_never_overrules_the_exact_sums(name, monkeypatch):
    x = torch.cat([torch.randn(1500, 256), torch.randint(-96, 97, (500, 256)) / 8, hard_rows(256, seed=12)])
    quick = parse_format(name).encode(x).metadata["selector"]
    monkeypatch.setattr("mxhw.formats.bitmod._ABSOLUTE_MARGIN", 1e9)
    assert torch.equal(parse_format(name).encode(x).metadata["selector"], quick)
    monkeypatch.setattr("mxhw.formats.bitmod.first_minimum", lambda possible, errors: possible.argmin(-1))
    assert not torch.equal(parse_format(name).encode(x).metadata["selector"], quick)


@pytest.mark.parametrize("name", ["bitmod3", "bitmod4", "bitmod3-sv8", "bitmod4-sv8", "bitmod3-oneterm"])
def test_every_code_decodes_to_its_grid_or_special_value(name):
    fmt = parse_format(name)
    width = fmt.width
    codes = torch.arange(1 << width).repeat(128 >> width)
    for selector, special in enumerate(fmt.codebook.special_values):
        stored = {
            "code": codes.view(1, 1, 128),
            "multiplier": torch.tensor([[1]]),
            "selector": torch.tensor([[selector]]),
            "row_scale": torch.tensor([1.0]).view(torch.int32).long(),
        }
        encoded = fmt.from_stored(stored, torch.Size([1, 128]))
        grid = fmt.codebook.magnitudes
        expected = [*grid, special, *(-g for g in grid[1:])]
        assert fmt.integers(encoded).values.flatten().tolist()[: 1 << width] == expected
        assert fmt.decode(encoded).flatten().tolist()[: 1 << width] == expected


@pytest.mark.parametrize("name", ["bitmod3", "bitmod4", "bitmod3-clip", "bitmod4-sv8", "bitmod4-g32"])
def test_a_group_is_never_worse_than_the_basic_grid_on_its_scale(name):
    fmt = parse_format(f"{name}-sf32")
    x = torch.cat([torch.randn(64, 256), hard_rows(256, seed=7, repeats=1)[:12]]).double()
    groups = x.view(-1, fmt.group)
    magnitudes = oracle.BITMOD[fmt.width][0][:-1]
    scale = (groups.abs().amax(-1, keepdim=True).float() / max(magnitudes)).double()
    grid = torch.tensor(magnitudes).double()
    nearest = (groups.unsqueeze(-1) - (grid * scale.unsqueeze(-1)).float().double()).square().amin(-1).sum(-1)
    error = errors(f"{name}-sf32", x.float())
    assert bool((error <= nearest * (1 + 1e-6)).all())
    assert bool((error < nearest * 0.99).any())


def test_a_row_whose_groups_differ_much_loses_the_small_ones():
    """8 bits against the row's largest: below 1/510 of it, a multiplier is 0 and the group decodes to zero."""
    x = torch.cat([torch.randn(1, 128), torch.randn(1, 128) * 1e-4], 1)
    encoded = parse_format("bitmod4").encode(x)
    assert encoded.metadata["multiplier"].tolist() == [[255, 0]]
    assert parse_format("bitmod4").decode(encoded)[0, 128:].abs().max() == 0
    assert parse_format("bitmod4-sf32").fake_quantize(x)[0, 128:].abs().max() > 0


def test_half_precision_scales_are_the_rounded_ones():
    x = torch.randn(8, 256) * 0.02
    ours = parse_format("bitmod4-sf16").encode(x)
    reference = parse_format("bitmod4-sf32").encode(x)
    assert ours.codes.tolist() == reference.codes.tolist()
    assert differences(ours.scales, reference.scales.half().float()) == 0


def test_the_ledger_counts_selectors_and_both_levels_of_scales():
    assert parse_format("bitmod4").bits((10, 1024)) == 10 * (1024 * 4 + 8 * (8 + 2) + 32)
    assert parse_format("bitmod3").bits((10, 1000)) == 10 * (1024 * 3 + 8 * (8 + 2) + 32)
    assert parse_format("bitmod3-sf16").bits((10, 1024)) == 10 * (1024 * 3 + 8 * (16 + 2))
    assert parse_format("bitmod3-sv8-clip").bits((10, 1024)) == 10 * (1024 * 3 + 8 * (8 + 3) + 32)
    assert parse_format("bitmod4-g64").bits((10, 1000)) == 10 * (1024 * 4 + 16 * (8 + 2) + 32)
    assert parse_format("bitmod3-oneterm-clip").bits((10, 1024)) == parse_format("bitmod3").bits((10, 1024))


def test_other_widths_and_scales_are_refused():
    with pytest.raises(InputError, match="3 or 4 bits, not 5"):
        parse_format("bitmod5")
    with pytest.raises(InputError, match="scale_dtype must be"):
        BitModFormat(4, "e8m0")
    with pytest.raises(InputError, match="bitmod4: special_values must be one of four, eight, not 'oneterm'"):
        parse_format("bitmod4-oneterm")
    for group in (8, 24, 1040):
        with pytest.raises(InputError, match=f"a multiple of 16 from 16 to 1024 weights, not {group}"):
            parse_format(f"bitmod3-g{group}")
    assert parse_format("bitmod3-g128") == parse_format("bitmod3")
