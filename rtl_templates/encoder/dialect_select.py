"""The decisions of DialectFP4's on-line quantizer as combinational logic; all tables are the format's own.

Source: BlockDialect (arXiv 2501.01144v5), section 3: pair of dialects by the block's maximum, dialect by counts in the
beneficial ranges, index by thresholds. q is ``floor(4 |x| / 2**SE)``, 0 to 31.
"""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mxhw.formats import DIALECT_RANGES, DIALECT_THRESHOLDS
from mxhw.rtl_templates.checks import require

__all__ = ["BIN_BITS", "BeneficialRanges", "DialectIndex", "dialect_pair"]

BIN_BITS = 5
DIALECTS = 16
_BINS = 1 << BIN_BITS


def dialect_pair(largest_bin: Value) -> Value:
    """Return the pair, 0 to 7, of a block whose largest q this is: 15 less the half units of the maximum.

    Below 4.0, which only a clamped exponent allows, the pair is the one of the smallest maximum; above 7.5, the first.
    """
    half_units = (largest_bin + 1) >> 1
    pair = ~half_units[:3]
    return Mux(half_units[4], 0, Mux(half_units[3], pair, 7))[:3]


class BeneficialRanges(wiring.Component):
    """Says in which beneficial range of a pair a q lies. Combinational, one per lane.

    Parameters
    ----------
    ranges : sequence of 16 pairs of ints
        [low, high) of every dialect; by default the format's own table.

    Members
    -------
    q : In(5)
    pair : In(3)
    even, odd : Out(1)
        q lies in the range of dialect ``2 * pair``, of dialect ``2 * pair + 1``.

    Raises
    ------
    InputError
        If there are not 16 ranges, or a bound does not fit q.
    """

    q: In(BIN_BITS)
    pair: In(3)
    even: Out(1)
    odd: Out(1)

    def __init__(self, *, ranges: Sequence[tuple[int, int]] = DIALECT_RANGES) -> None:
        require(len(ranges) == DIALECTS, "ranges", f"{DIALECTS} ranges", len(ranges))
        fits = all(0 <= low <= high < _BINS for low, high in ranges)
        require(fits, "ranges", f"bounds of 0 to {_BINS - 1} in ascending order", ranges)
        self._ranges = ranges
        super().__init__()

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        for parity, hit in enumerate((self.even, self.odd)):
            low, high = (
                Array(Const(bounds[end], BIN_BITS) for bounds in self._ranges[parity::2])[self.pair] for end in (0, 1)
            )
            m.d.comb += hit.eq((self.q >= low) & (self.q < high))
        return m


class DialectIndex(wiring.Component):
    """The index of a q in a dialect: how many of its seven thresholds it reaches. Combinational, one per lane.

    Parameters
    ----------
    thresholds : sequence of 16 sequences of 7 ints
        Ascending; by default the format's own table.

    Members
    -------
    q : In(5)
    dialect : In(4)
    index : Out(3)

    Raises
    ------
    InputError
        If the table is not 16 by 7, or a row is not ascending within q.
    """

    q: In(BIN_BITS)
    dialect: In(4)
    index: Out(3)

    def __init__(self, *, thresholds: Sequence[Sequence[int]] = DIALECT_THRESHOLDS) -> None:
        shape = [len(row) for row in thresholds]
        require(shape == [7] * DIALECTS, "thresholds", f"{DIALECTS} dialects of 7", shape)
        ascending = all(list(row) == sorted(row) and row[0] >= 0 and row[-1] < _BINS for row in thresholds)
        require(ascending, "thresholds", f"ascending, of 0 to {_BINS - 1}", thresholds)
        self._thresholds = thresholds
        super().__init__()

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        at_least = [self.q >= self._choose(column) for column in zip(*self._thresholds, strict=True)]
        # Ones up to the index: a binary digit is the parity of the digits' boundaries that were passed.
        a, b, c, d, e, f, g = at_least
        m.d.comb += self.index.eq(Cat(a & ~b | c & ~d | e & ~f | g, b & ~d | f, d))
        return m

    def _choose(self, column: Sequence[int]) -> Value:
        """Return a threshold of the block's dialect; a constant where all dialects agree."""
        values = [Const(threshold, BIN_BITS) for threshold in column]
        return values[0] if len(set(column)) == 1 else Array(values)[self.dialect]
