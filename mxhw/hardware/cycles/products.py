"""Cycles of products with weights, from :class:`mxhw.rtl_templates.gemm.shape.Tiling` and what stands around it.

A row tile of ``rows`` tokens is loaded into one half of a buffer, and met by all column tiles one after the other. A
column tile takes the array ``chunks * terms`` cycles; what it gives leaves a row a cycle, and the next one's results
are captured after that. A half is free two cycles after the last step of the row tile before the one before.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mxhw.hardware.cycles.rules import Run, register_cycles
from mxhw.hardware.cycles.streams import QUEUE_LATENCY, Arrivals, Beats, IntArray, Start, accept, chain
from mxhw.hardware.structure import Product

__all__ = ["CAPTURE", "SCALE_BITS", "column_tiles", "tile_cycles"]

CAPTURE = 3
"""Cycles from the last step of a column tile to the capture of its sums."""

SCALE_BITS = 8
"""Cycles that a group's sum takes more where it is multiplied by a scale, less one."""

_REORDER = 3  # from the last sum of a row tile to the first beat that leaves in the order of tokens


def column_tiles(unit: Product) -> int:
    """Return the column tiles that a row tile meets, those of all experts that a token is sent to."""
    return unit.column_tiles * unit.active_experts


def tile_cycles(unit: Product) -> int:
    """Return the cycles that a column tile takes: of the array, or of its results on their way out."""
    return max(unit.chunks * unit.terms, unit.rows + 1)


def _beats(unit: Product) -> int:
    """Beats of a token's codes: those of a dialect come in whole blocks."""
    return unit.chunks if unit.family == "dialect" else unit.k // unit.lanes


def _elements(unit: Product) -> tuple[int, ...]:
    return (_beats(unit) * unit.lanes,)


@register_cycles(Product, elements=_elements)
def _product(unit: Product, arrivals: Sequence[Arrivals], run: Run) -> Beats:
    steps, period, tiles = unit.chunks * unit.terms, tile_cycles(unit), column_tiles(unit)
    latency = CAPTURE + (SCALE_BITS + 1) * unit.scaled
    loads = _Loads.of(unit, arrivals[0])
    # The capture of the last column tile.
    ready = loads.ends(unit, arrivals[0]) + steps + latency + (tiles - 1) * period
    whole = tiles * period
    # A half of the buffer is free too late for every second row tile, where a load takes as long as the array.
    bound = loads.cycles == whole == tiles * steps and loads.period <= whole
    ends = _alternating(ready, whole) if bound else chain(ready, whole)
    if unit.rows == 1:
        first = ends - (tiles - 1) * period + 2
        return Beats((Start(first),), (np.arange(tiles, dtype=np.int64) * period,), unit.columns)
    row = np.arange(unit.rows, dtype=np.int64)
    if tiles == 1:
        return Beats((Start((ends[:, None] + 2 + row).ravel()),), (np.zeros(1, dtype=np.int64),), unit.columns)
    first = (ends[:, None] + unit.rows + _REORDER + row * tiles).ravel()
    return Beats((Start(first),), (np.arange(tiles, dtype=np.int64),), unit.columns)


@dataclass(frozen=True)
class _Loads:
    """Loads of row tiles into the buffer.

    Attributes
    ----------
    own : cycles from a token's first beat to its last.
    token : cycles from a token to the next one, as beats come.
    cycles : of a load: that of the last row, then zeros.
    period : from a load to the next one, were a half always free.
    """

    own: int
    token: int
    cycles: int
    period: int

    @staticmethod
    def of(unit: Product, codes: Arrivals) -> "_Loads":
        own, token = codes.paces.own, codes.paces.period
        cycles = own + 1 + unit.chunks - codes.beats
        return _Loads(own, token, cycles, max(cycles, _apart(unit, token)[0] + token))

    def ends(self, unit: Product, codes: Arrivals) -> IntArray:
        """Return the end of each load, were a half always free [row tiles]."""
        taken = accept([codes]).last.reshape(-1, unit.rows)
        ready = (taken + _apart(unit, self.token)).max(axis=1)
        return chain(ready, self.period) + unit.chunks - codes.beats


def _apart(unit: Product, token: int) -> IntArray:
    """Return the cycles from a row's last beat to that of the last row [rows].

    Beats of all rows but the last wait in queues, from where they come after two cycles; after one, where a queue is a
    register for a single beat.
    """
    behind = np.arange(unit.rows - 1, -1, -1) * token
    waits = QUEUE_LATENCY if _beats(unit) > 1 else 1
    return np.maximum(behind, np.where(behind > 0, waits, 0))


def _alternating(ready: IntArray, period: int) -> IntArray:
    """Return the least times with one ``period`` to the next, and one cycle more than two to the next but one."""
    number = np.arange(len(ready), dtype=np.int64)
    twice = 2 * ready - number * (2 * period + 1)
    even, odd = twice.copy(), twice.copy()
    even[1::2] = np.iinfo(np.int64).min // 2
    odd[::2] = np.iinfo(np.int64).min // 2
    even, odd = np.maximum.accumulate(even), np.maximum.accumulate(odd)
    same, other = np.where(number % 2, odd, even), np.where(number % 2, even, odd)
    found: IntArray = (np.maximum(same, other - 1) + number * (2 * period + 1)) // 2
    return found
