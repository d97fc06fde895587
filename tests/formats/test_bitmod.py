"""BitMoD against the golden float32 reference and an own exact oracle: selection, ties, second level, codes."""

import numpy as np
import pytest
import torch

from mxhw.errors import InputError
from mxhw.formats import BITMOD_GRIDS, BITMOD_SPECIAL_VALUES, BitModFormat, parse_format
from tests.formats import oracle
from tests.formats.draws import differences, hard_rows


def exact(width: int, x: torch.Tensor, fault: str = "") -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The oracle's grid values [rows, groups, 128], selectors and scales [rows, groups]."""
    found = []
    for row in x.tolist():
        row += [0.0] * (-len(row) % 128)
        found.append([oracle.bitmod(row[at : at + 128], width, fault) for at in range(0, len(row), 128)])
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


@pytest.mark.parametrize("width", [3, 4])
def test_codes_selectors_and_scales_equal_exact_arithmetic(width):
    x = hard_rows(160, seed=5, repeats=1)
    fmt = parse_format(f"bitmod{width}-sf32")
    encoded = fmt.encode(x)
    values, selectors, scales = exact(width, x)
    assert encoded.metadata["selector"].tolist() == selectors.tolist()
    assert fmt._grid_values(encoded.codes, encoded.metadata["selector"]).tolist() == values.tolist()
    stored = scales.clamp(min=2.0**-149)
    assert differences(encoded.scales, stored) == 0
    saturated = (values.double() * stored.unsqueeze(-1).double()).clamp(-oracle.FLT_MAX, oracle.FLT_MAX).float()
    assert differences(fmt.fake_quantize(x), saturated.flatten(-2)[:, :160].contiguous()) == 0


@pytest.mark.parametrize("width", [3, 4])
@pytest.mark.parametrize("fault", ["ties", "last"])
def test_the_exact_oracle_notices_other_tie_rules(width, fault):
    x = hard_rows(160, seed=5, repeats=1)
    peaks = torch.tensor([4.0, 6.0] if width == 3 else [12.0, 16.0]).unsqueeze(1)
    ties = torch.cat([peaks, (torch.arange(159) - 80).expand(2, -1) / 8], 1)
    x = torch.cat([x, ties])
    encoded = parse_format(f"bitmod{width}").encode(x)
    values, selectors, _ = exact(width, x, fault)
    ours = parse_format(f"bitmod{width}").integers(encoded).values
    assert ours.tolist() != values.tolist() or encoded.metadata["selector"].tolist() != selectors.tolist()


def test_near_ties_between_candidates_are_decided_like_the_exact_sums():
    generator = torch.Generator().manual_seed(6)
    x = torch.randint(-96, 97, (60, 128), generator=generator) / 8
    x[:, 0] = 12.0
    x[:30] = torch.nextafter(x[:30], torch.tensor(20.0))
    assert parse_format("bitmod4").encode(x).metadata["selector"].tolist() == exact(4, x)[1].tolist()


@pytest.mark.parametrize("name", ["bitmod3", "bitmod4"])
def test_the_estimate_never_overrules_the_exact_sums(name, monkeypatch):
    x = torch.cat([torch.randn(1500, 256), torch.randint(-96, 97, (500, 256)) / 8, hard_rows(256, seed=12)])
    quick = parse_format(name).encode(x).metadata["selector"]
    monkeypatch.setattr("mxhw.formats.bitmod._ABSOLUTE_MARGIN", 1e9)
    assert torch.equal(parse_format(name).encode(x).metadata["selector"], quick)
    monkeypatch.setattr("mxhw.formats.bitmod.first_minimum", lambda possible, errors: 3 * possible[:, 0].long())
    assert not torch.equal(parse_format(name).encode(x).metadata["selector"], quick)


@pytest.mark.parametrize("width", [3, 4])
def test_every_code_decodes_to_its_grid_or_special_value(width):
    fmt = parse_format(f"bitmod{width}")
    codes = torch.arange(1 << width).repeat(128 >> width)
    for selector, special in enumerate(BITMOD_SPECIAL_VALUES[width]):
        stored = {
            "code": codes.view(1, 1, 128),
            "multiplier": torch.tensor([[1]]),
            "selector": torch.tensor([[selector]]),
            "row_scale": torch.tensor([1.0]).view(torch.int32).long(),
        }
        encoded = fmt.from_stored(stored, torch.Size([1, 128]))
        grid = BITMOD_GRIDS[width]
        expected = [*grid, special, *(-g for g in grid[1:])]
        assert fmt.integers(encoded).values.flatten().tolist()[: 1 << width] == expected
        assert fmt.decode(encoded).flatten().tolist()[: 1 << width] == expected


def test_a_group_is_never_worse_than_plain_fp4_on_the_same_scale():
    x = torch.cat([torch.randn(64, 256), hard_rows(256, seed=7, repeats=1)[:12]]).double()
    groups = x.view(-1, 128)
    scale = (groups.abs().amax(-1, keepdim=True).float() / 12).double()
    grid = torch.tensor([s * g for g in (0, 1, 2, 3, 4, 6, 8, 12) for s in (1, -1)]).double()
    nearest = (groups.unsqueeze(-1) - (grid * scale.unsqueeze(-1)).float().double()).square().amin(-1).sum(-1)
    values = parse_format("bitmod4-sf32").fake_quantize(x.float()).double().view(-1, 128)
    error = (values - groups).square().sum(-1)
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


def test_other_widths_and_scales_are_refused():
    with pytest.raises(InputError, match="3 or 4 bits, not 5"):
        parse_format("bitmod5")
    with pytest.raises(InputError, match="scale_dtype must be"):
        BitModFormat(4, "e8m0")
