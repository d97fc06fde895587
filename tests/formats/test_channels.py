"""Formats by output channel: a run is the part of the tensor that it is, in its own format, and nothing else.

The oracle slices the tensor by hand, run by run, with no code of `mxhw.formats.channels`; it can be made to be wrong.
"""

import random
from collections.abc import Iterator
from dataclasses import replace
from math import ceil, log2

import pytest
import torch
from torch import Tensor

from mxhw.errors import InputError
from mxhw.formats import (
    ChannelGroups,
    Format,
    channel_groups,
    cut_channels,
    formats_in,
    kernels,
    pack,
    packed_layout,
    parse_format,
    runs_of,
    unpack,
)
from tests.formats import test_base
from tests.formats.draws import differences, hard_rows

EXACT = ("bitmod4", "bitmod3", "bitmod4-clip", "int4-g128-s8", "int6-g128-s8")
LOOSE = (
    *("int8", "fp16", "mxfp4", "nvfp4", "int4-tensor", "mxint4-b4x8", "dialect4", "int3-g16-asym", "bitmod3"),
    *("nf4-g32-sf16", "fp8-e4m3-tensor", "razer", "int8-e8m0"),
)
# Shapes that a weight has, the axis of its blocks, and where its channels are.
SHAPES = [
    (("C", 70), -1, 0),
    (("C", 130), 1, 0),
    ((70, "C"), 0, 1),
    ((2, "C", 40), -1, 1),
    ((2, 33, "C"), 1, 2),
    (("C", 33, 2, 3), -3, 0),
    (("C", 20, 2, 2, 2), 1, 0),
]


def drawn_runs(seed: int, pool: tuple[str, ...]) -> list[tuple[str, int]]:
    """Two to five runs of different neighbours, some of one channel."""
    generator = random.Random(seed)
    found: list[tuple[str, int]] = []
    for _ in range(generator.randint(2, 5)):
        name = generator.choice([each for each in pool if not found or each != found[-1][0]])
        found.append((name, generator.choice([1, 2, 3, 5, 8])))
    return found


def named(runs: list[tuple[str, int]]) -> str:
    return "+".join(f"{name}*{count}" for name, count in runs)


def weight(shape: tuple[int | str, ...], runs: list[tuple[str, int]], seed: int) -> Tensor:
    channels = sum(count for _, count in runs)
    sizes = [channels if size == "C" else int(size) for size in shape]
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(sizes, generator=generator) * torch.exp2(torch.randint(-3, 4, sizes, generator=generator))


def cut(x: Tensor, dimension: int, start: int, stop: int) -> Tensor:
    """A part of its own: no view of the whole."""
    return x.index_select(dimension, torch.arange(start, stop)).clone()


def parts(x: Tensor, runs: list[tuple[str, int]], dimension: int, late: int = 0) -> Iterator[tuple[Format, Tensor]]:
    """Each run's format and channels; ``late``: how many channels too late the second one begins."""
    ends = [0]
    for _, count in runs:
        ends.append(ends[-1] + count)
    ends[1] += late
    for (name, _), start, stop in zip(runs, ends, ends[1:], strict=False):
        yield parse_format(name), cut(x, dimension, start, stop)


def oracle(x: Tensor, runs: list[tuple[str, int]], axis: int, dimension: int, late: int = 0) -> Tensor:
    rounded = [fmt.fake_quantize(part, axis) for fmt, part in parts(x, runs, dimension, late) if part.numel()]
    return torch.cat(rounded, dimension)


@pytest.mark.parametrize("pool", [EXACT, LOOSE], ids=["one layout", "any"])
@pytest.mark.parametrize(("shape", "axis", "dimension"), SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_run_is_what_its_format_makes_of_it_alone(pool, shape, axis, dimension, dtype):
    for seed in range(4):
        runs = drawn_runs(seed, tuple(each for each in pool if len(shape) < 4 or each != "mxint4-b4x8"))
        fmt, x = parse_format(named(runs)), weight(shape, runs, seed).to(dtype)
        expected = oracle(x, runs, axis, dimension)
        assert differences(fmt.fake_quantize(x, axis), expected) == 0
        encoded = fmt.encode(x, axis)
        assert (encoded.shape, encoded.dtype, encoded.axis) == (x.shape, dtype, axis % x.dim())
        assert differences(fmt.decode(encoded), expected) == 0
        for (own, part), (other, piece) in zip(runs_of(fmt, encoded), parts(x, runs, dimension), strict=True):
            assert own is other
            assert torch.equal(part.codes, own.encode(piece, axis).codes)
        with kernels.use("torch"):
            assert differences(fmt.fake_quantize(x, axis), expected) == 0


def test_an_oracle_whose_second_run_begins_a_channel_late_is_found_wrong():
    found = 0
    for seed in range(8):
        runs = [(name, count + 1) for name, count in drawn_runs(seed, EXACT[:2])]
        x = weight(("C", 140), runs, seed)
        found += differences(parse_format(named(runs)).fake_quantize(x), oracle(x, runs, -1, 0, late=1)) > 0
    assert found == 8


@pytest.mark.parametrize(("shape", "axis", "dimension"), SHAPES)
def test_bits_are_those_of_the_runs_and_of_the_table(shape, axis, dimension):
    for seed in range(6):
        runs = drawn_runs(seed, ("bitmod4", "int8", "mxfp4", "fp16", "int4-tensor"))
        fmt, x = parse_format(named(runs)), weight(shape, runs, seed)
        channels, kinds = sum(count for _, count in runs), len({name for name, _ in runs})
        table = (len(runs) - 1) * ceil(log2(channels)) + len(runs) * ceil(log2(kinds))
        each = [own.bits(part.shape, axis) for own, part in parts(x, runs, dimension)]
        assert fmt.selection_bits == table
        assert fmt.bits(x.shape, axis) == sum(each) + table


def test_the_table_of_a_weight_of_the_demo_model_is_nine_bits():
    fmt = parse_format("bitmod4*64+bitmod3*64")
    # One end below 128 and a bit for the format of each run.
    assert (fmt.channels, fmt.selection_bits) == (128, 7 + 2)
    groups, rows = 128 * 2, 128
    assert fmt.bits((128, 256)) == 64 * 256 * (4 + 3) + groups * (8 + 2) + rows * 32 + 9


def test_one_run_is_its_format_whose_channels_are_checked():
    fmt, plain = parse_format("bitmod4*6"), parse_format("bitmod4")
    x = hard_rows(140, repeats=1)[:6]
    assert fmt.name == "bitmod4*6"
    assert differences(fmt.fake_quantize(x), plain.fake_quantize(x)) == 0
    assert (fmt.bits(x.shape), fmt.selection_bits) == (plain.bits(x.shape), 0)
    assert pack(fmt, fmt.encode(x)) == pack(plain, plain.encode(x))


@pytest.mark.parametrize("pool", [EXACT, LOOSE], ids=["one layout", "any"])
@pytest.mark.parametrize(("shape", "axis", "dimension"), SHAPES)
def test_packing_loses_nothing_and_is_as_long_as_the_ledger_says(pool, shape, axis, dimension):
    for seed in range(3):
        runs = drawn_runs(seed, tuple(each for each in pool if len(shape) < 4 or each != "mxint4-b4x8"))
        fmt, x = parse_format(named(runs)), weight(shape, runs, seed)
        encoded = fmt.encode(x, axis)
        data, fields = pack(fmt, encoded), packed_layout(fmt, x.shape, axis)
        assert 8 * len(data) - sum(field.padding for field in fields) == fmt.bits(x.shape, axis)
        assert [field.offset for field in fields[1:]] == [field.offset + field.size for field in fields[:-1]]
        assert len({field.name for field in fields}) == len(fields)
        back = unpack(fmt, data, x.shape, axis)
        assert differences(fmt.decode(back), fmt.decode(encoded)) == 0
        assert torch.equal(back.codes, encoded.codes)


def test_data_of_other_runs_are_refused():
    fmt, other = parse_format("bitmod4*3+bitmod3*5"), parse_format("bitmod3*3+bitmod4*5")
    x = torch.randn(8, 128)
    data = bytearray(pack(fmt, fmt.encode(x)))
    assert differences(fmt.decode(unpack(fmt, bytes(data), x.shape)), fmt.fake_quantize(x)) == 0
    data[0] ^= 1  # the end of the first run
    with pytest.raises(InputError, match=r"the table of runs \(end\) in the data is that of other runs"):
        unpack(fmt, bytes(data), x.shape)
    with pytest.raises(InputError, match=r"takes \d+ bytes, not \d+"):
        unpack(other, pack(fmt, fmt.encode(x)), x.shape)
    with pytest.raises(InputError, match="cannot read codes of"):
        other.decode(fmt.encode(x))
    with pytest.raises(InputError, match="are not those of 2 runs of channels"):
        fmt.decode(replace(fmt.encode(x), parts=fmt.encode(x).parts[:1]))


def test_stored_fields_and_integers_are_those_of_the_runs():
    runs = [("bitmod4", 3), ("int4-g128-s8", 4), ("bitmod3", 2)]
    fmt, x = parse_format(named(runs)), weight(("C", 300), runs, 0)
    encoded = fmt.encode(x)
    stored, form = fmt.stored(encoded), fmt.integers(encoded)
    assert encoded.codes.shape == stored["code"].shape == (9, 3, 128)
    assert [(field.name, field.bits) for field in fmt.fields] == [
        *(("code", 4), ("multiplier", 8), ("selector", 2), ("row_scale", 32)),
    ]
    start = 0
    for own, part in parts(x, runs, 0):
        one = own.encode(part)
        rows = slice(start, start + len(part))
        for name, patterns in own.stored(one).items():
            assert torch.equal(stored[name][rows], patterns)
        if "selector" not in own.stored(one):
            assert not bool(stored["selector"][rows].any())
        for name in ("values", "multiplier", "exponent", "row_scale"):
            assert torch.equal(getattr(form, name)[rows], getattr(own.integers(one), name))
        start += len(part)
    back = fmt.from_stored(stored, x.shape)
    assert differences(fmt.decode(back), fmt.decode(encoded)) == 0


@pytest.mark.parametrize("name", ["mxfp4*3+nvfp4*5", "int8*4+int4-g128*4", "bitmod4*4+int4-tensor*4"])
def test_runs_without_one_layout_say_so(name):
    fmt = parse_format(name)
    with pytest.raises(InputError, match=r"have no one shape; pack\(\) stores run by run"):
        fmt.stored(fmt.encode(torch.randn(8, 128)))
    with pytest.raises(InputError, match="has no exact integer form"):
        fmt.integers(fmt.encode(torch.randn(8, 128)))


def test_chosen_channels_keep_their_codes():
    runs = [("bitmod4", 3), ("bitmod3", 4), ("bitmod4", 5), ("int4-g128-s8", 2)]
    fmt, x = parse_format(named(runs)), weight(("C", 200), runs, 1)
    encoded, whole = fmt.encode(x), fmt.fake_quantize(x)
    generator = random.Random(0)
    for _ in range(30):
        channels = generator.sample(range(14), generator.randint(1, 14))
        own, part = cut_channels(fmt, encoded, channels)
        assert differences(own.decode(part), whole[channels]) == 0
        assert set(formats_in(own)) <= set(fmt.formats)
        assert own.has_integer_form
    assert cut_channels(fmt, encoded, [0, 2, 8])[0] is parse_format("bitmod4")
    assert cut_channels(fmt, encoded, [8, 0, 3])[0] == parse_format("bitmod4*2+bitmod3*1")
    own, part = cut_channels(parse_format("int4-g32"), parse_format("int4-g32").encode(x), [5, 1])
    assert differences(own.decode(part), own.fake_quantize(x)[[5, 1]]) == 0


# The promises of every format, on tensors of as many channels.
ROWS = len(hard_rows(1, repeats=1))
HALVES = f"bitmod4*7+bitmod3*{ROWS - 7}"


@pytest.mark.parametrize("name", [HALVES, f"mxfp4*3+dialect4*4+int8*{ROWS - 7}"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_fake_quantize_equals_decode_of_encode(name, dtype):
    test_base.test_fake_quantize_equals_decode_of_encode_bit_for_bit(name, dtype)


def test_the_integer_form_is_the_decoded_value():
    test_base.test_the_integer_form_is_the_decoded_value(HALVES)


@pytest.mark.parametrize("runs", ["bitmod4*1+bitmod3*{}", "mxfp4*1+int8*{}"])
@pytest.mark.parametrize(("shape", "axis"), [((3, 50, 4), 1), ((70, 6), 0), ((2, 3, 5, 33), -2)])
def test_any_axis_equals_the_last_axis(runs, shape, axis):
    channels = shape[2 * len(shape) - 3 - axis % len(shape)]
    test_base.test_any_axis_equals_the_last_axis_of_the_transposed_tensor(runs.format(channels - 1), shape, axis)


def test_other_promises():
    for name in ("bitmod4*1+bitmod3*1", "mxfp4*1+dialect4*1"):
        test_base.test_the_shapes_and_dtypes_of_an_encoding_are_the_documented_ones(name)
        test_base.test_formats_are_frozen_hashable_and_equal_by_value(name)
    for name in ("bitmod4*5+bitmod3*1", "int8*2+mxfp4*4", "fp16*1+int4-tensor*5"):
        test_base.test_out_is_filled_even_if_it_is_the_input_or_has_gaps(name)
    for name in ("bitmod4*2+bitmod3*3", "mxfp4*1+dialect4*4"):
        test_base.test_padding_costs_bits_but_changes_no_value(name)


@pytest.mark.parametrize("axis", [0, 1])
def test_the_walk_in_chunks_changes_nothing(axis, monkeypatch):
    name = f"bitmod4*20+bitmod3*{(40, 70)[axis]}"
    test_base.test_the_walk_in_chunks_changes_nothing(name, axis, monkeypatch)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_non_finite_value_makes_its_block_nan_and_no_other(bad):
    fmt, x = parse_format("bitmod4*2+bitmod3*6"), torch.randn(8, 384)
    whole = fmt.fake_quantize(x)
    x[2, 130] = bad
    values, hit = fmt.fake_quantize(x), torch.zeros(8, 384, dtype=torch.bool)
    hit[2, 128:256] = True
    assert bool(values[hit].isnan().all())
    assert bool(values[~hit].isfinite().all())
    others = [row for row in range(8) if row != 2]
    assert differences(values[others], whole[others]) == 0


def test_encode_names_the_first_value_of_the_whole_that_is_not_finite():
    x = torch.randn(6, 64)
    x[4, 40] = torch.inf
    with pytest.raises(InputError, match=r"bitmod4\*2\+bitmod3\*4: cannot encode inf at index \(4, 40\)"):
        parse_format("bitmod4*2+bitmod3*4").encode(x)


def test_operators_of_torch_and_gradients_take_the_name():
    x = torch.randn(5, 128, requires_grad=True)
    name = "bitmod4*2+bitmod3*3"
    y = torch.ops.mxhw.fake_quantize(x, name, -1)
    assert differences(y.detach(), parse_format(name).fake_quantize(x.detach())) == 0
    parse_format(name).fake_quantize(x).sum().backward()
    assert torch.equal(x.grad, torch.ones(5, 128))
    meta = parse_format(name).fake_quantize(torch.empty(5, 64, device="meta"))
    assert (meta.shape, meta.device.type) == ((5, 64), "meta")


def test_equal_neighbours_are_one_run():
    assert parse_format("bitmod4*3+bitmod4*5+bitmod3*2+bitmod3*1") is parse_format("bitmod4*8+bitmod3*3")
    assert parse_format("int4-g128-s8*2+int4-s8-g128*2").name == "int4-g128-s8*4"
    made = channel_groups([("bitmod4", 3), (parse_format("bitmod4"), 5), ("bitmod3", 3)])
    assert made == parse_format("bitmod4*8+bitmod3*3")
    assert hash(made) == hash(parse_format("bitmod4*8+bitmod3*3"))
    assert parse_format("bitmod4*2+bitmod3*2+bitmod4*2").formats == (parse_format("bitmod4"), parse_format("bitmod3"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bitmod4+bitmod3", r"the run 'bitmod4' is not of the form FORMAT\*CHANNELS\+FORMAT\*CHANNELS, for instance"),
        ("bitmod4*64+", "the run '' is not of the form"),
        ("*64", r"the run '\*64' is not of the form"),
        ("bitmod4*0+bitmod3*4", r"the run 'bitmod4\*0' is not of the form"),
        ("bitmod4*-1", r"the run 'bitmod4\*-1' is not of the form"),
        ("bitmod4*1.5+bitmod3*4", r"the run 'bitmod4\*1.5' is not of the form"),
        ("64*bitmod4", r"the run '64\*bitmod4' is not of the form"),
        ("bitmod4*2*3", r"the run 'bitmod4\*2\*3' is not of the form"),
        ("bitmd4*64+bitmod3*64", "unknown format 'bitmd4'; did you mean 'bitmod4'"),
        ("bitmod4-g7*64", "a group has a multiple of 16"),
    ],
)
def test_a_name_that_is_none_is_refused_in_one_line(name, message):
    with pytest.raises(InputError, match=message) as caught:
        parse_format(name)
    assert "\n" not in str(caught.value)
    assert repr(name) in str(caught.value)


def test_runs_that_are_none_are_refused():
    plain = parse_format("bitmod4")
    for runs, message in (
        ((), "at least one run"),
        (((plain, 0),), "at least 1 channel, not 0"),
        (((plain, 2.0),), "at least 1 channel, not 2.0"),
        (((plain, 2), (plain, 3)), "neighbouring runs of channels are both in bitmod4"),
        (((parse_format("bitmod4*2"), 2),), r"a run of channels has one format, not bitmod4\*2"),
    ):
        with pytest.raises(InputError, match=message):
            ChannelGroups(runs)
    with pytest.raises(InputError, match="at least 1 channel, not -1"):
        channel_groups([("bitmod4", 3), ("bitmod4", -1)])


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_lengths_that_do_not_add_up_name_both_numbers(device):
    fmt = parse_format("bitmod4*3+bitmod3*4")
    for shape, axis, where in (((8, 64), -1, 0), ((64, 6), 0, 1), ((7, 6, 64), -1, 1), ((6, 7, 3, 3), 1, 0)):
        message = rf"the runs have 7 channels, and dimension {where} of shape .* has {shape[where]}; the lengths"
        with pytest.raises(InputError, match=message):
            fmt.fake_quantize(torch.ones(shape, device=device), axis)
        with pytest.raises(InputError, match=message):
            fmt.bits(shape, axis)
    with pytest.raises(InputError, match=r"a tensor of shape \(64,\) has no output channels; use one format"):
        fmt.fake_quantize(torch.ones(64, device=device))
    with pytest.raises(InputError, match=r"shape \(7, 2, 3\) has no output channels"):
        fmt.bits((7, 2, 3), 0)
