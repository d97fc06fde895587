"""Cycles of a product between token-major streams: exact, without stalls."""

from dataclasses import dataclass
from fractions import Fraction

from mxhw.rtl_templates.checks import require, require_natural
from mxhw.rtl_templates.gemm.shape import Tiling

__all__ = ["LinearTiming"]

# From the last beat into the reordering buffer to the first one out of it, both of which are counted by others.
_REORDER_LATENCY = 2
# Row tiles that the reordering buffer holds: one that fills, one that leaves, the last beat of one before.
_REORDER_TILES = 3
# Row tiles in the activation buffer (one that fills, one that is computed), in the drain, in the output register.
_GEMM_TILES = 4


@dataclass(frozen=True)
class LinearTiming:
    """When a :class:`~mxhw.rtl_templates.dataflow.linear.LinearUnit` takes and gives its beats.

    Attributes
    ----------
    tiling : the loop nest of the GEMM unit.
    rows : tokens that are computed at once.
    x_beats : beats of x a token.
    gemm_latency : from the last step of a tile to the capture of its results.
    """

    tiling: Tiling
    rows: int
    x_beats: int
    gemm_latency: int

    @property
    def y_beats(self) -> int:
        """Beats of y a token."""
        return self.tiling.column_tiles

    @property
    def interval(self) -> Fraction:
        """Cycles a token. It is a fraction with rows > 1, or where every second row tile waits (see :meth:`cycles`)."""
        return (self._row_tile_cycles + Fraction(self._is_load_bound, 2)) / self.rows

    @property
    def latency(self) -> int:
        """Cycles from the first x beat of a row tile to its first y beat, when the unit was empty."""
        loaded = (self.rows - 1) * self.x_beats + self.tiling.chunks
        first = loaded + self.tiling.tile_cycles + self.gemm_latency
        last = (self.y_beats - 1) * self._period + self.rows - 1
        return first + 1 + (last + _REORDER_LATENCY if self.reorders else 0)

    def cycles(self, tokens: int) -> int:
        """Return the cycles of so many tokens: first x beat to last y beat, both counted.

        Where the array takes no longer than the load of its buffer, every second row tile waits a cycle for its half.
        """
        require_natural("tokens", tokens, 0)
        require(tokens % self.rows == 0, "tokens", f"a multiple of the {self.rows} rows", tokens)
        if tokens == 0:
            return 0
        before = tokens // self.rows - 1
        late = before // 2 if self._is_load_bound else 0
        leaving = self.rows * self.y_beats if self.reorders else (self.y_beats - 1) * self._period + self.rows
        return before * self._row_tile_cycles + late + self.latency + leaving

    @property
    def reorders(self) -> bool:
        """Whether the GEMM unit gives beats in another order than token after token."""
        return self.rows > 1 and self.y_beats > 1

    @property
    def tokens_inside(self) -> int:
        """The most tokens that have begun to come and have not left."""
        in_pipeline = -(-self.gemm_latency // (self.y_beats * self._period))
        around = (self.rows > 1) + _REORDER_TILES * self.reorders
        return (_GEMM_TILES + in_pipeline + around) * self.rows

    @property
    def _period(self) -> int:
        """Cycles a column tile: of the array, or of the drain."""
        return max(self.tiling.tile_cycles, self.rows + 1)

    @property
    def _row_tile_cycles(self) -> int:
        """Cycles of ``rows`` tokens: of the array, or of x."""
        return max(self.y_beats * self._period, self.rows * self.x_beats)

    @property
    def _is_load_bound(self) -> bool:
        return self.y_beats * self._period == self._row_tile_cycles == self.tiling.chunks
