"""Drain buffer: takes the results of a whole array at once and sends them one row a beat."""

from itertools import pairwise
from typing import Any

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.rtl_templates.checks import require_natural

__all__ = ["Drain"]


class Drain(wiring.Component):
    """One register per PE; the rows shift towards the stream.

    Parameters
    ----------
    rows, columns : int
        Size of the array.
    width : int
        Bits of a result.

    Members
    -------
    results : In(rows x columns of signed(width))
        The array's results, row-major.
    capture : In(1)
        Take ``results`` at this clock edge; only while ``free``.
    free : Out(1)
        The buffer is empty. A register, so that no path leads from ``y.ready`` into the array's clock enable.
    y : Out(stream.Signature(columns * width))
        Row 0 first; column c at bits [c*width +: width]. Valid does not depend on ready.
    """

    def __init__(self, *, rows: int, columns: int, width: int) -> None:
        for name, value in (("rows", rows), ("columns", columns), ("width", width)):
            require_natural(name, value)
        self._rows, self._word = rows, columns * width
        super().__init__(
            {
                "results": In(data.ArrayLayout(signed(width), rows * columns)),
                "capture": In(1),
                "free": Out(1),
                "y": Out(stream.Signature(columns * width)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        rows = [Signal(self._word, name=f"row_{r}", reset_less=True) for r in range(self._rows)]
        left = Signal(range(self._rows + 1))
        results = self.results.as_value()
        m.d.comb += [
            self.y.valid.eq(left != 0),
            self.y.payload.eq(rows[0]),
            self.free.eq(left == 0),
        ]
        with m.If(self.capture):
            m.d.sync += left.eq(self._rows)
            m.d.sync += [row.eq(results.word_select(r, self._word)) for r, row in enumerate(rows)]
        with m.Elif(self.y.valid & self.y.ready):
            m.d.sync += left.eq(left - 1)
            m.d.sync += [row.eq(above) for row, above in pairwise(rows)]
        return m
