"""Bit-packing: the stored fields of a tensor as bytes, and rows of values as words of a memory image.

Fields follow one another in the order of ``format.fields``, each little-endian and bit-packed in row-major order, and
each padded with zero bits to a whole byte: the length in bytes is the sum of ceil(bits / 8) over the fields.
:func:`packed_layout` says where each field is; 8 times the length less its padding is ``format.bits``. Of a tensor with
formats by channel the table of its runs comes first, then the fields of each run.
"""

from dataclasses import dataclass
from math import prod

import numpy as np
import torch

from mxhw.errors import InputError
from mxhw.formats.base import Encoded, Format
from mxhw.formats.channels import ChannelGroups, runs_of

__all__ = ["PackedField", "pack", "pack_words", "packed_layout", "unpack"]

_UNSIGNED = ((8, np.uint8), (16, np.uint16), (32, np.uint32), (64, np.uint64))
# Elements at a time: bits are one byte each on the way.
_CHUNK = 1 << 18


@dataclass(frozen=True)
class PackedField:
    """Where the values of a field are: ``count`` of ``bits`` bits from byte ``offset``, ``size`` bytes in all, of which
    the last ``padding`` bits are zero."""

    name: str
    bits: int
    count: int
    offset: int
    size: int
    padding: int


def packed_layout(format: Format, shape: tuple[int, ...] | torch.Size, axis: int = -1) -> tuple[PackedField, ...]:
    """The fields of a packed tensor of ``shape``, in the order of their bytes.

    Raises
    ------
    InputError
        If ``axis`` does not exist in ``shape``, or ``shape`` is empty.
    """
    if not shape or not -len(shape) <= axis < len(shape) or prod(shape) == 0:
        raise InputError(f"{format.name}: nothing to pack along axis {axis} of shape {tuple(shape)}")
    fields: list[PackedField] = []
    for name, bits, count in _counts(format, torch.Size(shape), axis):
        size = -(-bits * count // 8)
        offset = fields[-1].offset + fields[-1].size if fields else 0
        fields.append(PackedField(name, bits, count, offset, size, 8 * size - bits * count))
    return tuple(fields)


def _counts(format: Format, shape: torch.Size, axis: int) -> list[tuple[str, int, int]]:
    """Name, bits and number of entries of every field; those of runs of channels are numbered, "0.code"."""
    if not isinstance(format, ChannelGroups):
        layout = format.layout(shape, axis % len(shape))
        return [(field.name, field.bits, layout.count(field.per)) for field in format.fields]
    found = [(name, bits, len(entries)) for name, bits, entries in format.table]
    for number, (own, part) in enumerate(format.part_shapes(shape, axis)):
        found += [(f"{number}.{name}", bits, count) for name, bits, count in _counts(own, part, axis)]
    return found


def pack(format: Format, encoded: Encoded) -> bytes:
    """The bytes of ``encoded``: every stored field of ``format``, one after the other.

    Raises
    ------
    InputError
        If ``encoded`` is of another format or was made by another version.
    """
    if isinstance(format, ChannelGroups):
        table = [_pack_bits(np.array(entries), bits) for _, bits, entries in format.table]
        return b"".join([*table, *(pack(own, part) for own, part in runs_of(format, encoded))])
    stored = format.stored(encoded)
    return b"".join(_pack_bits(stored[field.name].cpu().numpy().ravel(), field.bits) for field in format.fields)


def unpack(
    format: Format,
    data: bytes,
    shape: tuple[int, ...] | torch.Size,
    axis: int = -1,
    dtype: torch.dtype = torch.float32,
) -> Encoded:
    """Invert :func:`pack` for a tensor of ``shape`` and ``dtype`` that was encoded along ``axis``.

    Raises
    ------
    InputError
        If ``data`` has not the length that the format and shape ask for, or holds what the format never stores.
    """
    packed = packed_layout(format, shape, axis)
    length = packed[-1].offset + packed[-1].size
    if len(data) != length:
        raise InputError(f"{format.name}: {tuple(shape)} takes {length} bytes, not {len(data)}")
    if isinstance(format, ChannelGroups):
        return _unpack_runs(format, data, torch.Size(shape), axis, dtype)
    layout = format.layout(torch.Size(shape), axis % len(shape))
    lead = tuple(layout.lead)
    shapes = {
        "element": (*lead, layout.blocks, layout.block),
        "block": (*lead, layout.blocks),
        "row": lead,
        "tensor": (),
    }
    stored = {}
    for field, place in zip(format.fields, packed, strict=True):
        values = _unpack_bits(data[place.offset : place.offset + place.size], field.bits, place.count)
        stored[field.name] = torch.from_numpy(values).view(shapes[field.per])
    return format.from_stored(stored, torch.Size(shape), axis, dtype)


def _unpack_runs(format: ChannelGroups, data: bytes, shape: torch.Size, axis: int, dtype: torch.dtype) -> Encoded:
    at, parts = 0, []
    for name, bits, entries in format.table:
        size = -(-bits * len(entries) // 8)
        if tuple(_unpack_bits(data[at : at + size], bits, len(entries)).tolist()) != entries:
            raise InputError(f"{format.name}: the table of runs ({name}) in the data is that of other runs of channels")
        at += size
    for own, part in format.part_shapes(shape, axis):
        last = packed_layout(own, part, axis)[-1]
        parts.append(unpack(own, data[at : at + last.offset + last.size], part, axis, dtype))
        at += last.offset + last.size
    return format.joined(parts, shape, axis, dtype)


def pack_words(values: np.ndarray, bits: int) -> list[str]:
    """Memory words as hexadecimal strings for ``$readmemh``, one per row of ``values``.

    Parameters
    ----------
    values : ndarray, integers [depth, n]
        Only the lowest ``bits`` of each count, so that negative values become two's complement.
    bits : int
        Width of an element, 1 to 64; element j of a row is at ``[j*bits +: bits]`` of its word.

    Returns
    -------
    list of str
        ``depth`` strings of ceil(n * bits / 4) digits.
    """
    if values.ndim != 2 or not np.issubdtype(values.dtype, np.integer) or not 1 <= bits <= 64:
        raise InputError(
            f"words are packed from integers [depth, n] of 1 to 64 bits, not {values.dtype} {values.shape} of {bits}"
        )
    depth, n = values.shape
    if depth == 0 or n == 0:
        return [""] * depth
    width, digits = -(-n * bits // 8), -(-n * bits // 4)
    words: list[str] = []
    for at in range(0, depth, max(1, _CHUNK // n)):
        rows = _bits_of(values[at : at + max(1, _CHUNK // n)], bits)
        packed = np.packbits(rows.reshape(len(rows), n * bits), axis=1, bitorder="little")[:, ::-1]
        text = np.frombuffer(packed.tobytes().hex().encode(), dtype=f"S{2 * width}")
        words += [word[2 * width - digits :] for word in text.astype(str).tolist()]
    return words


def _bits_of(values: np.ndarray, bits: int) -> np.ndarray:
    """The lowest ``bits`` of integers, least significant first, as a new last dimension of uint8."""
    size, dtype = next(entry for entry in _UNSIGNED if bits <= entry[0])
    unsigned = np.ascontiguousarray(values).astype(dtype)
    little = unsigned.astype(unsigned.dtype.newbyteorder("<")).view(np.uint8).reshape(*values.shape, size // 8)
    return np.unpackbits(little, axis=-1, count=bits, bitorder="little")


def _pack_bits(values: np.ndarray, bits: int) -> bytes:
    if bits == 4 and len(values) % 2 == 0:
        nibbles = values.astype(np.uint8) & 15
        return (nibbles[0::2] | (nibbles[1::2] << 4)).tobytes()
    # Chunks of a multiple of 8 elements end at whole bytes.
    chunks = (values[at : at + _CHUNK] for at in range(0, len(values), _CHUNK))
    return b"".join(np.packbits(_bits_of(chunk, bits).ravel(), bitorder="little").tobytes() for chunk in chunks)


def _unpack_bits(data: bytes, bits: int, count: int) -> np.ndarray:
    """Invert :func:`_pack_bits` into int64 [count]."""
    raw = np.frombuffer(data, np.uint8)
    result = np.zeros(count, np.int64)
    for at in range(0, count, _CHUNK):
        n = min(_CHUNK, count - at)
        first = at * bits // 8
        part = raw[first : first + -(-n * bits // 8)]
        columns = np.unpackbits(part, count=n * bits, bitorder="little").reshape(n, bits)
        whole = np.packbits(columns, axis=1, bitorder="little").astype(np.int64)
        result[at : at + n] = sum(whole[:, i] << (8 * i) for i in range(whole.shape[1]))
    return result
