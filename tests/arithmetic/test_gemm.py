"""The integer GEMM: equal to exact rational arithmetic on decoded values, to golden vectors, whatever the tiling."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from mxhw.arithmetic import DynamicHardwareGemm, HardwareGemm, gemm, gemm_accumulators, supports, weight_exponents
from mxhw.errors import InputError
from mxhw.formats import IntegerForm, parse_format

PAIRS = [
    ("int8-e8m0", "int8"),
    ("int8-e8m0", "int8-e8m0"),
    ("int8-e8m0", "int6"),
    ("int6-e8m0", "int5-tensor"),
    ("int8-e8m0", "int4-g128-s8"),
    ("int8-e8m0", "bitmod4"),
    ("int8-e8m0", "bitmod3"),
    ("int8-e8m0", "bitmod4-clip"),
    ("int8-e8m0", "bitmod3-clip-g64"),
    ("dialect4-online", "dialect4"),
    ("dialect4-online-b16", "dialect4-online-b16"),
    ("dialect4-b64", "dialect4-b64"),
    ("dialect4-online", "dialect4-search"),
]


def encode(x: torch.Tensor, name: str) -> IntegerForm:
    fmt = parse_format(name)
    return fmt.integers(fmt.encode(x))


def rational(form: IntegerForm) -> list[list[Fraction]]:
    """Rows of exact values, row scales included."""
    rows = []
    for values, multipliers, exponents, scale in zip(*(t.tolist() for t in vars(form).values()), strict=True):
        blocks = zip(values, multipliers, exponents, strict=True)
        rows.append([Fraction(scale) * v * m * Fraction(2) ** e for block, m, e in blocks for v in block])
    return rows


def oracle(x: IntegerForm, w: IntegerForm) -> list[list[Fraction]]:
    columns = rational(w)
    return [[sum(a * b for a, b in zip(row, column, strict=False)) for column in columns] for row in rational(x)]


def wild(rows: int, k: int) -> torch.Tensor:
    """Rows of very different sizes with outliers, a zero row and a block of zeros."""
    x = torch.randn(rows, k) * torch.exp2(torch.randint(-6, 7, (rows, 1)))
    x[0], x[-1, : k // 2] = 0, 0
    x[1, k // 3] = 300.0
    return x


@pytest.mark.parametrize(("x_format", "w_format"), PAIRS)
@pytest.mark.parametrize("k", [24, 200])
def test_the_gemm_is_the_exact_sum_converted_once(x_format, w_format, k):
    x, w = wild(4, k), wild(3, k) / 8
    a, b = encode(x, x_format), encode(w, w_format)
    unit = supports(x_format, w_format)
    accumulators = gemm_accumulators(a, b, unit)
    y = gemm(x, w, x_format, w_format)
    assert y.dtype == torch.float32 and y.shape == (4, 3)
    for m, row in enumerate(oracle(a, b)):
        for n, exact in enumerate(row):
            assert float(y[m, n]) == pytest.approx(float(exact), rel=2**-23, abs=0)
            outside = (
                Fraction(float(a.row_scale[m])) * Fraction(float(b.row_scale[n])) * Fraction(2) ** accumulators.exponent
            )
            if unit == "bitmod":
                outside *= Fraction(2) ** int(a.exponent[m, 0] + b.exponent[n, 0])
            assert accumulators.objects()[m, n] * outside == exact


@pytest.mark.parametrize(("x_format", "w_format"), PAIRS)
def test_the_modules_equal_the_function_bit_for_bit(x_format, w_format):
    x, w = torch.stack([wild(5, 160), wild(5, 160)]), wild(6, 160)
    expected = gemm(x, w, x_format, w_format)
    assert expected.shape == (2, 5, 6)
    assert torch.equal(HardwareGemm(w, x_format, w_format)(x), expected)
    dynamic = DynamicHardwareGemm(x_format, w_format, w_axis=-2)
    assert torch.equal(dynamic(x, w.mT.contiguous()), expected)


@pytest.mark.parametrize(("x_format", "w_format"), [PAIRS[5], PAIRS[8], PAIRS[9]])
def test_any_split_along_k_gives_the_same_accumulators(x_format, w_format):
    a, b = encode(wild(4, 512), x_format), encode(wild(3, 512), w_format)
    unit = supports(x_format, w_format)
    whole = gemm_accumulators(a, b, unit).objects()

    def part(form: IntegerForm, first: int, last: int) -> IntegerForm:
        pieces = form.values.flatten(-2).unflatten(-1, (4, 128))[..., first:last, :].flatten(-2)
        ratio = form.multiplier.shape[-1]
        if ratio == 1:
            return IntegerForm(pieces[..., None, :], form.multiplier, form.exponent, form.row_scale)
        blocks = slice(first * ratio // 4, last * ratio // 4)
        pieces = pieces.unflatten(-1, (blocks.stop - blocks.start, -1))
        return IntegerForm(pieces, form.multiplier[..., blocks], form.exponent[..., blocks], form.row_scale)

    total = 0
    for first, last in ((0, 1), (1, 3), (3, 4)):
        piece = gemm_accumulators(part(a, first, last), part(b, first, last), unit)
        low = weight_exponents(part(b, first, last))[0] - weight_exponents(b)[0] if unit == "dialect" else 0
        total = total + piece.objects() * 2**low
    assert (total == whole).all()


def test_dialect_accumulators_of_the_widest_exponents_exceed_64_bits_and_stay_exact():
    exponents = torch.tensor([[-16, 15]]).int()
    form = IntegerForm(torch.full((1, 2, 32), 15).int(), torch.ones(1, 2).int(), exponents, torch.ones(1))
    other = IntegerForm(-form.values, form.multiplier, form.exponent, form.row_scale)
    result = gemm_accumulators(form, other, "dialect")
    assert result.objects()[0, 0] == -7200 * (2**62 + 1)
    assert result.float64()[0, 0] == float(-7200 * (2**62 + 1))
    assert result.exponent == -32


def test_golden_dialect_dot_products(shared):
    golden = {name: np.load(shared / "golden/dialect" / f"{name}.npy") for name in (
        "a_codes", "a_dialect", "a_exp", "w_codes", "w_dialect", "w_exp", "table_half_units", "dot_int", "dot_value"
    )}  # fmt: skip

    def form(which: str) -> IntegerForm:
        codes = golden[f"{which}_codes"].astype(int)
        half_units = np.take_along_axis(
            golden["table_half_units"][golden[f"{which}_dialect"]].astype(int), codes & 7, 1
        )
        values = torch.tensor(np.where(codes > 7, -half_units, half_units)).int()[:, None]
        exponent = torch.tensor(golden[f"{which}_exp"].astype(int) - 16).int()[:, None]
        return IntegerForm(values, torch.ones(64, 1).int(), exponent, torch.ones(64))

    a, w = form("a"), form("w")
    result = gemm_accumulators(a, w, "dialect")
    i, j = np.arange(64), (np.arange(64) + 1) % 64
    values = result.float64()[i, j].numpy() * 2.0**result.exponent
    assert (values == golden["dot_value"]).all()
    floor = weight_exponents(w)[0]
    shift = golden["a_exp"][i].astype(int) + golden["w_exp"][j].astype(int) - floor
    expected = [int(d) << int(s) for d, s in zip(golden["dot_int"], shift, strict=True)]
    assert result.objects()[i, j].tolist() == expected


@pytest.mark.parametrize("width", [3, 4])
def test_golden_bitmod_groups(shared, width):
    golden = np.load(shared / "golden/bitmod" / f"pe_vectors_w{width}.npz")
    acts = torch.tensor(golden["act"].astype(np.float64) * 2**24).int()[:, None]
    assert torch.equal(acts[:, 0].double() * 2.0**-24, torch.tensor(golden["act"].astype(np.float64)))
    ones, zeros = torch.ones(64, 1).int(), torch.zeros(64, 1).int()
    x = IntegerForm(acts, ones, zeros, torch.ones(64))
    codes = torch.tensor(golden["code"].astype(int)).int()[:, None]
    w = IntegerForm(codes, torch.tensor(golden["qscale"].astype(int)).int()[:, None], zeros, torch.ones(64))
    diagonal = np.diagonal(gemm_accumulators(x, w, "bitmod").objects())
    assert [float(Fraction(int(v), 2**24)) for v in diagonal] == golden["dot_scaled"].tolist()
    plain = IntegerForm(codes, ones, zeros, torch.ones(64))
    diagonal = np.diagonal(gemm_accumulators(x, plain, "bitmod").objects())
    assert [float(Fraction(int(v), 2**24)) for v in diagonal] == golden["dot_exact"].tolist()


def test_one_flipped_weight_bit_changes_the_accumulators():
    a, b = encode(wild(4, 128), "int8-e8m0"), encode(wild(3, 128), "bitmod4")
    flipped = b.values.clone()
    flipped[2, 0, 77] += 1
    changed = IntegerForm(flipped, b.multiplier, b.exponent, b.row_scale)
    before, after = (gemm_accumulators(a, w, "bitmod").objects() for w in (b, changed))
    expected = a.values[:, 0, 77] * b.multiplier[2, 0]
    assert expected.any() and (after - before)[:, 2].tolist() == expected.tolist()
    assert (before[:, :2] == after[:, :2]).all()


def test_errors_name_what_does_not_fit():
    x = torch.ones(2, 64)
    with pytest.raises(InputError, match="no hardware unit multiplies mxfp4 inputs by int8 weights"):
        gemm(x, x, "mxfp4", "int8")
    with pytest.raises(InputError, match="exponents of w differ inside a row"):
        w = IntegerForm(torch.ones(1, 2, 32).int(), torch.ones(1, 2).int(), torch.tensor([[0, 1]]), torch.ones(1))
        gemm_accumulators(encode(x, "int8-e8m0"), w, "bitmod")
    with pytest.raises(InputError, match="at most 64 channels, not 65"):
        HardwareGemm(x, "int8-e8m0", "int8")(torch.ones(2, 65))
