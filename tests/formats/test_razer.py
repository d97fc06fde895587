"""RaZeR: exact oracle, what the special value and the choice promise, six bits of scale, every code, the ledger."""

import pytest
import torch

from mxhw.formats import RAZER_SPECIAL_VALUES, pack, parse_format, unpack
from mxhw.formats.elements import ELEMENT_TYPES
from tests.formats.draws import differences, hard_rows
from tests.formats.test_nvfp4 import errors, mistakes, near_ties, ties

NAMES = ["razer", "razer-online"]
E2M1 = ELEMENT_TYPES["mxfp4"]
# Every value of E3M3 by its code; the 64th is unused.
E3M3 = [m / 32 for m in range(8)] + [(8 + m) / 8 * 2.0**e for e in range(-2, 5) for m in range(8)][:-1]


@pytest.mark.parametrize("name", NAMES)
def test_every_class_of_input_as_its_own_tensor_equals_exact_arithmetic(name):
    assert [mistakes(name, row.unsqueeze(0)) for row in hard_rows(70, repeats=1)] == [0] * len(hard_rows(70, repeats=1))


@pytest.mark.parametrize("name", NAMES)
def test_one_tensor_of_all_classes_and_ties_equal_exact_arithmetic(name):
    reach = parse_format(name).reach
    wide = torch.randn(6, 70) * torch.logspace(0, -4, 6).unsqueeze(1)
    tied = ties(reach)[:20]
    for x in (hard_rows(70, repeats=1), tied, near_ties(reach)[:20], wide, 2.0**-60 * tied[:8]):
        assert mistakes(name, x) == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fault", ["ties", "scale", "order", "last", "special", "unscaled"])
def test_the_exact_oracle_notices_a_planted_fault(name, fault):
    x = near_ties(parse_format(name).reach) if fault == "order" else ties(parse_format(name).reach)
    assert mistakes(name, x, fault) > 0


@pytest.mark.parametrize("name", NAMES)
def test_the_exact_oracle_notices_block_scales_that_stop_at_the_smallest_normal(name):
    x = torch.randn(4, 64) * torch.tensor([1.0, 1e-2, 1e-3, 1e-5]).unsqueeze(1)
    assert mistakes(name, x) == 0
    assert mistakes(name, x, "smallest") > 0


def basic(fmt, x: torch.Tensor) -> torch.Tensor:
    """``x`` on the plain E2M1 grid under the scales that ``fmt`` chose."""
    encoded = fmt.encode(x)
    stored = fmt.scale_type.values(encoded.metadata["scale"]).clamp(min=2.0**fmt.scale_type.step_exponent)
    reciprocal = (1 / encoded.metadata["tensor_scale"].unsqueeze(-1)) / stored
    levels = E2M1.round(x.view(*stored.shape, -1) * reciprocal.unsqueeze(-1))
    return (levels * encoded.scales.unsqueeze(-1)).view(x.shape)


@pytest.mark.parametrize("name", NAMES)
def test_never_errs_more_than_the_plain_grid_under_its_scales(name):
    fmt = parse_format(name)
    x = torch.cat([torch.randn(64, 128), hard_rows(128, repeats=1)])
    for tensor in (x, *(row.unsqueeze(0) for row in x)):
        ours, plain = (errors(values, tensor) for values in (fmt.fake_quantize(tensor), basic(fmt, tensor)))
        # The nearer quotient may be the farther value by a rounding.
        assert bool((ours <= plain * (1 + 1e-6)).all())
    assert float(errors(fmt.fake_quantize(x[:64]), x[:64]).sum()) < 0.9 * float(errors(basic(fmt, x), x)[:512].sum())


def test_the_online_rule_never_errs_more_than_nvfp4():
    x = torch.randn(128, 256)
    online, plain = (errors(parse_format(name).fake_quantize(x), x) for name in ("razer-online", "nvfp4"))
    assert bool((online <= plain * (1 + 1e-6)).all())
    assert float(online.sum()) < 0.75 * float(plain.sum())


@pytest.mark.parametrize("name", NAMES)
def test_the_chosen_special_value_errs_least_of_all(name, monkeypatch):
    fmt, x = parse_format(name), torch.randn(32, 128)
    chosen = errors(fmt.fake_quantize(x), x)
    for special in RAZER_SPECIAL_VALUES[fmt.online]:
        monkeypatch.setitem(RAZER_SPECIAL_VALUES, fmt.online, (special,))
        alone = errors(fmt.fake_quantize(x), x)
        assert bool((chosen <= alone).all())
        assert bool((chosen < alone).any())


@pytest.mark.parametrize(
    ("peak", "elements", "selector", "expected"),
    [
        (6, [4.5, 4.6, 5.4, 5.5, -4.6, 5], 0, [4, 5, 5, 6, -4, 5]),
        (-6, [-4.5, -4.6, -5.4, -5.5, 4.6, -5], 1, [-4, -5, -5, -6, 4, -5]),
        (8, [7.01, 7, 8], 2, [8, 6, 8]),
        (-8, [-7.01, -7, -8], 3, [-8, -6, -8]),
    ],
)
def test_special_values_round_where_they_are_strictly_nearer(peak, elements, selector, expected):
    x = torch.zeros(1, 32)
    x[0, 0], x[0, 16] = 6.0 * 28, peak
    # What no other candidate holds as well, so that the choice is the expected one.
    rest = [peak * 5 / 6] * 5 + [0.5, 1.5, 3, 0.5] if abs(peak) == 6 else [-peak * 6 / 8] * 12
    x[0, 17:] = torch.tensor([*elements, *rest], dtype=torch.float32)
    encoded = parse_format("razer").encode(x)
    assert encoded.metadata["selector"].tolist() == [[0, selector]]
    assert encoded.scales.tolist() == [[28.0, 1.0]]
    assert parse_format("razer").decode(encoded)[0, 17 : 17 + len(elements)].tolist() == expected


def test_scales_of_weights_are_the_63_values_of_six_bits():
    fmt = parse_format("razer")
    assert fmt.scale_type.values(torch.arange(63)).tolist() == E3M3
    assert len(E3M3) == 63
    assert (E3M3[1], E3M3[-1]) == (2.0**-5, 28.0)
    x = torch.randn(64, 256) * torch.logspace(0, -4, 64).unsqueeze(1)
    stored = fmt.stored(fmt.encode(x))["scale"]
    assert set(range(1, 50)) <= set(stored.unique().tolist()) <= set(range(63))
    assert torch.equal(fmt.stored(fmt.encode(0 * x))["scale"], torch.zeros(64, 16, dtype=torch.int64))


@pytest.mark.parametrize("name", NAMES)
def test_zero_becomes_positive_and_the_code_of_minus_zero_is_the_special_value(name):
    fmt = parse_format(name)
    x = -torch.randn(16, 64).relu()
    encoded = fmt.encode(x)
    assert not bool(torch.signbit(fmt.fake_quantize(x)[fmt.fake_quantize(x) == 0]).any())
    assert int((fmt.fake_quantize(x) == 0).sum()) > 100
    special = torch.tensor(RAZER_SPECIAL_VALUES[fmt.online])[encoded.metadata["selector"].long()]
    is_special = encoded.codes == 8
    assert int(is_special.sum()) > 10
    value = fmt.decode(encoded).view(encoded.codes.shape)
    expected = (special * encoded.scales).unsqueeze(-1).expand_as(value)
    assert differences(value[is_special], expected[is_special]) == 0
    assert differences(value[~is_special], expected[~is_special]) > 0


@pytest.mark.parametrize("name", NAMES)
def test_every_code_under_every_scale_and_selector_survives_packing_and_decodes_to_its_value(name):
    fmt = parse_format(name)
    specials, scales = RAZER_SPECIAL_VALUES[fmt.online], 63 if name == "razer" else 127
    blocks = scales * len(specials)
    stored = {
        "code": torch.arange(16).expand(1, blocks, 16),
        "scale": torch.arange(scales).repeat(len(specials)).unsqueeze(0),
        "selector": torch.arange(len(specials)).repeat_interleave(scales).unsqueeze(0),
        "tensor_scale": torch.tensor(0x3C000000),
    }
    encoded = fmt.from_stored(stored, torch.Size((1, blocks * 16)))
    assert all(torch.equal(fmt.stored(encoded)[key], stored[key]) for key in stored)
    values = fmt.decode(unpack(fmt, pack(fmt, encoded), (1, blocks * 16))).view(len(specials), scales, 16)
    elements = E2M1.values(torch.arange(16)).repeat(len(specials), 1)
    elements[:, 8] = torch.tensor(specials)
    scale = fmt.scale_type.values(torch.arange(scales)) * 2.0**-7
    assert differences(values, elements.unsqueeze(1) * scale.unsqueeze(-1)) == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [2.0**-149, 2.0**-130, torch.finfo(torch.float32).max])
def test_constant_tensors_at_the_ends_of_float32_stay_finite(name, value):
    x = value * torch.tensor([1.0, -1.0]).repeat(4, 24)
    fmt = parse_format(name)
    assert bool(torch.isfinite(fmt.fake_quantize(x)).all())
    assert differences(fmt.fake_quantize(x), fmt.decode(fmt.encode(x))) == 0
    assert mistakes(name, x) == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("power", [-60, -1, 5, 80])
def test_scaling_by_a_power_of_two_commutes(name, power):
    x, fmt = torch.randn(64, 96), parse_format(name)
    assert differences(fmt.fake_quantize(x * 2.0**power), fmt.fake_quantize(x) * 2.0**power) == 0
    assert differences(fmt.fake_quantize(x * 1.3), fmt.fake_quantize(x) * 1.3) > 0


@pytest.mark.parametrize("name", NAMES)
def test_it_stores_as_many_bits_as_nvfp4(name):
    fmt = parse_format(name)
    for shape in ((10, 300), (1024, 4096)):
        assert fmt.bits(shape) == parse_format("nvfp4").bits(shape)
    assert {field.name: field.bits for field in fmt.fields if field.per == "block"} == (
        {"scale": 6, "selector": 2} if name == "razer" else {"scale": 7, "selector": 1}
    )
