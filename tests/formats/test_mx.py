"""OCP MX against the golden oracle, torchao and an own exact one; what its rounding promises; every code and tile."""

import re

import numpy as np
import pytest
import torch

from mxhw.errors import InputError
from mxhw.formats import MXFloatFormat, MXIntFormat, kernels, pack, parse_format, unpack
from mxhw.formats.mx import ELEMENT_TYPES, MX_RULES
from tests.formats import oracle
from tests.formats.draws import differences, hard_rows

GOLDEN = {
    "mxfp4": "fp4_e2m1",
    "mxfp6-e2m3": "fp6_e2m3",
    "mxfp6-e3m2": "fp6_e3m2",
    "mxfp8-e4m3": "fp8_e4m3",
    "mxfp8-e5m2": "fp8_e5m2",
    "mxint8": "int8",
    "mxint4": "int4",
}
NAMES = [*ELEMENT_TYPES, *(f"mxint{b}" for b in range(2, 9))]
RULED = [f"{name}-{rule}" for name in NAMES for rule in MX_RULES if rule != "floor"]
BLOCKS = ["mxfp4-b16", "mxint4-b5", "mxfp8-e5m2-b64-mse", "mxfp4-b2x16", "mxint8-b4x4-rceil", "mxfp6-e3m2-b3x8-mse"]
TORCHAO = {
    "mxfp4": torch.float4_e2m1fn_x2,
    "mxfp6-e2m3": "fp6_e2m3",
    "mxfp6-e3m2": "fp6_e3m2",
    "mxfp8-e4m3": torch.float8_e4m3fn,
    "mxfp8-e5m2": torch.float8_e5m2,
}
_NAME = re.compile(r"(mxint\d|mxfp\d(?:-e\dm\d)?)(?:-b(?:(\d+)x)?(\d+))?(?:-(\w+))?")


def exact(name: str, x: torch.Tensor, fault: str = "") -> tuple[torch.Tensor, list[list[int]]]:
    """The oracle's values, and exponents [row_blocks, blocks], of rows; the last tiles of a row may be short."""
    match = _NAME.fullmatch(name)
    assert match is not None
    rows, columns, rule = int(match[2] or 1), int(match[3] or 32), match[4] or "floor"
    values, exponents = torch.full_like(x, torch.nan), []
    for top in range(0, x.shape[0], rows):
        exponents.append([])
        for left in range(0, x.shape[1], columns):
            area = (slice(top, top + rows), slice(left, left + columns))
            tile = torch.zeros(rows, columns)
            high, wide = x[area].shape
            tile[:high, :wide] = x[area]
            block, exponent = oracle.mx(tile.flatten().tolist(), match[1], rule, fault)
            values[area] = torch.tensor(block).view(rows, columns)[:high, :wide]
            exponents[-1].append(exponent)
    return values, exponents


@pytest.mark.parametrize("name", GOLDEN)
def test_values_and_scales_equal_the_golden_oracle(name, shared):
    x = torch.from_numpy(np.load(shared / "golden/mx/input.npy"))
    expected = torch.from_numpy(np.load(shared / f"golden/mx/oracle_{GOLDEN[name]}.npy"))
    fmt = parse_format(name)
    assert int((fmt.fake_quantize(x) != expected).sum()) == 0
    if name in ELEMENT_TYPES:
        scales = np.load(shared / f"golden/mx/oracle_{GOLDEN[name]}_scale_e8m0.npy")
        assert fmt.encode(x).metadata["exponent"].tolist() == scales.tolist()


@pytest.mark.parametrize("name", GOLDEN)
def test_a_single_changed_golden_value_is_noticed(name, shared):
    x = torch.from_numpy(np.load(shared / "golden/mx/input.npy"))
    expected = torch.from_numpy(np.load(shared / f"golden/mx/oracle_{GOLDEN[name]}.npy"))
    expected[40, 17] += 1
    assert int((parse_format(name).fake_quantize(x) != expected).sum()) == 1


@pytest.mark.parametrize("name", NAMES + RULED + BLOCKS)
def test_equals_exact_rational_arithmetic_and_keeps_the_sign_of_zero(name):
    x = hard_rows(70, repeats=1)
    fmt = parse_format(name)
    values, exponents = exact(name, x)
    assert differences(fmt.fake_quantize(x), values) == 0
    with kernels.use("torch"):
        assert differences(fmt.fake_quantize(x), values) == 0
    encoded = fmt.encode(x)
    assert differences(fmt.decode(encoded), values) == 0
    assert (encoded.metadata["exponent"] - 127).tolist() == exponents


@pytest.mark.parametrize("name", NAMES + RULED[:8] + BLOCKS)
def test_the_exact_oracle_notices_ties_that_round_away_from_zero(name):
    x = hard_rows(70, repeats=1)
    step = 2.0 ** -(8 if name.startswith("mxfp8-e4m3") else 6)
    ties = (torch.arange(-70, 70, 2) + 1).unsqueeze(0) * step
    x = torch.cat([x, ties])
    assert differences(parse_format(name).fake_quantize(x), exact(name, x, fault="ties")[0]) > 0


@pytest.mark.parametrize("name", ["mxfp4-mse", "mxint4-mse", "mxfp6-e2m3-b2x16-mse"])
def test_the_first_of_equal_errors_wins_and_the_oracle_notices_the_last(name):
    x = torch.randint(-2, 3, (60, 64)).float()
    exponents = (parse_format(name).encode(x).metadata["exponent"] - 127).tolist()
    assert exponents == exact(name, x)[1]
    assert exponents != exact(name, x, fault="last")[1]


@pytest.mark.parametrize("name", ["mxfp4-mse", "mxint8-mse", "mxfp8-e5m2-b4x8-mse"])
def test_the_estimate_of_the_error_never_overrules_the_exact_sums(name, monkeypatch):
    x = torch.cat([torch.randn(600, 256), torch.randint(-96, 97, (200, 256)) / 8, hard_rows(256, seed=12)])
    quick = parse_format(name).encode(x).metadata["exponent"]
    monkeypatch.setattr("mxhw.formats.mx._SMALLEST_ERROR", 1e30)
    assert torch.equal(parse_format(name).encode(x).metadata["exponent"], quick)
    monkeypatch.setattr("mxhw.formats.mx.first_minimum", lambda possible, errors: 2 * possible[:, 0].long())
    assert not torch.equal(parse_format(name).encode(x).metadata["exponent"], quick)


def peaks_at(threshold: int) -> torch.Tensor:
    """Rows whose largest magnitude is just below, at and above 2^e (1 + threshold / 2^23), e from -149 to 127."""
    rows = []
    for exponent in range(-149, 128):
        for fraction in range(max(0, threshold - 1), min(1 << 23, threshold + 3)):
            rows.append(oracle.power(exponent) * (1 + oracle.Fraction(fraction, 1 << 23)))
    peaks = torch.tensor([float(peak) for peak in rows], dtype=torch.float64).float()
    return torch.cat([peaks.unsqueeze(1), torch.zeros(len(peaks), 31)], 1)


@pytest.mark.parametrize("name", [name for name in NAMES + RULED if not name.endswith("mse")])
def test_the_threshold_of_every_rule_is_exact_to_the_last_bit_of_the_peak(name, monkeypatch):
    fmt = parse_format(name)
    x = peaks_at(fmt._bump_above)
    assert (fmt.encode(x).metadata["exponent"] - 127).tolist() == exact(name, x)[1]
    for wrong in (fmt._bump_above - 1, fmt._bump_above + 1):
        if 0 <= wrong < 1 << 23:
            monkeypatch.setattr(type(fmt), "_bump_above", wrong)
            assert (fmt.encode(x).metadata["exponent"] - 127).tolist() != exact(name, x)[1]


@pytest.mark.parametrize("rule", ["FLOOR", "RCEIL", "CEIL", "EVEN"])
@pytest.mark.parametrize("name", ELEMENT_TYPES)
def test_scales_equal_those_of_torchao(name, rule):
    """Its RCEIL takes the logarithm of a float32 quotient: right for maxima of eight bits, as in bfloat16."""
    torchao = pytest.importorskip("torchao.prototype.mx_formats.mx_tensor", reason="needs torchao")
    mode = getattr(pytest.importorskip("torchao.prototype.mx_formats.config").ScaleCalculationMode, rule)
    x = torch.randn(400, 256) * torch.exp2(torch.randint(-90, 90, (400, 1)).float())
    x[:, ::32] *= 4
    x = x.bfloat16().float() if rule == "RCEIL" else x
    theirs = torchao.to_mx(x, TORCHAO[name], 32, mode)[0].view(torch.uint8).int()
    suffix = "" if rule == "FLOOR" else f"-{rule.lower()}"
    assert torch.equal(parse_format(name + suffix).encode(x).metadata["exponent"], theirs)
    others = [r for r in MX_RULES if r not in (rule.lower(), "mse") and not (rule == "FLOOR" and r == "floor")]
    different = [parse_format(name + f"-{r}" * (r != "floor")).encode(x).metadata["exponent"] for r in others]
    assert not any(torch.equal(exponent, theirs) for exponent in different)


@pytest.mark.parametrize("name", NAMES + RULED + BLOCKS)
def test_quantizing_twice_changes_nothing(name):
    fmt = parse_format(name)
    once = fmt.fake_quantize(hard_rows(64, seed=1))
    assert differences(fmt.fake_quantize(once), once) == 0


@pytest.mark.parametrize("name", NAMES + RULED + BLOCKS)
@pytest.mark.parametrize("power", [-20, -1, 3, 25])
def test_scaling_by_a_power_of_two_commutes(name, power):
    x = torch.randn(64, 96)
    fmt = parse_format(name)
    assert differences(fmt.fake_quantize(x * 2.0**power), fmt.fake_quantize(x) * 2.0**power) == 0
    assert differences(fmt.fake_quantize(x * 1.5), fmt.fake_quantize(x) * 1.5) > 0


@pytest.mark.parametrize("name", NAMES)
def test_the_rule_of_least_error_is_never_worse_than_another(name):
    x = torch.cat([torch.randn(300, 32), torch.randn(300, 32) ** 3]).double()

    def errors(rule: str) -> torch.Tensor:
        values = parse_format(name + rule).fake_quantize(x.float())
        return (values.double() - x.float().double()).square().cumsum(-1)[:, -1]

    least, others = errors("-mse"), [errors(rule) for rule in ("", "-rceil", "-ceil", "-even")]
    assert all(bool((least <= error).all()) for error in others)
    assert any(bool((least < error).any()) for error in others)


@pytest.mark.parametrize("name", NAMES)
def test_at_the_scale_of_rceil_nothing_saturates_and_at_half_of_it_the_largest_does(name):
    x = hard_rows(96, seed=3)
    x = x[(x.abs().amax(-1) > 2.0**-90) & (x.abs().amax(-1) < 2.0**120)]
    fmt = parse_format(f"{name}-rceil")
    top = fmt.encode(x).scales.double() * fmt.type.largest
    peak = x.view(-1, 3, 32).abs().amax(-1).double()
    assert bool((peak <= top).all())
    assert bool((peak > top / 2)[peak > 0].all())


@pytest.mark.parametrize("name", [n for n in NAMES + RULED + BLOCKS if "mxint" not in n])
def test_the_largest_float_never_becomes_infinite(name):
    limit = torch.finfo(torch.float32).max
    x = torch.full((4, 64), limit)
    x[1::2] *= -1
    fmt = parse_format(name)
    values = fmt.fake_quantize(x)
    assert bool(values.isfinite().all())
    assert differences(fmt.decode(fmt.encode(x)), values) == 0
    if name.endswith("ceil"):
        assert differences(values, x) == 0


@pytest.mark.parametrize("name", ELEMENT_TYPES)
def test_every_finite_code_survives_decode_and_encode(name):
    element = ELEMENT_TYPES[name]
    codes = torch.arange(1 << element.bits, dtype=torch.uint8)
    values = element.values(codes)
    finite = values.abs() <= element.largest
    assert element.codes(values)[finite].tolist() == codes[finite].tolist()
    assert differences(element.round(values[finite]), values[finite]) == 0
    assert int(finite.sum()) == {"mxfp8-e4m3": 254, "mxfp8-e5m2": 248}.get(name, 1 << element.bits)


def test_the_element_values_are_those_of_the_standard():
    values = {name: element.values(torch.arange(1 << (element.bits - 1))) for name, element in ELEMENT_TYPES.items()}
    assert values["mxfp4"].tolist() == [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    assert values["mxfp6-e2m3"][[1, 8, 31]].tolist() == [0.125, 1, 7.5]
    assert values["mxfp6-e3m2"][[1, 4, 31]].tolist() == [0.0625, 0.25, 28]
    assert values["mxfp8-e4m3"][[1, 8, 126]].tolist() == [2.0**-9, 2.0**-6, 448]
    assert values["mxfp8-e5m2"][[1, 4, 123]].tolist() == [2.0**-16, 2.0**-14, 57344]


def test_an_element_type_without_int32_values_says_so():
    fmt = parse_format("mxfp8-e5m2")
    assert not fmt.has_integer_form
    with pytest.raises(InputError, match="mxfp8-e5m2"):
        fmt.integers(fmt.encode(torch.ones(1, 32)))


@pytest.mark.parametrize("width", [1, 9])
def test_other_widths_of_mxint_are_refused(width):
    with pytest.raises(InputError, match=f"2 to 8 bits, not {width}"):
        MXIntFormat(width)


@pytest.mark.parametrize(("shape", "axis"), [((3, 50, 21), 1), ((3, 50, 21), 2), ((70, 6), 0), ((40,), 0), ((2, 1), 1)])
def test_tiles_of_any_shape_are_packed_and_counted(shape, axis):
    fmt = parse_format("mxint4-b4x8")
    x = torch.randn(shape)
    encoded = fmt.encode(x, axis)
    vectors = x.movedim(axis, -1)
    high, wide = (1, *vectors.shape)[-2:]
    tiles = -(-high // 4), -(-wide // 8)
    assert encoded.codes.shape == (*shape[:-2], *tiles, 32)
    assert encoded.scales.shape == (*shape[:-2], *tiles)
    assert fmt.bits(shape, axis) == encoded.scales.numel() * (32 * 4 + 8)
    data = pack(fmt, encoded)
    assert len(data) == encoded.scales.numel() * 17
    assert differences(fmt.decode(unpack(fmt, data, shape, axis)), fmt.fake_quantize(x, axis)) == 0
    for matrix, quantized in zip(
        vectors.reshape(-1, high, wide),
        fmt.fake_quantize(x, axis).movedim(axis, -1).reshape(-1, high, wide),
        strict=True,
    ):
        assert differences(quantized.contiguous(), exact("mxint4-b4x8", matrix.contiguous())[0]) == 0


def test_elements_of_a_tile_follow_one_another_vector_by_vector():
    x = torch.arange(1.0, 9.0).view(2, 4)
    encoded = parse_format("mxint8-b2x4").encode(x)
    assert encoded.codes.flatten().tolist() == [8 * k for k in range(1, 9)]
    assert parse_format("mxint8-b2x4").encode(x.t(), axis=0).codes.tolist() == encoded.codes.tolist()
    assert parse_format("mxint8-b2x4").encode(x, axis=0).codes.tolist() != encoded.codes.tolist()


def test_tiles_need_one_of_the_last_two_dimensions():
    x = torch.ones(3, 4, 5)
    for call in (parse_format("mxfp4-b2x8").fake_quantize, parse_format("mxfp4-b2x8").encode):
        with pytest.raises(
            InputError, match=r"blocks of 2x8 lie in the last two dimensions: axis 0 of \(3, 4, 5\) is none"
        ):
            call(x, axis=0)
    assert parse_format("mxfp4-b8").fake_quantize(x, axis=0).shape == x.shape


def test_tiles_have_no_integer_form_for_hardware():
    fmt = parse_format("mxint4-b4x8-rceil")
    assert not fmt.has_integer_form
    with pytest.raises(InputError, match="hardware multiplies blocks of one vector; use mxint4-b8-rceil"):
        fmt.integers(fmt.encode(torch.ones(4, 8)))
    assert parse_format("mxint4-b8-rceil").has_integer_form


@pytest.mark.parametrize(
    ("given", "canonical"),
    [("mxfp4-b32", "mxfp4"), ("mxint4-b1x16", "mxint4-b16"), ("mxint4-b1x32-mse", "mxint4-mse"), ("mxfp4-b2x32", None)],
)
def test_names_have_one_canonical_form(given, canonical):
    assert parse_format(given).name == (canonical or given)
    assert parse_format(parse_format(given).name) == parse_format(given)


def test_other_rules_and_blocks_are_refused():
    with pytest.raises(InputError, match="rule must be one of floor, rceil, ceil, even, mse, not 'round'"):
        MXFloatFormat("mxfp4", rule="round")
    with pytest.raises(InputError, match="1 to 65536 elements, not 1x0"):
        parse_format("mxfp4-b0")
    with pytest.raises(InputError, match="1 to 65536 elements, not 1000x100"):
        parse_format("mxint8-b1000x100")
    with pytest.raises(InputError, match="unknown format 'mxfp4-rceil-b16'"):
        parse_format("mxfp4-rceil-b16")
