"""What a GEMM node is built as, and how many cycles that takes: the plain records the cost model computes with.

A unit is an array of `rows` by `columns` processing elements of `lanes` multipliers, as `rtl_templates/gemm` builds it:
output stationary, a row tile of activations is buffered and replayed for all column tiles, weights come from a memory
inside. Nothing of a number format is repeated here: widths and terms are given by who knows them (`mxhw.passes`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["GemmBatch", "GemmUnit", "GemmWork", "UnitKind", "steady_cycles", "total_cycles"]

UnitKind = Literal["bitmod", "dialect"]
IntArray = NDArray[np.int64]
_LATENCY = 3  # cycles from a tile's last step in the sequencer to the capture of its results
_SCALE_LATENCY = 9  # more with group scales: 8 bits, one a cycle, and the fold


@dataclass(frozen=True)
class GemmUnit:
    """One kind of GEMM unit, apart from the size of its array.

    Attributes
    ----------
    kind : "bitmod" or "dialect"
    weight_type : str
        What the decoders read: "int8", "int6", "fp4", "fp3" (bitmod) or "dialect4".
    terms : int
        Cycles per beat of `lanes` products (bit-serial terms; 1 for dialect).
    lanes : int
        Products a processing element computes at a time.
    code_bits, input_bits : int
        Bits of one weight code and of one activation code.
    block : int
        Elements along K that share metadata; K is padded to a multiple.
    metadata_bits, input_metadata_bits : int
        Bits per block that stand beside the codes of a weight column, of an activation row.
    accumulator_bits : int
        Width of one output accumulator.
    """

    kind: UnitKind
    weight_type: str
    terms: int
    lanes: int
    code_bits: int
    input_bits: int
    block: int
    metadata_bits: int
    input_metadata_bits: int
    accumulator_bits: int

    @property
    def scaled(self) -> bool:
        """Whether group sums are multiplied by 8-bit scales, one bit a cycle (bitmod with groups)."""
        return self.kind == "bitmod" and self.metadata_bits > 0


@dataclass(frozen=True)
class GemmWork:
    """What a node computes for one input sequence: `count` products of [m, k] with [n, k] transposed.

    Attributes
    ----------
    m, n, k, count : int
    stationary : bool
        True if the right operand is known beforehand (weights); otherwise it is written into the unit's memory while
        running (attention), which holds the matrix in use and the next.
    """

    m: int
    n: int
    k: int
    count: int = 1
    stationary: bool = True

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all products."""
        return self.m * self.n * self.k * self.count


class GemmBatch:
    """Many GEMM nodes as arrays of shape [nodes, 1], so that one NumPy expression costs them all.

    Parameters
    ----------
    units, works : sequences of equal length
    """

    def __init__(self, units: Sequence[GemmUnit], works: Sequence[GemmWork]) -> None:
        self.units = tuple(units)
        self.works = tuple(works)

        def column(values: list[int]) -> IntArray:
            return np.asarray(values, dtype=np.int64)[:, None]

        self.m, self.n, self.k = (column([getattr(work, name) for work in works]) for name in ("m", "n", "k"))
        self.count = column([work.count for work in works])
        self.stationary = column([work.stationary for work in works]).astype(bool)
        self.terms = column([unit.terms for unit in units])
        self.lanes = column([unit.lanes for unit in units])
        self.code_bits = column([unit.code_bits for unit in units])
        self.input_bits = column([unit.input_bits for unit in units])
        self.block = column([unit.block for unit in units])
        self.metadata_bits = column([unit.metadata_bits for unit in units])
        self.input_metadata_bits = column([unit.input_metadata_bits for unit in units])
        self.accumulator_bits = column([unit.accumulator_bits for unit in units])
        self.latency = column([_LATENCY + _SCALE_LATENCY * unit.scaled for unit in units])
        self.blocks = -(-self.k // self.block)
        self.chunks = self.blocks * self.block // self.lanes

    def row_tiles(self, rows: IntArray | int) -> IntArray:
        """Return the number of row tiles of one product."""
        return -(-self.m // rows)

    def column_tiles(self, columns: IntArray) -> IntArray:
        """Return the number of column tiles."""
        return -(-self.n // columns)


def steady_cycles(batch: GemmBatch, rows: IntArray, columns: IntArray) -> IntArray:
    """Return the cycles in which processing elements work: tiles x chunks x terms, over all products."""
    return batch.count * batch.row_tiles(rows) * batch.column_tiles(columns) * batch.chunks * batch.terms


def total_cycles(batch: GemmBatch, rows: IntArray, columns: IntArray) -> IntArray:
    """Return the cycles of a stall-free run, from the first activation beat in to the last output beat out.

    The first row tile is buffered before work starts (one beat a chunk). The outputs of a tile leave in one beat a row
    while the next tile computes, so a tile that takes no longer than its outputs waits for them. Where a row tile takes
    no longer than loading the next, every second one waits a cycle for its half of the buffer. Equal to the RTL's.
    """
    row_tiles = batch.count * batch.row_tiles(rows)
    column_tiles = batch.column_tiles(columns)
    work = batch.chunks * batch.terms
    period = np.maximum(work, np.asarray(rows) + 1)
    late = np.where(column_tiles * period == batch.chunks, (row_tiles - 1) // 2, 0)
    cycles = batch.chunks + work + (row_tiles * column_tiles - 1) * period + late + batch.latency + rows
    return np.asarray(cycles, dtype=np.int64)
