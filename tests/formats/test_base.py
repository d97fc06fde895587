"""What every format promises: the direct path equals decode(encode), axes, dtypes, non-finite blocks, integer forms."""

import dataclasses

import pytest
import torch

from mxhw.errors import InputError
from mxhw.formats import kernels, known_formats, parse_format
from mxhw.formats.layout import CHUNK_ELEMENTS, BlockLayout
from tests.formats.draws import bits, differences, hard_rows

NAMES = [
    *("fp32", "bf16", "fp16", "int8", "int4-g32", "int3-g16-asym", "int4-asym", "int8-tensor", "int6-asym-tensor"),
    *("int8-e8m0", "int2-e8m0", "int4-g32-e8m0", "int4-g32-s8", "int6-g32-asym-s8", "int4-sf32", "int4-g16-sbf16"),
    *("fp8-e4m3", "fp8-e5m2-g24", "fp8-e4m3-tensor", "fp8-e5m2-sf16", "fp8-e4m3-unscaled", "fp8-e5m2-unscaled"),
    *("mxfp4", "mxfp6-e2m3", "mxfp6-e3m2", "mxfp8-e4m3", "mxfp8-e5m2", "mxint8", "mxint4", "mxint2"),
    *("mxfp4-b16", "mxfp8-e4m3-rceil", "mxfp4-even", "mxint8-ceil", "mxint4-mse", "mxint4-b4x8", "mxfp4-b2x16-mse"),
    *("bitmod3", "bitmod4", "bitmod4-sf32", "bitmod3-sf16", "bitmod3-sv8", "bitmod4-clip", "bitmod4-g16-sf16"),
    *("bitmod3-oneterm-clip-g64", "dialect4-search", "dialect4-search-b16"),
    *("dialect4", "dialect4-b16", "dialect4-b64", "dialect4-online", "dialect4-online-b16"),
    *("nvfp4", "nvfp4-46", "razer", "razer-online", "nf4-g64", "nf4-g32-sf16", "nf4-g64-sbf16", "nf4-g16-s8"),
]
# What one scale per tensor does with a non-finite value is in its own tests: it leaves no scale for any block.
PER_TENSOR = [name for name in NAMES if any(field.per == "tensor" for field in parse_format(name).fields)]
BLOCKED = [name for name in NAMES if (parse_format(name).block or 1) > 1 and name not in PER_TENSOR]
EXACT = [name for name in NAMES if parse_format(name).has_integer_form]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_fake_quantize_equals_decode_of_encode_bit_for_bit(name, dtype):
    fmt = parse_format(name)
    x = hard_rows(140, seed=10, repeats=1).clamp(-torch.finfo(dtype).max, torch.finfo(dtype).max).to(dtype)
    values = fmt.fake_quantize(x)
    assert values.dtype == dtype
    assert bool(torch.isfinite(values).all())
    assert differences(values, fmt.decode(fmt.encode(x))) == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("shape", "axis"), [((3, 50, 4), 1), ((70, 6), 0), ((2, 3, 5, 33), -2), ((40,), 0)])
def test_any_axis_equals_the_last_axis_of_the_transposed_tensor(name, shape, axis):
    fmt = parse_format(name)
    x = torch.randn(shape)
    rows = x.movedim(axis, -1).contiguous()
    expected = fmt.fake_quantize(rows).movedim(-1, axis)
    encoded, reference = fmt.encode(x, axis), fmt.encode(rows)
    assert differences(fmt.fake_quantize(x, axis), expected) == 0
    assert differences(fmt.decode(encoded), expected) == 0
    assert encoded.codes.tolist() == reference.codes.tolist()
    assert differences(encoded.scales, reference.scales) == 0
    assert encoded.metadata.keys() == reference.metadata.keys()
    assert all(encoded.metadata[key].tolist() == reference.metadata[key].tolist() for key in encoded.metadata)


@pytest.mark.parametrize("name", NAMES)
def test_the_shapes_and_dtypes_of_an_encoding_are_the_documented_ones(name):
    fmt = parse_format(name)
    encoded = fmt.encode(torch.randn(3, 100, 2), axis=1)
    block = fmt.block or 100
    blocks = -(-100 // block)
    rows, block = -(-2 // fmt.tile_rows), block * fmt.tile_rows
    assert encoded.codes.shape == (3, rows, blocks, block)
    assert not encoded.codes.is_floating_point()
    assert encoded.scales.shape == (3, rows, blocks)
    assert encoded.scales.dtype == torch.float32
    shapes = {"element": (3, rows, blocks, block), "block": (3, rows, blocks), "row": (3, rows), "tensor": ()}
    stored = fmt.stored(encoded)
    assert list(stored) == [field.name for field in fmt.fields]
    for field in fmt.fields:
        assert stored[field.name].shape == shapes[field.per]
        assert stored[field.name].dtype == torch.int64
        assert int(stored[field.name].min()) >= 0
        assert int(stored[field.name].max()) < 1 << field.bits


@pytest.mark.parametrize("name", EXACT)
def test_the_integer_form_is_the_decoded_value(name):
    fmt = parse_format(name)
    x = hard_rows(140, seed=11, repeats=1)
    encoded = fmt.encode(x)
    form = fmt.integers(encoded)
    assert form.values.dtype == form.multiplier.dtype == form.exponent.dtype == torch.int32
    scaled = form.values.double() * form.multiplier.double().unsqueeze(-1)
    value = scaled * torch.exp2(form.exponent.double()).unsqueeze(-1) * form.row_scale.double()[..., None, None]
    limit = torch.finfo(torch.float32).max
    value = value.flatten(-2)[:, :140].clamp(-limit, limit)
    decoded = fmt.decode(encoded).double()
    # One rounding to float32 per product: of multiplier and row scale, and of their product and the value.
    assert bool(((decoded - value).abs() <= value.abs() * 2.0**-22 + 2.0**-149 * 300).all())
    assert not bool(((decoded * 1.01 - value).abs() <= value.abs() * 2.0**-22 + 2.0**-149 * 300).all())


@pytest.mark.parametrize("name", BLOCKED)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_non_finite_value_makes_its_block_nan_and_no_other(name, bad):
    fmt = parse_format(name)
    block, top = fmt.block, 2 // fmt.tile_rows * fmt.tile_rows
    x = torch.randn(8, 3 * block)
    x[2, block + 3] = bad
    values = fmt.fake_quantize(x)
    hit = torch.zeros_like(x, dtype=torch.bool)
    hit[top : top + fmt.tile_rows, block : 2 * block] = True
    assert bool(values[hit].isnan().all())
    assert bool(values[~hit].isfinite().all())
    others = ~hit.any(-1)
    assert differences(values[others], fmt.fake_quantize(x[others])) == 0


@pytest.mark.parametrize("name", NAMES)
def test_encode_names_the_first_value_that_is_not_finite(name):
    x = torch.randn(3, 64)
    x[1, 40] = torch.inf
    x[2, 3] = torch.nan
    with pytest.raises(InputError, match=rf"{name}: cannot encode inf at index \(1, 40\)"):
        parse_format(name).encode(x)
    assert bool(parse_format(name).fake_quantize(x)[1, 40].isnan())


@pytest.mark.parametrize("name", NAMES)
def test_out_is_filled_even_if_it_is_the_input_or_has_gaps(name):
    fmt = parse_format(name)
    x = torch.randn(6, 80)
    expected = fmt.fake_quantize(x)
    gaps = torch.empty(80, 6).t()
    assert fmt.fake_quantize(x, out=gaps) is gaps
    assert differences(gaps, expected) == 0
    same = x.clone()
    fmt.fake_quantize(same, out=same)
    assert differences(same, expected) == 0
    assert differences(x[:, ::2], x[:, ::2]) == 0
    assert differences(fmt.fake_quantize(x[:, ::2]), fmt.fake_quantize(x[:, ::2].contiguous())) == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("axis", [0, 1])
def test_the_walk_in_chunks_changes_nothing(name, axis, monkeypatch):
    x = torch.randn(90, 60)
    fmt = parse_format(name)
    whole = fmt.fake_quantize(x, axis)
    monkeypatch.setattr("mxhw.formats.layout.CHUNK_ELEMENTS", 1000)
    with kernels.use("torch"):
        assert differences(fmt.fake_quantize(x, axis), whole) == 0
    assert differences(fmt.decode(fmt.encode(x, axis)), whole) == 0


@pytest.mark.parametrize("whole_rows", [False, True])
@pytest.mark.parametrize(("shape", "axis"), [((3000, 500), 1), ((500, 3000), 0), ((2, 70, 300, 64), 2), ((10**6,), 0)])
def test_chunks_cover_every_block_once(shape, axis, whole_rows):
    layout = BlockLayout.of(torch.Size(shape), axis, 32)
    seen = torch.zeros(layout.outer, layout.inner, layout.blocks, dtype=torch.uint8)
    for index in layout.chunks(whole_rows):
        seen[index] += 1
        assert seen[index].numel() * 32 <= 2 * CHUNK_ELEMENTS or whole_rows
        assert not whole_rows or seen[index].shape[2] == layout.blocks
    assert seen.unique().tolist() == [1]


@pytest.mark.parametrize("name", NAMES)
def test_padding_costs_bits_but_changes_no_value(name):
    fmt = parse_format(name)
    x = torch.randn(5, 70)
    block = fmt.block or 70
    padded = torch.nn.functional.pad(x, (0, -70 % block))
    assert differences(fmt.fake_quantize(padded)[:, :70].contiguous(), fmt.fake_quantize(x)) == 0
    assert fmt.bits(x.shape) == fmt.bits(padded.shape)


def test_a_tensor_without_data_gives_one_of_its_shape():
    y = parse_format("mxfp4").fake_quantize(torch.empty(4, 33, dtype=torch.bfloat16, device="meta"))
    assert (y.shape, y.dtype, y.device.type) == ((4, 33), torch.bfloat16, "meta")


def test_wrong_arguments_are_named():
    with pytest.raises(InputError, match="x must be a tensor, not list"):
        parse_format("mxfp4").fake_quantize([1.0, 2.0])
    fmt = parse_format("mxfp4")
    with pytest.raises(InputError, match=r"mxfp4: axis 2 does not exist in shape \(3, 4\)"):
        fmt.fake_quantize(torch.ones(3, 4), axis=2)
    with pytest.raises(InputError, match=r"float32, bfloat16 or float16, not torch\.float64"):
        fmt.encode(torch.ones(3, dtype=torch.float64))
    with pytest.raises(InputError, match=r"out must be torch.float32 \(3, 4\) like x"):
        fmt.fake_quantize(torch.ones(3, 4), out=torch.ones(4, 3))
    with pytest.raises(InputError, match="axis 1 does not exist"):
        fmt.bits((4,), axis=1)
    with pytest.raises(InputError, match="empty tensor"):
        fmt.encode(torch.ones(0, 4))


def test_an_empty_tensor_stays_empty_and_costs_nothing():
    assert parse_format("bitmod4").fake_quantize(torch.ones(0, 4)).shape == (0, 4)
    assert parse_format("bitmod4").bits((0, 4)) == 0


@pytest.mark.parametrize("name", NAMES)
def test_formats_are_frozen_hashable_and_equal_by_value(name):
    fmt = parse_format(name)
    assert fmt == dataclasses.replace(fmt)
    assert hash(fmt) == hash(dataclasses.replace(fmt))
    assert fmt != parse_format("int7-g3")
    assert str(fmt) == fmt.name == name
    with pytest.raises(dataclasses.FrozenInstanceError):
        fmt.anything = 1


def test_the_comparison_sees_a_single_bit_and_the_sign_of_zero():
    x = torch.randn(4, 4)
    y = x.clone()
    bits(y)[2, 2] ^= 1
    assert differences(x, y) == 1
    assert differences(torch.zeros(2), -torch.zeros(2)) == 2


def test_every_family_is_listed():
    assert len(known_formats()) >= 7
