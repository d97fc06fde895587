"""Packed bytes and memory words: round trips, the ledger's length, the place of every bit."""

import dataclasses
import time

import numpy as np
import pytest
import torch

from mxhw.errors import InputError
from mxhw.formats import pack, pack_words, packed_layout, parse_format, unpack
from tests.formats.draws import differences
from tests.formats.test_base import NAMES


@pytest.mark.parametrize("name", [*NAMES, "int5-g7", "int7", "mxint3"])
@pytest.mark.parametrize(("shape", "axis"), [((5, 70), -1), ((33, 3, 2), 0), ((9,), 0)])
def test_packing_loses_nothing_and_is_as_long_as_the_ledger_says(name, shape, axis):
    fmt = parse_format(name)
    if fmt.tile_rows > 1 and axis < len(shape) - 2:
        shape, axis = (3, 33, 2), 1  # two-dimensional blocks lie in the last two dimensions
    encoded = fmt.encode(torch.randn(shape), axis)
    data = pack(fmt, encoded)
    back = unpack(fmt, data, shape, axis)
    assert back.codes.dtype == encoded.codes.dtype
    assert torch.equal(back.codes, encoded.codes)
    assert differences(back.scales, encoded.scales) == 0
    assert back.metadata.keys() == encoded.metadata.keys()
    for key, value in encoded.metadata.items():
        assert back.metadata[key].dtype == value.dtype
        assert torch.equal(back.metadata[key], value)
    assert differences(fmt.decode(back), fmt.decode(encoded)) == 0
    # Each field is padded to a whole byte, and says by how much.
    fields = packed_layout(fmt, shape, axis)
    assert [field.name for field in fields] == [field.name for field in fmt.fields]
    assert all(0 <= field.padding < 8 for field in fields)
    assert 8 * len(data) - sum(field.padding for field in fields) == fmt.bits(shape, axis)
    assert [field.offset for field in fields[1:]] == [field.offset + field.size for field in fields[:-1]]


def test_a_flipped_bit_changes_what_is_unpacked():
    fmt = parse_format("dialect4")
    x = torch.randn(4, 64)
    data = bytearray(pack(fmt, fmt.encode(x)))
    data[7] ^= 8
    assert differences(fmt.decode(unpack(fmt, bytes(data), x.shape)), fmt.fake_quantize(x)) == 1


def test_data_of_another_length_is_refused():
    with pytest.raises(InputError, match=r"mxfp4: \(2, 32\) takes 34 bytes, not 33"):
        unpack(parse_format("mxfp4"), b"\0" * 33, (2, 32))


@pytest.mark.parametrize("name", ["mxfp4", "mxint4-b4x8", "int8-e8m0"])
def test_a_scale_that_is_nan_is_refused(name):
    fmt = parse_format(name)
    data = bytearray(pack(fmt, fmt.encode(torch.randn(2, 32))))
    data[-1] = 255
    with pytest.raises(InputError, match="a scale of 255 in E8M0 means a block of NaN"):
        unpack(fmt, bytes(data), (2, 32))


def test_codes_of_another_format_or_version_are_refused():
    fmt, x = parse_format("mxfp4"), torch.randn(2, 32)
    other = parse_format("mxfp6-e2m3").encode(x)
    old = dataclasses.replace(fmt.encode(x), version=0)
    for read in (fmt.decode, fmt.stored, lambda encoded: pack(fmt, encoded)):
        with pytest.raises(InputError, match=r"mxfp4: cannot read codes of mxfp6-e2m3"):
            read(other)
        with pytest.raises(InputError, match=r"mxfp4: the codes are of version 0, not 1; encode the tensor again"):
            read(old)


def test_an_axis_that_does_not_exist_and_an_empty_shape_are_named():
    for shape, axis in (((2, 32), 2), ((), -1), ((0, 32), -1)):
        with pytest.raises(InputError, match="mxfp4: nothing to pack along axis"):
            unpack(parse_format("mxfp4"), b"", shape, axis)


def test_fields_are_little_endian_bit_streams_one_after_the_other():
    fmt = parse_format("mxfp6-e2m3")
    encoded = fmt.encode(torch.randn(1, 32))
    stream = 0
    for i, code in enumerate(fmt.stored(encoded)["code"].flatten().tolist()):
        stream |= code << (6 * i)
    exponent = int(encoded.metadata["exponent"])
    assert pack(fmt, encoded) == stream.to_bytes(24, "little") + bytes([exponent])


@pytest.mark.parametrize("bits", [1, 3, 4, 5, 6, 8, 9, 10, 16, 32, 33, 64])
@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_words_hold_element_j_at_its_place(bits, n):
    generator = np.random.default_rng(bits)
    values = generator.integers(-(2**62), 2**62, (50, n))
    words = pack_words(values, bits)
    assert {len(word) for word in words} == {-(-n * bits // 4)}
    for row, word in zip(values.tolist(), words, strict=True):
        assert [(int(word, 16) >> (j * bits)) % 2**bits for j in range(n)] == [v % 2**bits for v in row]


def test_words_are_refused_from_anything_but_rows_of_integers():
    for values, bits in ((np.zeros(3, int), 4), (np.zeros((3, 3)), 4), (np.zeros((3, 3), int), 0)):
        with pytest.raises(InputError, match="integers"):
            pack_words(values, bits)
    assert pack_words(np.zeros((2, 0), int), 4) == ["", ""]


def test_packing_is_quick():
    """At least 10 million weights a second where nothing else runs; a tenth of that is asked here."""
    for name in ("bitmod3", "dialect4", "int6-g128-s8"):
        fmt = parse_format(name)
        encoded = fmt.encode(torch.randn(256, 4096))
        start = time.process_time()
        data = pack(fmt, encoded)
        unpack(fmt, data, (256, 4096))
        pack_words(fmt.stored(encoded)["code"].view(-1, 128).numpy(), fmt.fields[0].bits)
        assert time.process_time() - start < 3.0
