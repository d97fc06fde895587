"""What a GEMM moves, in bits, and the memories of its unit: codes, and all that stands beside them.

Charged are metadata of blocks (scales, selectors, dialects), scales of tokens, and padding: K to whole blocks, N to
whole columns, and in the activation buffer M to whole row tiles. Multipliers of rows belong to the requantizer.
"""

from dataclasses import dataclass

from mxhw.hardware.gemm.cycles import tile_loads
from mxhw.hardware.gemm.numbers import Numbers, maximum, power_of_two, where
from mxhw.hardware.gemm.points import GemmPoints
from mxhw.hardware.structure.products import TILES_INSIDE
from mxhw.hardware.structure.unit import QUEUE_WORDS

__all__ = ["GemmMemory", "GemmTraffic", "gemm_memories", "gemm_traffic", "weight_bits"]


@dataclass(frozen=True)
class GemmTraffic:
    """Bits of all products that pass the edge of a unit.

    Attributes
    ----------
    weights : codes and metadata that are loaded (0 where they lie inside).
    inputs, outputs : of the two streams.
    """

    weights: Numbers
    inputs: Numbers
    outputs: Numbers

    @property
    def total(self) -> Numbers:
        """All of them."""
        return self.weights + self.inputs + self.outputs


@dataclass(frozen=True)
class GemmMemory:
    """A memory of a unit at each point.

    Attributes
    ----------
    words, bits : how many words, bits of a word; 0 bits: there is none.
    reads, writes : words read and written for all products.
    copies : how many there are, each with these words, reads and writes.
    constant : it holds what it holds from the start.
    """

    words: Numbers
    bits: Numbers
    reads: Numbers
    writes: Numbers
    copies: Numbers = 1
    constant: bool = False

    @property
    def capacity(self) -> Numbers:
        """Bits that one of them holds."""
        return self.words * self.bits

    @property
    def moved(self) -> Numbers:
        """Bits that are read and written, in all of them."""
        return self.copies * (self.reads + self.writes) * self.bits


def weight_bits(points: GemmPoints) -> Numbers:
    """Return the bits of all weights as the memories hold them, padding and metadata included."""
    codes = points.chunks * points.lanes * points.code_bits
    padded = points.column_tiles * points.columns
    return padded * (codes + points.blocks * points.metadata_bits)


def gemm_traffic(points: GemmPoints, *, tiled: Numbers = False) -> GemmTraffic:
    """Return what passes the edge of the unit.

    ``tiled``: weights lie outside and come a column tile at a time (:func:`.cycles.tile_loads`); else they lie inside.
    """
    loads = tile_loads(points) / points.column_tiles if points.relaxed else tile_loads(points) // points.column_tiles
    tokens = points.m * points.count
    codes = points.input_beats * points.lanes * points.input_bits
    blocks = where(points.input_block > 1, points.blocks, 0)
    return GemmTraffic(
        weights=where(tiled, loads * weight_bits(points), 0),
        inputs=tokens * (codes + blocks * points.input_metadata_bits + points.token_bits),
        outputs=tokens * points.column_tiles * points.columns * points.output_bits,
    )


def gemm_memories(
    points: GemmPoints, *, tiled: Numbers = False, layers: Numbers = 1, streams: bool = True
) -> dict[str, GemmMemory]:
    """Return the memories of a unit: "weights", "metadata", "activations", and those around an array of several rows.

    ``layers``: sets of weights that are held; ``tiled``: two column tiles are, which are loaded while running.
    ``streams``: the array stands between token-major streams: "row" brings tokens together, "scales" is where theirs
    wait, "row tile" puts sums in order, as of :class:`mxhw.hardware.structure.Product`.
    """
    tiles = points.row_tiles * points.column_tiles
    kept, loads = where(tiled, 2, layers * points.column_tiles), where(tiled, tile_loads(points), 0)

    def weights(words: Numbers, bits: Numbers) -> GemmMemory:
        return GemmMemory(kept * words, points.columns * bits, tiles * words, loads * words, constant=tiled is False)

    beat = points.lanes * points.input_bits + points.input_metadata_bits
    return {
        "weights": weights(points.chunks, points.lanes * points.code_bits),
        "metadata": weights(where(points.metadata_bits > 0, points.blocks, 0), points.metadata_bits),
        "activations": GemmMemory(
            2 * power_of_two(points.chunks), points.rows * beat, tiles * points.chunks, points.row_tiles * points.chunks
        ),
        **(_around(points, beat) if streams else {}),
    }


def _around(points: GemmPoints, beat: Numbers) -> dict[str, GemmMemory]:
    """Return the memories that gather tokens and put sums in order; of 0 words where there is none."""
    beats, rows = points.input_beats, points.rows
    reorders = (rows > 1) & (points.columns < points.n)
    sums = points.row_tiles * rows * points.column_tiles
    scales = where(points.token_bits > 0, rows * TILES_INSIDE, 0)
    passed = points.row_tiles * rows

    def queue(depth: Numbers, bits: Numbers, passes: Numbers, copies: Numbers) -> GemmMemory:
        there = (rows > 1) & (depth > QUEUE_WORDS)
        return GemmMemory(where(there, depth - 1, 0), bits, where(there, passes, 0), where(there, passes, 0), copies)

    return {
        "row": queue(beats, beat, points.row_tiles * beats, maximum(rows - 1, 1)),
        "scales": queue(scales, points.token_bits, passed, 1),
        "row tile": GemmMemory(
            where(reorders, 2 * power_of_two(rows * points.column_tiles), 0),
            points.columns * points.accumulator_bits,
            where(reorders, sums, 0),
            where(reorders, sums, 0),
        ),
    }
