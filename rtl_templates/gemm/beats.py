"""A product as the beats of a streamed GEMM unit, and its outputs as a matrix: what software does beside the hardware.

    x, w = block_operands(unit, fmt, fmt.encode(activations), fmt.encode(weights))
    job = make_job(unit, x, w)                       # job.beats: stream → payloads
    accumulators = output_accumulators(unit, job, beats_of_y)

Tile order: row tiles outermost, column tiles inside; both operands of a tile are sent for it alone. K, M and N are
padded with zeros. All is vectorised over numpy integers; payloads are Python ints.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mxhw.arithmetic import SCALE_BITS, array_fields, common_weight_type, weight_type
from mxhw.arithmetic.terms import ACTIVATION_LARGEST
from mxhw.errors import InputError
from mxhw.formats import (
    BitModFormat,
    DialectFormat,
    Encoded,
    Format,
    IntegerForm,
    IntegerFormat,
    MXFloatFormat,
    MXIntFormat,
    formats_in,
)
from mxhw.rtl_templates.checks import require
from mxhw.rtl_templates.gemm.command import MAPPINGS, Command
from mxhw.rtl_templates.gemm.layout import Array, column_words, output_matrix, pad, tile_weights, word_ints
from mxhw.rtl_templates.gemm.streamed import StreamedGemm
from mxhw.rtl_templates.gemm.streamed_bitmod import StreamedBitModGemm
from mxhw.rtl_templates.gemm.streamed_block import StreamedBlockGemm

__all__ = ["Job", "Operand", "bitmod_operands", "block_operands", "make_job", "output_accumulators"]


@dataclass(frozen=True)
class Operand:
    """One side of a product in the bit patterns of a unit.

    Attributes
    ----------
    codes : [vectors, K] patterns; K may end before the last group does.
    chunks : chunks per group.
    scales : [vectors, groups] patterns of the metadata; None where there is none.
    weight_type : number of the type; 0 where there is only one.
    """

    codes: Array
    chunks: int
    scales: Array | None = None
    weight_type: int = 0


@dataclass(frozen=True)
class Job:
    """A product [m, n] as payloads of every input stream.

    Attributes
    ----------
    commands : as few as the unit's limit on tiles allows.
    beats : stream → payloads.
    column_tiles : tiles that cover the n columns.
    """

    m: int
    n: int
    commands: tuple[Command, ...]
    beats: dict[str, list[int]]
    column_tiles: int

    @property
    def mapping(self) -> str:
        """ "gemm" or "gemv"."""
        return MAPPINGS[self.commands[0].mapping]

    @property
    def tiles(self) -> int:
        """Tiles of all commands."""
        return sum(command.tiles for command in self.commands)


def bitmod_operands(unit: StreamedBitModGemm, x: IntegerForm, w_format: Format, w: Encoded) -> tuple[Operand, Operand]:
    """Return int8 activations [M, blocks, block] and weights [N, K] of a serial format as operands.

    Weights without multipliers get groups as long as the unit allows, with multiplier 1.
    """
    kind = _serial_type(w_format)
    fields = w_format.stored(w) if len(formats_in(w_format)) == 1 else array_fields(w_format, w, kind)
    stored = {name: value.numpy() for name, value in fields.items()}
    number = unit.number(kind)
    codes = stored["code"].reshape(len(stored["code"]), -1)
    if "multiplier" in stored:
        chunks = _chunks(unit, w_format.block)
        scales = stored["multiplier"] | stored.get("selector", np.int64(0)) << SCALE_BITS
    else:
        total = -(-codes.shape[1] // unit.lanes)
        groups = -(-total // unit.limits.group_chunks)
        chunks = max(unit.limits.least_chunks(number), -(-total // groups))
        scales = np.ones((len(codes), groups), np.int64)
    values = x.values.flatten(1).numpy()
    largest = int(abs(values).max(initial=0))
    require(largest <= ACTIVATION_LARGEST, "activations", f"codes of at most ±{ACTIVATION_LARGEST}", largest)
    return Operand(values, chunks), Operand(codes, chunks, scales, number)


def block_operands(unit: StreamedBlockGemm, fmt: Format, x: Encoded, w: Encoded) -> tuple[Operand, Operand]:
    """Return x [M, K] and w [N, K], both of one block format, as operands.

    Raises InputError if the format's element is not the unit's, or an exponent of a block that is not zero lies outside
    its window.
    """
    require(_element(fmt) == unit.element.name, "the format", f"one with elements {unit.element.name}", fmt.name)
    sides = (("x", x, unit.x_exponents), ("w", w, unit.w_exponents))
    chunks = _chunks(unit, fmt.block)
    bits = unit.element.selector_bits
    left, right = (_block_operand(name, fmt, encoded, window, chunks, bits) for name, encoded, window in sides)
    return left, right


def make_job(unit: StreamedGemm, x: Operand, w: Operand, mapping: Literal["gemm", "gemv"] = "gemm") -> Job:
    """Return x · wᵀ as beats; InputError if the unit would refuse it."""
    require(mapping == "gemm" or unit.limits.gemv, "mapping", "'gemm' for a unit made without gemv", mapping)
    alone = mapping == "gemv"
    rows, columns = 1 if alone else unit.rows, unit.columns * (unit.rows if alone else 1)
    m, n = len(x.codes), len(w.codes)
    row_tiles, column_tiles = -(-m // rows), -(-n // columns)
    groups = _groups(unit, x, w)
    k = groups * w.chunks * unit.lanes
    commands = _commands(unit, row_tiles * column_tiles, w, groups, MAPPINGS.index(mapping))
    x_fields = tile_weights(pad(x.codes, (row_tiles * rows, k), "x"), rows, unit.lanes)
    w_fields = tile_weights(pad(w.codes, (column_tiles * columns, k), "w"), columns, unit.lanes)
    beats = {
        "command": [unit.limits.beat(command) for command in commands],
        "x": _each(word_ints(x_fields, unit.bits.x), row_tiles, column_tiles),
        "w": word_ints(w_fields, unit.bits.w) * row_tiles,
    }
    if x.scales is not None:
        fields = column_words(pad(x.scales, (row_tiles * rows, groups), "x scales"), rows)
        beats["x_scale"] = _each(word_ints(fields, unit.bits.x_scale), row_tiles, column_tiles)
    if w.scales is not None:
        fields = column_words(pad(w.scales, (column_tiles * columns, groups), "w scales"), columns)
        beats["w_scale"] = word_ints(fields, unit.bits.w_scale) * row_tiles
    return Job(m, n, commands, beats, column_tiles)


def output_accumulators(unit: StreamedGemm, job: Job, beats: Sequence[int]) -> Array:
    """Return the accumulators [m, n], Python ints, that the y payloads of a job carry."""
    alone = job.mapping == "gemv"
    rows, tiles = (1, job.column_tiles * unit.rows) if alone else (unit.rows, job.column_tiles)
    whole = output_matrix(list(beats), rows, unit.columns, tiles, unit.accumulator_width)
    return whole[: job.m, : job.n]


def _commands(unit: StreamedGemm, tiles: int, w: Operand, groups: int, mapping: int) -> tuple[Command, ...]:
    most = unit.limits.tiles
    counts = [most] * (tiles // most) + [tiles % most] * (tiles % most > 0)
    return tuple(
        Command(chunks=w.chunks, groups=groups, tiles=count, weight_type=w.weight_type, mapping=mapping)
        for count in counts
    )


def _groups(unit: StreamedGemm, x: Operand, w: Operand) -> int:
    """Return the groups that cover K, which both operands must agree on as far as they say."""
    said = {operand.scales.shape[1] for operand in (x, w) if operand.scales is not None}
    require(len(said) == 1 and x.chunks == w.chunks, "x and w", "of equally many groups of one length", said)
    return said.pop()


def _each(words: list[int], tiles: int, times: int) -> list[int]:
    """Return the words of every tile ``times`` times over, tile by tile."""
    length = len(words) // tiles
    return [word for i in range(tiles) for word in words[i * length : (i + 1) * length] * times]


def _chunks(unit: StreamedGemm, block: int | None) -> int:
    if block is None or block % unit.lanes:
        raise InputError(f"a block must be a multiple of the unit's {unit.lanes} lanes, not {block!r}")
    return block // unit.lanes


def _block_operand(
    name: str, fmt: Format, encoded: Encoded, window: tuple[int, int], chunks: int, selector_bits: int
) -> Operand:
    stored = {field: value.numpy() for field, value in fmt.stored(encoded).items()}
    low, high = window
    # A block of zeros has an exponent that means nothing; the lowest one of the window is as good.
    exponent = np.where(_occupied(fmt, stored["code"]), stored["exponent"], low)
    wrong = exponent[(exponent < low) | (exponent > high)]
    if wrong.size:
        raise InputError(f"stored exponents of {name} must be in the unit's window {low}..{high}, not {wrong[0]}")
    scales = (exponent - low) << selector_bits
    if "dialect" in stored:
        scales |= stored["dialect"]
    return Operand(stored["code"].reshape(len(scales), -1), chunks, scales)


def _occupied(fmt: Format, codes: Array) -> Array:
    """Return which blocks hold anything but zeros; all codes but two's complement have a sign of zero too."""
    integers = isinstance(fmt, MXIntFormat | IntegerFormat)
    magnitudes = codes if integers else codes & ((1 << fmt.fields[0].bits - 1) - 1)
    occupied: Array = magnitudes.any(-1)
    return occupied


def _serial_type(fmt: Format) -> str:
    """Return the weight type of a format; that of one-term BitMoD is known to run-time decoders only."""
    if isinstance(fmt, BitModFormat) and fmt.special_values == "oneterm":
        return f"fp{fmt.width}-oneterm"
    return weight_type(fmt) if len(formats_in(fmt)) == 1 else common_weight_type((fmt,))


def _element(fmt: Format) -> str:
    """Return the name of the element of a block format; InputError if it is none."""
    if isinstance(fmt, DialectFormat):
        return "dialect4"
    if isinstance(fmt, MXFloatFormat) and fmt.tile_rows == 1:
        return fmt.element
    if isinstance(fmt, MXIntFormat) and fmt.tile_rows == 1:
        return f"mxint{fmt.width}"
    if isinstance(fmt, IntegerFormat) and fmt.scale_dtype == "e8m0" and not fmt.per_tensor:
        return f"int{fmt.width}"
    raise InputError(f"{fmt} is no block format of one vector with power-of-two scales")
