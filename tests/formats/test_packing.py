"""Packed bytes and memory words: round trips, the ledger's length, the place of every bit."""

import time

import numpy as np
import pytest
import torch

from mxhw.errors import InputError
from mxhw.formats import pack, pack_words, parse_format, unpack
from tests.formats.draws import differences
from tests.formats.test_base import NAMES


@pytest.mark.parametrize("name", [*NAMES, "int5-g7", "int7", "mxint3"])
@pytest.mark.parametrize(("shape", "axis"), [((5, 70), -1), ((33, 3, 2), 0), ((9,), 0)])
def test_packing_loses_nothing_and_is_as_long_as_the_ledger_says(name, shape, axis):
    fmt = parse_format(name)
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
    # Each field is padded to a whole byte: less than 8 bits more per field than the ledger has.
    assert 0 <= 8 * len(data) - fmt.bits(shape, axis) < 8 * len(fmt.fields)


def test_a_flipped_bit_changes_what_is_unpacked():
    fmt = parse_format("dialect4")
    x = torch.randn(4, 64)
    data = bytearray(pack(fmt, fmt.encode(x)))
    data[7] ^= 8
    assert differences(fmt.decode(unpack(fmt, bytes(data), x.shape)), fmt.fake_quantize(x)) == 1


def test_data_of_another_length_is_refused():
    with pytest.raises(InputError, match=r"mxfp4: \(2, 32\) takes 34 bytes, not 33"):
        unpack(parse_format("mxfp4"), b"\0" * 33, (2, 32))


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
