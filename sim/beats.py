"""Values of ports as arrays: uint64 [n] (int64 where the shape is signed) up to 64 bits, uint32 [n, words] above.

Words are lowest first. Whatever does not fit is refused, never cut off. Files of beats have one a line, in hex.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mxhw.errors import InputError

__all__ = ["Array", "Values", "pack", "read_beats", "to_ints", "unpack"]

Array = npt.NDArray[Any]
Values = Sequence[int] | Array

_NEWLINE, _NO_DIGIT = ord("\n"), 255
_DIGITS = np.full(256, _NO_DIGIT, np.uint8)
for _text in (b"0123456789abcdef", b"0123456789ABCDEF"):
    _DIGITS[np.frombuffer(_text, np.uint8)] = np.arange(16, dtype=np.uint8)


def pack(values: Values, width: int, signed: bool, what: str) -> Array:
    """Return `values` as patterns of `width` bits: uint64 [n], or uint32 [n, words] above 64 bits.

    Raises
    ------
    InputError
        If one does not fit; the message names `what` and the place.
    """
    array = values if isinstance(values, np.ndarray) else _array(values, what)
    if width > 64 and array.ndim == 2 and array.dtype == np.uint32:
        return _checked_words(array, width, what)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iubO"):
        wide = f" or uint32 [n, {-(-width // 32)}]" if width > 64 else ""
        raise InputError(f"{what} must be integers [n]{wide}, not {array.dtype} {list(array.shape)}")
    low, high = (-(1 << (width - 1)), (1 << (width - 1)) - 1) if signed else (0, (1 << width) - 1)
    if array.size and (int(array.min()) < low or int(array.max()) > high):
        place = next(i for i, value in enumerate(array.tolist()) if not low <= value <= high)
        raise InputError(f"{what} must be integers from {low} to {high}, not {array[place]} (value {place})")
    if width > 64:
        return _words(array.tolist(), width)
    if array.dtype.kind == "O":
        return np.array([value & ((1 << 64) - 1) for value in array.tolist()], np.uint64) & _mask(width)
    return array.astype(np.int64 if array.dtype.kind in "ib" else np.uint64).view(np.uint64) & _mask(width)


def unpack(patterns: Array, width: int, signed: bool) -> Array:
    """Return patterns as values: those of a signed port of up to 64 bits get their sign, as int64."""
    if width > 64 or not signed:
        return patterns
    shift = np.uint64(64 - width)
    return (patterns << shift).view(np.int64) >> shift.astype(np.int64)


def to_ints(values: Array, width: int = 0, signed: bool = False) -> list[int]:
    """Return Python ints of either form; `width` and `signed` say where the sign of wide patterns is."""
    if values.ndim == 1:
        return list(values.tolist())
    stride = 4 * values.shape[1]
    data = np.ascontiguousarray(values).tobytes()
    ints = [int.from_bytes(data[i : i + stride], "little") for i in range(0, len(data), stride)]
    return [value - (value >> (width - 1) << width) for value in ints] if signed else ints


def read_beats(path: Path, width: int, count: int) -> Array:
    """Read `count` patterns of `width` bits from a file with one a line, in hex: uint64 [n], or uint32 [n, words].

    Lines in front that begin with `//` say what the file is.

    Raises
    ------
    InputError
        If the file cannot be read, a line is no number or too wide, or there are more or fewer; names file and line.
    """
    try:
        text = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise InputError(f"cannot read the beats in {path}: {error.strerror}") from error
    while text[:2].tobytes() == b"//":
        text = text[int((text == _NEWLINE).argmax()) + 1 :]
    if text.size and text[-1] != _NEWLINE:
        text = np.append(text, np.uint8(_NEWLINE))
    ends = np.flatnonzero(text == _NEWLINE)
    if len(ends) != count:
        raise InputError(f"{path} has {len(ends)} beats, not {count}")
    lengths = np.diff(ends, prepend=-1) - 1
    digits = _digits(text, ends, lengths)
    wrong = (digits == _NO_DIGIT).any(axis=1) | (lengths == 0)
    wide = -(-width // 4)
    if digits.shape[1] > wide:
        wrong |= digits[:, :-wide].any(axis=1)
        digits = digits[:, -wide:]
    if width % 4 and digits.shape[1] == wide:
        wrong |= digits[:, 0] >> (width % 4) != 0
    if wrong.any():
        line = int(np.flatnonzero(wrong)[0])
        said = text[ends[line] - lengths[line] : ends[line]][:40].tobytes().decode(errors="replace")
        raise InputError(f"{path}, line {line + 1}: a beat must be a hex number of {width} bits, not {said!r}")
    octets = 8 if width <= 64 else -(-width // 32) * 4
    nibbles = np.zeros((count, 2 * octets), np.uint8)
    nibbles[:, 2 * octets - digits.shape[1] :] = digits
    big = nibbles[:, ::2] << 4 | nibbles[:, 1::2]
    return big.view(">u8")[:, 0].astype(np.uint64) if width <= 64 else big.view(">u4")[:, ::-1].astype(np.uint32)


def _digits(text: Array, ends: Array, lengths: Array) -> Array:
    """Return the digits of all lines [lines, longest], padded with zeros in front."""
    longest = int(lengths.max(initial=0))
    if (lengths == longest).all():
        return _DIGITS[text.reshape(len(ends), longest + 1)[:, :-1]]
    digits = np.zeros((len(ends), longest), np.uint8)
    for place in range(1, longest + 1):
        there = lengths >= place
        digits[there, -place] = _DIGITS[text[ends[there] - place]]
    return digits


def _array(values: Sequence[int], what: str) -> Array:
    try:
        array = np.asarray(values)
    except (ValueError, OverflowError) as error:
        raise InputError(f"{what} must be integers: {error}") from error
    # numpy makes floats of ints of mixed sign above 63 bits.
    if array.ndim == 1 and array.dtype.kind == "f" and all(isinstance(value, int) for value in values):
        return np.array(list(values), dtype=object)
    if array.dtype.kind == "O" and not all(isinstance(value, int | np.integer) for value in values):
        raise InputError(f"{what} must be integers")
    return array


def _mask(width: int) -> np.uint64:
    return np.uint64((1 << width) - 1)


def _words(values: list[int], width: int) -> Array:
    stride, mask = -(-width // 32) * 4, (1 << width) - 1
    data = b"".join((value & mask).to_bytes(stride, "little") for value in values)
    return np.frombuffer(data, np.uint32).reshape(-1, stride // 4).copy()


def _checked_words(array: Array, width: int, what: str) -> Array:
    words, spare = -(-width // 32), -width % 32
    if array.shape[1] != words:
        raise InputError(f"{what} must be uint32 [n, {words}] or integers, not {list(array.shape)}")
    wrong: Array = np.flatnonzero(array[:, -1] >> np.uint32(32 - spare)) if spare else np.zeros(0)
    if wrong.size:
        raise InputError(f"{what} must be patterns of {width} bits, not more (value {wrong[0]})")
    return np.ascontiguousarray(array)
