"""The memories of a GEMM unit, and what they cost on an ASIC or an FPGA.

A unit has a weight memory (codes), a metadata memory (one word per block of K and column tile) and a buffer that holds
two row tiles of activations: one in use, one being filled.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mxhw.hardware.platform import MemoryEnergy, Platform
from mxhw.hardware.units import GemmBatch

__all__ = ["Memory", "access_energy", "asic_area", "fpga_blocks", "unit_memories"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
DISTRIBUTED_DEPTH = 64  # words: shallower memories go to LUTs, as synthesis tools do


@dataclass(frozen=True)
class Memory:
    """One memory of every node and option; arrays broadcast to [nodes, options].

    Attributes
    ----------
    depth, width : words, bits a word (a width of 0: there is no such memory)
    reads, writes : words read and written for one input sequence
    """

    depth: IntArray
    width: IntArray
    reads: IntArray
    writes: IntArray

    @property
    def bits(self) -> FloatArray:
        """Bits that it holds."""
        return (self.depth * self.width).astype(np.float64)


def unit_memories(batch: GemmBatch, rows: IntArray, columns: IntArray) -> dict[str, Memory]:
    """Return the memories of every node: "weights", "metadata" and "activations"."""
    row_tiles, column_tiles = batch.row_tiles(rows), batch.column_tiles(columns)
    copies = np.where(batch.stationary, 1, 2)
    words, blocks = column_tiles * batch.chunks, column_tiles * batch.blocks
    rewritten = np.where(batch.stationary, 0, batch.count)
    tile_words = batch.count * row_tiles * batch.chunks
    beat = batch.lanes * batch.input_bits + batch.input_metadata_bits
    return {
        "weights": Memory(
            depth=copies * words,
            width=columns * batch.lanes * batch.code_bits,
            reads=batch.count * row_tiles * words,
            writes=rewritten * words,
        ),
        "metadata": Memory(
            depth=copies * blocks,
            width=columns * batch.metadata_bits,
            reads=batch.count * row_tiles * blocks,
            writes=rewritten * blocks,
        ),
        "activations": Memory(
            depth=2 * batch.chunks, width=rows * beat, reads=tile_words * column_tiles, writes=tile_words
        ),
    }


def asic_area(memory: Memory, platform: Platform) -> FloatArray:
    """Return the area [um2] as SRAM: a price per bit and one per macro."""
    if platform.memory_bit is None or platform.memory_macro is None:
        raise ValueError(f"platform {platform.name!r} has no SRAM area")
    bits = memory.bits
    return bits * platform.memory_bit.value + np.where(bits > 0, platform.memory_macro.value, 0.0)


def fpga_blocks(memory: Memory, platform: Platform) -> tuple[FloatArray, FloatArray]:
    """Return block memories and LUTs: the best aspect ratio, or LUTs if the memory is shallow."""
    if platform.distributed_bits is None:
        raise ValueError(f"platform {platform.name!r} has no block memories")
    options = [-(-memory.width // bits) * -(-memory.depth // words) for bits, words in platform.memory_shapes]
    blocks = np.minimum.reduce(options).astype(np.float64)
    luts = np.ceil(memory.bits / platform.distributed_bits.value)
    shallow = memory.depth <= DISTRIBUTED_DEPTH
    return np.where(shallow, 0.0, blocks), np.where(shallow, luts, 0.0)


def access_energy(memory: Memory, energy: MemoryEnergy) -> FloatArray:
    """Return the energy [pJ] of all reads and writes for one input sequence."""
    return (memory.reads + memory.writes) * memory.width * energy.per_bit(memory.bits)
