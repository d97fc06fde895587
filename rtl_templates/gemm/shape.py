"""The shape of a GEMM and of the array that computes it, and how the one is cut to the other."""

from dataclasses import dataclass

from mxhw.rtl_templates.checks import require_natural

__all__ = ["GemmShape", "Tiling"]


@dataclass(frozen=True, kw_only=True)
class GemmShape:
    """``y[M, N] = x[M, K] · w[N, K]ᵀ`` on an array of rows x columns PEs; M is known at run time only.

    Attributes
    ----------
    rows : rows of x that are computed at once.
    columns : columns of y that are computed at once.
    lanes : products per PE and cycle.
    n, k : logical sizes; the unit pads N to whole columns and K to whole blocks with zero codes.
    """

    rows: int
    columns: int
    n: int
    k: int
    lanes: int = 4

    def __post_init__(self) -> None:
        for name in ("rows", "columns", "lanes", "n", "k"):
            require_natural(name, getattr(self, name))

    @property
    def column_tiles(self) -> int:
        """Column tiles that cover N."""
        return -(-self.n // self.columns)

    def row_tiles(self, tokens: int) -> int:
        """Row tiles that cover ``tokens`` rows of x."""
        return -(-tokens // self.rows)


@dataclass(frozen=True)
class Tiling:
    """The loop nest of a unit: row tile, column tile, group, chunk of a group, step.

    Attributes
    ----------
    column_tiles : column tiles per row tile.
    groups : groups (or blocks) along K.
    group_chunks : chunks of ``lanes`` products per group.
    steps : cycles per chunk.
    """

    column_tiles: int
    groups: int
    group_chunks: int
    steps: int

    @property
    def chunks(self) -> int:
        """Chunks along K: beats of a row tile."""
        return self.groups * self.group_chunks

    @property
    def tile_cycles(self) -> int:
        """Cycles that a tile occupies the array."""
        return self.chunks * self.steps

    def cycles(self, row_tiles: int, rows: int, latency: int) -> int:
        """Return the stall-free cycles from the first beat in to the last beat out, both counted.

        ``latency`` counts the cycles from the last step of a tile in the sequencer to the capture of its results, that
        of the capture included. The next capture waits until the ``rows`` beats of this one have left. Where a row tile
        takes no longer than its load, every second one waits a cycle for its half of the buffer.
        """
        if row_tiles == 0:
            return 0
        period = max(self.tile_cycles, rows + 1)
        load_bound = self.column_tiles * period == self.chunks
        late = (row_tiles - 1) // 2 if load_bound else 0
        tiles = row_tiles * self.column_tiles
        return self.chunks + self.tile_cycles + (tiles - 1) * period + late + latency + rows
