"""What a stream carries on its wires: the payload of a beat, and the beats of the integers of a run.

Token after token, element 0 first, lane 0 lowest; scores and weights of keys come head after head, one beat for each
key that a token sees. Everything is vectorised over numpy arrays.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from amaranth.hdl import Shape, ShapeLike, unsigned
from torch import Tensor

from mxhw.arithmetic.dataflow import (
    BankedScores,
    BlockCodes,
    BlockValues,
    Indices,
    Integers,
    KeyWeights,
    Passes,
    PassValues,
    Requests,
    RequestValues,
    Scores,
    StreamType,
    StreamValue,
    Words,
)
from mxhw.errors import InputError
from mxhw.rtl_templates.control.payloads import index_shape, pass_layout, request_layout
from mxhw.rtl_templates.dataflow.payloads import code_layout, integer_layout
from mxhw.rtl_templates.function.softmax_weights import score_layout, weight_layout
from mxhw.sim.beats import Array

__all__ = [
    "Field",
    "check_value",
    "hex_lines",
    "pack_fields",
    "payload_bits",
    "payload_shape",
    "stream_beats",
    "token_beats",
]

# Elements that are bits for a moment, one byte each.
_CHUNK = 1 << 24
PART_BITS = 32  # of the parts that a run holds of Words


@dataclass(frozen=True)
class Field:
    """Unsigned or two's-complement integers [beats] or [beats, lanes], of which the lowest ``bits`` count."""

    values: Array
    bits: int


def payload_shape(kind: StreamType, lanes: int) -> ShapeLike:
    """Return what a payload of ``lanes`` elements is made of; InputError unless they divide the stream's vector."""
    unit = lane_unit(kind)
    if lanes < 1 or unit % lanes:
        raise InputError(f"lanes must be a divisor of the {unit} elements of {kind}, not {lanes!r}")
    match kind:
        case Integers():
            return integer_layout(kind.bits, lanes)
        case BlockCodes():
            return code_layout(kind, lanes)
        case Indices():
            return unsigned(Shape.cast(range(max(2, kind.count))).width)
        case Scores():
            return score_layout(kind.spec)
        case Requests():
            return request_layout(kind)
        case Passes():
            return pass_layout(kind)
        case Words():
            return unsigned(kind.bits)
        case KeyWeights():
            return weight_layout(kind.spec, kind.most)


def payload_bits(kind: StreamType, lanes: int) -> int:
    """Return the bits of such a payload."""
    return int(Shape.cast(payload_shape(kind, lanes)).width)


def vector_length(kind: StreamType) -> int:
    """Return the elements of a token's vector, padding included; 1 for streams that never have several lanes."""
    if isinstance(kind, Integers):
        return kind.length
    return kind.padded if isinstance(kind, BlockCodes) else 1


def lane_unit(kind: StreamType) -> int:
    """Return what the lanes of a stream divide: a vector, or the block that shares a scale."""
    return kind.block if isinstance(kind, BlockCodes) else vector_length(kind)


def token_beats(kind: StreamType, lanes: int, runs: int, tokens: int) -> int | tuple[int, ...]:
    """Return the beats of a token; one number a token for scores and weights, whose tokens see several keys."""
    if isinstance(kind, Scores | KeyWeights):
        return tuple(kind.heads * min(token + 1, kind.most) for token in range(tokens)) * runs
    return kind.beats if isinstance(kind, Words) else vector_length(kind) // lanes


def stream_beats(value: StreamValue, kind: StreamType, lanes: int = 1) -> Array:
    """Return the beats of a stream's value as the simulation library takes them.

    uint64 [beats] up to 64 bits, uint32 [beats, words] above, words lowest first.
    """
    payload_bits(kind, lanes)
    return pack_fields(_fields(value, kind, lanes))


def check_value(name: str, value: Any, kind: StreamType) -> None:
    """Raise InputError unless ``value`` is one of a stream: its shape, and integers in their range."""
    if isinstance(kind, Requests | Passes):
        _check_control(name, value, kind)
        return
    whole = value.codes if isinstance(value, BlockValues) else value
    length: tuple[int, ...] = ()
    low, high = 0, 0
    match kind:
        case Integers():
            length, high = (kind.length,), (1 << kind.bits - 1) - 1
            low = -high
        case Indices():
            high = kind.count - 1
        case BlockCodes():
            length, high = (kind.blocks, kind.block), (1 << kind.bits - (kind.kind == "integer")) - 1
            low = -high if kind.kind == "integer" else 0
        case _:
            return
    shape = "".join(f", {size}" for size in length)
    fits = (
        isinstance(whole, Tensor)
        and whole.dtype == torch.int64
        and isinstance(value, BlockValues) == (isinstance(kind, BlockCodes))
    )
    if not fits or tuple(whole.shape[2:]) != length or whole.ndim < 2 or not whole.numel():
        given = f"{whole.dtype} {list(whole.shape)}" if isinstance(whole, Tensor) else repr(whole)
        raise InputError(f"the values of {name} must be int64 [batch, tokens{shape}], not {given}")
    if int(whole.min()) < low or int(whole.max()) > high:
        found = f"{int(whole.min())} to {int(whole.max())}"
        raise InputError(f"the values of {name} must be from {low} to {high}, not {found}")


def _check_control(name: str, value: Any, kind: Requests | Passes) -> None:
    """Raise InputError unless every field is one of indices, all of them of one shape."""
    wanted = RequestValues if isinstance(kind, Requests) else PassValues
    if not isinstance(value, wanted):
        raise InputError(f"the values of {name} must be {wanted.__name__}, not {value!r}")
    for field, count in kind.counts.items():
        check_value(f"{name}.{field}", getattr(value, field), Indices(count=count))
    shapes = {field: list(getattr(value, field).shape) for field in kind.counts}
    if any(shape != list(value.shape) for shape in shapes.values()):
        raise InputError(f"the fields of {name} must have one shape, not {shapes}")


def _fields(value: Any, kind: StreamType, lanes: int) -> list[Field]:
    """Return the fields of all beats, in the order of :func:`payload_shape`."""
    match kind:
        case Integers():
            return [Field(_rows(value, lanes), kind.bits)]
        case Requests() | Passes():
            return [Field(_rows(getattr(value, each), 1), index_shape(n).width) for each, n in kind.counts.items()]
        case Indices():
            return [Field(_rows(value, 1), payload_bits(kind, 1))]
        case Words():
            parts = -(-kind.bits // PART_BITS)
            last = kind.bits - (parts - 1) * PART_BITS
            whole = Field(value.reshape(-1, parts)[:, :-1].numpy(), PART_BITS)
            return [whole, Field(value.reshape(-1, parts)[:, -1:].numpy(), last)]
        case BlockCodes():
            shape: Any = code_layout(kind, lanes)
            blocks = {"dialect": value.dialect, "exponent": value.scale}
            repeated = [
                Field(np.repeat(_rows(blocks[name], 1), kind.block // lanes, axis=0), Shape.cast(member).width)
                for name, member in shape.members.items()
                if name != "codes"
            ]
            return [Field(_rows(value.codes, lanes), kind.bits), *repeated]
        case Scores():
            scores, seen = _scores(value, kind)
            return [Field(_seen(scores, seen), kind.spec.score_bits), Field(_last(scores, seen), 1)]
        case KeyWeights():
            spec, seen = kind.spec, value.seen
            return [
                *(Field(_seen(part, seen), spec.weight_bits) for part in (value.weight, value.mantissa)),
                Field(_seen(value.shift, seen), Shape.cast(range(spec.shift_largest + 1)).width),
                Field(_seen(value.weight.cumsum(-1), seen), spec.sum_bits(kind.most)),
                Field(_last(value.weight, seen), 1),
            ]


def _rows(value: Tensor, lanes: int) -> Array:
    return value.reshape(-1, lanes).numpy()


def _scores(value: Tensor | BankedScores, kind: Scores) -> tuple[Tensor, Tensor]:
    """Return scores, and which keys a token sees: those up to its own, and of these the last ones of a window."""
    if isinstance(value, BankedScores):
        return value.scores, value.seen
    tokens, keys = value.shape[-2:]
    before = torch.arange(tokens)[:, None] - torch.arange(keys)
    return value, (before >= 0) & (before < kind.most)


def _seen(value: Tensor, seen: Tensor) -> Array:
    """Return [batch, heads, tokens, keys] in the order of the stream: a key that is not seen has no beat."""
    rows = seen.expand(value.shape).transpose(1, 2)
    return np.asarray(value.transpose(1, 2)[rows].numpy())


def _last(value: Tensor, seen: Tensor) -> Array:
    """Return 1 for the last key that each token sees, 0 for the others."""
    last = seen & (seen.cumsum(-1) == seen.sum(-1, keepdim=True))
    return _seen(last.long().expand(value.shape), seen)


def pack_fields(fields: Sequence[Field]) -> Array:
    """Return words of the fields side by side, the first one lowest: uint64 [n], or uint32 [n, words] above 64 bits."""
    columns = [field.values.reshape(len(field.values), -1) for field in fields]
    width = sum(field.bits * column.shape[1] for field, column in zip(fields, columns, strict=True))
    if width > 64:
        return _wide(fields, columns, width)
    words, at = np.zeros(len(columns[0]), np.uint64), 0
    for field, column in zip(fields, columns, strict=True):
        mask = np.uint64((1 << field.bits) - 1)
        for lane in range(column.shape[1]):
            words |= (column[:, lane].astype(np.int64).view(np.uint64) & mask) << np.uint64(at)
            at += field.bits
    return words


def _wide(fields: Sequence[Field], columns: Sequence[Array], width: int) -> Array:
    n, words = len(columns[0]), -(-width // 32)
    packed = np.zeros((n, words * 4), np.uint8)
    step = max(1, _CHUNK // width)
    for start in range(0, n, step):
        parts = [_bits(column[start : start + step], f.bits) for f, column in zip(fields, columns, strict=True)]
        some = np.packbits(np.concatenate(parts, axis=1), axis=1, bitorder="little")
        packed[start : start + step, : some.shape[1]] = some
    return packed.view("<u4").astype(np.uint32, copy=False)


def _bits(values: Array, bits: int) -> Array:
    """Return the lowest bits of integers [n, lanes] as bytes [n, lanes * bits] of 0 and 1, lowest bit first."""
    if bits > 64:
        raise InputError(f"fields of {bits} bits are not supported, at most 64 are")
    patterns = np.ascontiguousarray(values).astype("<i8").view(np.uint8).reshape(*values.shape, 8)
    return np.unpackbits(patterns, axis=-1, count=bits, bitorder="little").reshape(len(values), -1)


def hex_lines(words: Array, bits: int) -> str:
    """Return words as text for $readmemh and benches, one a line, all of ceil(bits / 4) digits."""
    if not len(words):
        return ""
    digits = -(-bits // 4)
    little = words.astype("<u8") if words.ndim == 1 else np.ascontiguousarray(words).astype("<u4")
    octets = little.view(np.uint8).reshape(len(words), -1)[:, : -(-digits // 2)][:, ::-1]
    nibbles = np.stack([octets >> 4, octets & 15], axis=-1).reshape(len(words), -1)[:, -digits:]
    text = np.full((len(words), digits + 1), ord("\n"), np.uint8)
    text[:, :digits] = _DIGITS[nibbles]
    return text.tobytes().decode("ascii")


_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)
