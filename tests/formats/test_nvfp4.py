"""NVFP4 and Four Over Six: exact oracle, torchao's bytes, what the choice promises, tiny and huge tensors, integers."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from mxhw.arithmetic import supports
from mxhw.errors import InputError
from mxhw.formats import NVFP4Format, pack, parse_format, unpack
from mxhw.formats.elements import ELEMENT_TYPES
from tests.formats import oracle_nvfp4 as oracle
from tests.formats.draws import differences, hard_rows

NAMES = ["nvfp4", "nvfp4-46"]
E2M1, E4M3 = ELEMENT_TYPES["mxfp4"], ELEMENT_TYPES["mxfp8-e4m3"]


def mistakes(name: str, x: torch.Tensor, fault: str = "") -> int:
    """In how many values, block scales and selectors a format differs from the oracle on one tensor [rows, columns]."""
    fmt = parse_format(name)
    values, scales, numbers = (torch.tensor(part) for part in oracle.tensor_scaled(name, x.tolist(), fault))
    encoded = fmt.encode(x)
    count = differences(fmt.fake_quantize(x), values) + differences(fmt.decode(encoded), values)
    count += int((fmt.scale_type.values(encoded.metadata["scale"]) != scales).sum())
    if "selector" in encoded.metadata:
        count += int((encoded.metadata["selector"] != numbers).sum())
    return count


def ties(reach: float, seed: int = 0) -> torch.Tensor:
    """[rows, 96] whose g is a power of two: elements, special values and block scales tie, and so do candidates."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int, *shape: int) -> torch.Tensor:
        return torch.randint(low, high, shape, generator=generator).float()

    step = torch.tensor([0.25, 0.5, 1.0, 1.5])[draw(0, 4, 40, 6, 1).long()]
    x = (draw(-40, 41, 40, 6, 16) * step).clamp(-8, 8)
    x[..., 0] = torch.where(draw(0, 2, 40, 6) == 0, 6.0, 8.0)
    x[::3, :, 0] = 6 * (1 + draw(0, 16, 14, 6) / 16)
    x *= torch.exp2(draw(-4, 3, 40, 6, 1))
    x[0, 0, 0] = reach
    return x.flatten(1)


def near_ties(reach: float, seed: int = 0) -> torch.Tensor:
    """[rows, 96] with elements a rounding away from ties: the order of operations shows."""
    generator = torch.Generator().manual_seed(seed)
    s = E4M3.values(torch.randint(56, 94, (60, 6, 1), generator=generator))
    level = torch.randint(-12, 12, (60, 6, 16), generator=generator) / 2 + 0.25
    level[::2] = level[::2].clamp(-4, 4)
    level[..., 0] = torch.tensor([4.0, 6.0]).repeat(30).unsqueeze(1)
    g = torch.tensor(1.2345678)
    x = level * (s * g)
    x[0, 0, 0] = reach * g
    return x.flatten(1)


@pytest.mark.parametrize("name", NAMES)
def test_every_class_of_input_as_its_own_tensor_equals_exact_arithmetic(name):
    assert [mistakes(name, row.unsqueeze(0)) for row in hard_rows(70, repeats=1)] == [0] * len(hard_rows(70, repeats=1))


@pytest.mark.parametrize("name", NAMES)
def test_one_tensor_of_all_classes_and_ties_equal_exact_arithmetic(name):
    reach = parse_format(name).reach
    for x in (hard_rows(70, repeats=1), ties(reach)[:20], near_ties(reach)[:20], 2.0**-60 * ties(reach, seed=1)[:8]):
        assert mistakes(name, x) == 0


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        *(("nvfp4", fault) for fault in ("ties", "scale", "order")),
        *(("nvfp4-46", fault) for fault in ("ties", "scale", "order", "last", "unscaled")),
    ],
)
def test_the_exact_oracle_notices_a_planted_fault(name, fault):
    x = near_ties(parse_format(name).reach) if fault == "order" else ties(parse_format(name).reach)
    assert mistakes(name, x, fault) > 0


@pytest.mark.parametrize("name", NAMES)
def test_the_exact_oracle_notices_block_scales_that_stop_at_the_smallest_normal(name):
    x = torch.randn(4, 64) * torch.tensor([1.0, 1e-3, 1e-5, 1e-6]).unsqueeze(1)
    assert mistakes(name, x) == 0
    assert mistakes(name, x, "smallest") > 0


def test_scales_and_codes_equal_those_of_torchao(shared):
    golden = np.load(shared / "golden/mx/torchao_nvfp4.npz")
    x = torch.from_numpy(golden["input"])
    stored = parse_format("nvfp4").stored(parse_format("nvfp4").encode(x))
    assert int(stored["tensor_scale"]) == int(golden["tensor_scale"].view(np.int32))
    assert np.array_equal(stored["scale"].numpy(), golden["block_scale_e4m3"])
    codes = stored["code"].flatten(1).numpy()
    packed = golden["codes_packed"]
    assert np.array_equal(codes[:, ::2] | (codes[:, 1::2] << 4), packed)
    assert int((codes[:, ::2] | (codes[:, 1::2] << 4) != (packed ^ (np.arange(64) == 9))).sum()) == 24


@pytest.fixture(scope="module")
def torchao():
    return pytest.importorskip(
        "torchao.prototype.mx_formats.nvfp4_tensor", reason="torchao is not installed: nothing to compare with"
    )


def torchao_parts(torchao, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Tensor scale, bytes of block scales, codes and values."""
    g = torchao.per_tensor_amax_to_scale(x.abs().amax())
    scales, packed = torchao.nvfp4_quantize(x, 16, g)
    codes = torch.stack((packed & 15, packed >> 4), -1).flatten(-2)
    value = E2M1.values(codes).view(*scales.shape, 16) * (g * scales.float()).unsqueeze(-1)
    return g, scales.view(torch.uint8), codes, value.flatten(-2)


@pytest.mark.parametrize("seed", range(4))
def test_fresh_draws_equal_torchao_where_its_smallest_scale_is_not_reached(torchao, seed):
    torch.manual_seed(seed)
    drawn = torch.randn(256, 512) * torch.logspace(-2, 2, 256).unsqueeze(1)
    for x in (drawn, drawn * 1e-20, drawn * 1e20, drawn.bfloat16().float(), near_ties(2688, seed), ties(2688, seed)):
        encoded = parse_format("nvfp4").encode(x)
        g, scales, codes, values = torchao_parts(torchao, x)
        # torchao's scales are at least 2^-6, the byte 8, also for a block of zeros.
        usual = encoded.metadata["scale"] >= 8
        assert int(usual.sum()) >= usual.numel() * 0.8
        assert differences(encoded.metadata["tensor_scale"], g.expand(len(x))) == 0
        assert encoded.metadata["scale"][usual].tolist() == scales[usual].tolist()
        assert encoded.codes[usual].tolist() == codes.view(encoded.codes.shape)[usual].tolist()
        ours = parse_format("nvfp4").fake_quantize(x).view(*usual.shape, 16)
        assert differences(ours[usual], values.view(ours.shape)[usual]) == 0


def test_blocks_below_the_smallest_scale_of_torchao_err_less_here(torchao):
    x = torch.randn(64, 64) * torch.logspace(0, -6, 64).unsqueeze(1)
    values = torchao_parts(torchao, x)[3]
    ours = parse_format("nvfp4").fake_quantize(x)
    tiny = (parse_format("nvfp4").encode(x).metadata["scale"] < 8).repeat_interleave(16, -1)
    assert 0 < int(tiny.sum()) < tiny.numel()
    assert float((ours - x)[tiny].square().sum()) < 0.9 * float((values - x)[tiny].square().sum())


@dataclass(frozen=True)
class OnlyOne(NVFP4Format):
    """Four Over Six that tries one scale alone: 0 is that of 6, 1 that of 4."""

    number: int = 0

    @property
    def candidates(self):
        return super().candidates[self.number :][:1]


def errors(values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return (values.double() - x.double()).square().view(-1, 16).cumsum(-1)[:, -1]


def test_four_over_six_never_errs_more_than_either_scale_alone():
    x = torch.cat([torch.randn(512, 128), hard_rows(128, repeats=1), ties(1536).repeat(1, 2)[:, :128]])
    for tensor in (x, *x[500:]):
        both = errors(parse_format("nvfp4-46").fake_quantize(tensor), tensor)
        for number in (0, 1):
            assert bool((both <= errors(OnlyOne(True, number).fake_quantize(tensor), tensor)).all())
    x = x[:512]
    both, six, four = (
        errors(fmt.fake_quantize(x), x) for fmt in (parse_format("nvfp4-46"), OnlyOne(True, 0), OnlyOne(True, 1))
    )
    assert float(both.sum()) < 0.9 * float(six.sum())
    assert bool((six < four).any() and (four < six).any())


def test_four_over_six_keeps_the_scale_of_six_where_both_err_alike():
    x = torch.zeros(1, 32)
    x[0, 0] = 1536.0
    x[0, 16:20] = torch.tensor([6.0, 3.0, 1.5, 0.0])
    assert parse_format("nvfp4-46").encode(x).scales.tolist() == [[256.0, 1.0]]
    x[0, 17] = 4.0
    assert parse_format("nvfp4-46").encode(x).scales.tolist() == [[256.0, 1.0]]
    x[0, 17] = 4.5
    assert parse_format("nvfp4-46").encode(x).scales.tolist() == [[256.0, 1.5]]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("power", [-60, -1, 5, 80])
def test_scaling_by_a_power_of_two_commutes(name, power):
    x, fmt = torch.randn(64, 96), parse_format(name)
    assert differences(fmt.fake_quantize(x * 2.0**power), fmt.fake_quantize(x) * 2.0**power) == 0
    assert differences(fmt.fake_quantize(x * 1.3), fmt.fake_quantize(x) * 1.3) > 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0.0, 2.0**-149, 2.0**-130, 2.0**-126, torch.finfo(torch.float32).max])
def test_constant_tensors_at_the_ends_of_float32_stay_finite_and_keep_signs(name, value):
    x = value * torch.tensor([1.0, -1.0]).repeat(4, 24)
    fmt = parse_format(name)
    values = fmt.fake_quantize(x)
    assert bool(torch.isfinite(values).all())
    assert torch.equal(torch.signbit(values), torch.signbit(x))
    assert differences(fmt.decode(fmt.encode(x)), values) == 0
    encoded = fmt.encode(x)
    assert float(encoded.metadata["tensor_scale"].min()) >= 2.0**-118
    assert bool((encoded.metadata["scale"] == 0).all()) == (value == 0)
    if value > 1:
        assert torch.equal(values, x)


@pytest.mark.parametrize("name", NAMES)
def test_relative_errors_stay_within_a_step_until_the_tensor_scale_meets_its_floor(name):
    fmt = parse_format(name)
    for exponent in range(-149, 127, 4):
        x = torch.full((1, 16), 1.2345678) * 2.0**exponent
        error = float(((fmt.fake_quantize(x) - x) / x).abs().max())
        assert error < 0.07 if exponent >= -121 else error <= 1.0
    assert float((fmt.fake_quantize(x) / x / 1.1 - 1).abs().max()) > 0.07


@pytest.mark.parametrize("name", NAMES)
def test_every_code_under_every_scale_survives_packing_and_decodes_to_its_value(name):
    fmt = parse_format(name)
    scale = torch.arange(127).unsqueeze(0)
    stored = {"code": torch.arange(16).expand(1, 127, 16), "scale": scale, "tensor_scale": torch.tensor(0x3C000000)}
    encoded = fmt.from_stored(stored, torch.Size((1, 127 * 16)))
    assert all(torch.equal(fmt.stored(encoded)[key], stored[key]) for key in stored)
    again = unpack(fmt, pack(fmt, encoded), (1, 127 * 16))
    values = fmt.decode(encoded).view(127, 16)
    assert differences(fmt.decode(again).view(127, 16), values) == 0
    expected = E2M1.values(torch.arange(16)) * (E4M3.values(scale[0]) * 2.0**-7).unsqueeze(-1)
    assert differences(values, expected) == 0


def test_codes_of_values_come_back_where_the_scales_do():
    fmt = parse_format("nvfp4")
    x = torch.tensor([[0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6]]).repeat(1, 8)
    x = (x.view(8, 16) * torch.tensor([448.0, 1, 2, 4, 8, 16, 32, 64]).unsqueeze(1)).view(1, -1)
    assert differences(fmt.fake_quantize(x), x) == 0
    assert fmt.encode(x).codes[0, 3].tolist() == list(range(16))


@pytest.mark.parametrize("name", NAMES)
def test_a_non_finite_value_leaves_no_tensor_scale(name):
    x = torch.randn(3, 40)
    x[1, 7] = torch.inf
    assert bool(parse_format(name).fake_quantize(x).isnan().all())
    with pytest.raises(InputError, match=rf"{name}: cannot encode inf at index \(1, 7\)"):
        parse_format(name).encode(x)


@pytest.mark.parametrize("name", NAMES)
def test_integers_are_the_significands_of_elements_and_scales(name):
    x = torch.randn(8, 80) * torch.logspace(0, -5, 8).unsqueeze(1)
    fmt = parse_format(name)
    form = fmt.integers(fmt.encode(x))
    assert int(form.values.abs().max()) == 12
    assert int(form.multiplier.max()) <= 15
    assert int(form.exponent.min()) == -10
    exact = form.values.double() * (form.multiplier * torch.exp2(form.exponent.double())).unsqueeze(-1)
    exact *= form.row_scale.double()[..., None, None]
    decoded = fmt.fake_quantize(x).double()
    assert bool(((exact.flatten(-2) - decoded).abs() <= 2.0**-23 * decoded.abs()).all())
    assert not bool(((exact.flatten(-2) - decoded * (1 + 2.0**-21)).abs() <= 2.0**-23 * decoded.abs()).all())


@pytest.mark.parametrize("name", NAMES)
def test_no_unit_claims_to_multiply_it(name):
    assert supports(name, name) is None
    assert supports("int8-e8m0", name) is None
    assert supports("int8-e8m0", "bitmod4") == "bitmod"


@pytest.mark.parametrize("name", NAMES)
def test_the_ledger_counts_one_tensor_scale(name):
    assert parse_format(name).bits((10, 300)) == 10 * 19 * (64 + 8) + 32
    assert parse_format(name).bits((300, 10), axis=0) == 10 * 19 * (64 + 8) + 32
