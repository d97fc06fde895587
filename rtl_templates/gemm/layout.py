"""Where every code, scale and result lies: in memory words, in beats of the input stream, in beats of the output.

Index expressions, with L lanes, C columns, R rows, b bits a code and A bits an accumulator:

- weights: word ``column tile * chunks + chunk``, code of (column, lane) at ``[(column*L + lane)*b +: b]``
- metadata: word ``column tile * groups + group``, fields of a column at ``[column*f +: f]``
- x beat: ``row tile, chunk``, code of (row, lane) at ``[(row*L + lane)*b +: b]``, then per-row fields
- y beat: ``row tile, column tile, row``, accumulator of a column at ``[column*A +: A]``

All functions are vectorised over numpy integers; words become Python ints (of any width) at the end.
"""

from typing import Any

import numpy as np

from mxhw.errors import InputError

__all__ = ["Array", "column_words", "output_matrix", "pad", "tile_rows", "tile_weights", "word_ints"]

Array = np.ndarray[Any, Any]


def pad(values: Any, sizes: tuple[int, int], what: str) -> Array:
    """Return ``values`` [rows, columns] zero-padded to ``sizes``; InputError if it is larger."""
    array = np.asarray(values)
    if array.ndim != 2 or array.shape[0] > sizes[0] or array.shape[1] > sizes[1]:
        raise InputError(f"{what} must have a shape of at most {sizes}, not {array.shape}")
    return np.pad(array, [(0, size - have) for size, have in zip(sizes, array.shape, strict=True)])


def tile_weights(codes: Array, columns: int, lanes: int) -> Array:
    """[N, K] codes, whole tiles, as [column tiles * chunks, columns * lanes] fields of words."""
    tiles, chunks = codes.shape[0] // columns, codes.shape[1] // lanes
    blocks = codes.reshape(tiles, columns, chunks, lanes).transpose(0, 2, 1, 3)
    return blocks.reshape(tiles * chunks, columns * lanes)


def column_words(values: Array, columns: int) -> Array:
    """[N, groups] values, whole tiles, as [column tiles * groups, columns] fields of words."""
    tiles, groups = values.shape[0] // columns, values.shape[1]
    return values.reshape(tiles, columns, groups).transpose(0, 2, 1).reshape(tiles * groups, columns)


def tile_rows(values: Array, rows: int, lanes: int) -> Array:
    """[M, K] values, whole tiles, as [row tiles * chunks, rows * lanes] fields of beats."""
    return tile_weights(values, rows, lanes)


def word_ints(fields: Array, bits: int) -> list[int]:
    """Pack [words, n] unsigned fields into one int each, field j at ``[j*bits +: bits]``."""
    unsigned = np.asarray(fields).astype(np.uint64) & np.uint64((1 << bits) - 1)
    planes = (unsigned[..., None] >> np.arange(bits, dtype=np.uint64)).astype(np.uint8) & 1
    packed = np.packbits(planes.reshape(len(unsigned), -1), axis=-1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def output_matrix(beats: list[int], rows: int, columns: int, column_tiles: int, width: int) -> Array:
    """Return the accumulators of whole row tiles, [row tiles * rows, column tiles * columns] Python ints."""
    sign, mask = 1 << (width - 1), (1 << width) - 1
    flat = [((beat >> c * width & mask) ^ sign) - sign for beat in beats for c in range(columns)]
    tiles = len(beats) // (rows * column_tiles)
    array = np.array(flat, dtype=object).reshape(tiles, column_tiles, rows, columns)
    return array.transpose(0, 2, 1, 3).reshape(tiles * rows, column_tiles * columns)
