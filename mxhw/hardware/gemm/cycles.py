"""Cycles of a GEMM unit in closed form; without stalls equal to those of the emitted RTL.

The array alone (`gemm_cycles`) is `rtl_templates/gemm`; between token-major streams (`product_cycles`), where tokens
that are computed at once are gathered before it and put in order behind it, it is `rtl_templates/dataflow/linear.py`.
"""

from mxhw.hardware.gemm.numbers import Numbers, ceil_divide, maximum, where
from mxhw.hardware.gemm.points import GemmPoints

__all__ = [
    "REORDER_LATENCY",
    "bounded_cycles",
    "gemm_cycles",
    "layer_load_cycles",
    "product_cycles",
    "product_interval",
    "product_latency",
    "steady_cycles",
    "tile_load_cycles",
    "tile_loads",
]

# From the last beat into the buffer that puts tokens in order to the first one out of it. A test holds it against
# `rtl_templates/dataflow/linear_timing.py`.
REORDER_LATENCY = 2
TILES_KEPT = 2  # column tiles that a unit with tiled weights keeps: one that works, one that comes


def steady_cycles(points: GemmPoints) -> Numbers:
    """Return the cycles in which processing elements work: tiles x chunks x terms, over all products."""
    return points.row_tiles * points.column_tiles * points.tile_cycles


def gemm_cycles(points: GemmPoints) -> Numbers:
    """Return the cycles of a stall-free run of the array: first beat in to last beat out, both counted.

    The first row tile is buffered before work starts, a beat a chunk. A tile's outputs leave, a beat a row, while the
    next tile computes, so a tile that takes no longer than its outputs waits for them. Where a row tile takes no longer
    than the next one's coming, every second one waits a cycle for its half of the buffer. No token: no cycle.
    """
    tiles = points.row_tiles * points.column_tiles
    last = points.latency + points.rows
    cycles = points.chunks + points.tile_cycles + (tiles - 1) * points.period + _late(points) + last
    return where(points.row_tiles > 0, cycles, 0)


def product_cycles(points: GemmPoints) -> Numbers:
    """Return the cycles of a product between token-major streams: first beat of x to last beat of y, both counted.

    ``rows`` tokens come one after the other and are gathered; with several columns' tiles as well, theirs are put in
    order. A last row tile that lacks tokens is waited for: tokens of padding have to be sent.
    """
    before = points.row_tiles - 1
    in_turn = (points.column_tiles - 1) * points.period + points.rows
    leaving = where(_reorders(points), points.rows * points.column_tiles, in_turn)
    late = where(_waits_for_buffer(points), _late(points), 0)
    cycles = before * _row_tile_cycles(points) + late + product_latency(points) + leaving
    return where(points.row_tiles > 0, cycles, 0)


def product_latency(points: GemmPoints) -> Numbers:
    """Return the cycles from the first beat of x of a row tile to its first beat of y, when the unit was empty."""
    gathered = (points.rows - 1) * points.input_beats + points.chunks
    first = gathered + points.tile_cycles + points.latency + 1
    last = (points.column_tiles - 1) * points.period + points.rows - 1
    return first + where(_reorders(points), last + REORDER_LATENCY, 0)


def product_interval(points: GemmPoints) -> Numbers:
    """Return the cycles a token in steady state: those of the array, of its buffer, or of the tokens' coming."""
    return (_row_tile_cycles(points) + where(_waits_for_buffer(points), 0.5, 0.0)) / points.rows


def tile_load_cycles(points: GemmPoints, port: Numbers) -> Numbers:
    """Return the cycles in which a column tile's weights and metadata come through ``port`` bits a cycle.

    A word begins with a beat of its own: it takes whole cycles, at least one (:class:`LayerLoader` of the RTL).
    """
    code_beats = ceil_divide(points.columns * points.lanes * points.code_bits, port, relaxed=points.relaxed)
    field_bits = points.columns * points.metadata_bits
    field_beats = where(field_bits > 0, ceil_divide(maximum(field_bits, 1), port, relaxed=points.relaxed), 0)
    return points.chunks * code_beats + points.blocks * field_beats


def layer_load_cycles(points: GemmPoints, port: Numbers) -> Numbers:
    """Return the cycles in which all of a layer's weights come through ``port`` bits a cycle."""
    return points.column_tiles * tile_load_cycles(points, port)


def tile_loads(points: GemmPoints) -> Numbers:
    """Return how many column tiles are loaded where two are kept: each once if that is all, else for each row tile."""
    tiles = points.row_tiles * points.column_tiles
    return where(points.column_tiles <= TILES_KEPT, points.column_tiles, tiles) * (points.row_tiles > 0)


def bounded_cycles(points: GemmPoints, port: Numbers) -> Numbers:
    """Return the cycles of the array where weights come tile by tile through ``port`` bits a cycle.

    Two column tiles are kept: while the array works at one, the next one comes; a tile's place is free when its work is
    done. The first tile comes while the first row tile is buffered, and is not hidden. There is no RTL for this
    storage; a test compares with the recurrence of its events.
    """
    load, period, start = tile_load_cycles(points, port), points.period, points.chunks
    tiles = points.row_tiles * points.column_tiles
    once = points.column_tiles <= TILES_KEPT
    # The last tile's work ends with the longest of the chains of events: the array waits for the first tile only; for
    # every tile that comes; for those that come after the first row tile, which came later than the first tile.
    computing = maximum(start, load) + tiles * period
    coming_once = points.column_tiles * load + (tiles - points.column_tiles + 1) * period
    loading = where(once, coming_once, tiles * load + period)
    waiting = where(once, computing, start + 2 * period + (tiles - 2) * load)
    done = maximum(computing, where(tiles > 1, maximum(loading, waiting), computing))
    rest = points.tile_cycles - period + _late(points) + points.latency + points.rows
    return where(points.row_tiles > 0, done + rest, 0)


def _late(points: GemmPoints) -> Numbers:
    """Return the cycles for which row tiles wait for their half of the buffer."""
    pairs = (points.row_tiles - 1) / 2 if points.relaxed else (points.row_tiles - 1) // 2
    return where(points.is_load_bound, pairs, 0)


def _row_tile_cycles(points: GemmPoints) -> Numbers:
    """Return the cycles of ``rows`` tokens: of the array, or of their coming."""
    return maximum(points.column_tiles * points.period, points.rows * points.input_beats)


def _waits_for_buffer(points: GemmPoints) -> Numbers:
    """Return whether row tiles wait for their half of the buffer: tokens come no slower than they are computed."""
    return points.is_load_bound & ((points.rows * points.input_beats <= points.chunks) | points.relaxed)


def _reorders(points: GemmPoints) -> Numbers:
    """Return whether the array gives beats in another order than token after token."""
    return (points.rows > 1) & (points.columns < points.n)
