"""Drain buffer: takes the results of a whole array at once and sends them one row a beat."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.rtl_templates.checks import require_natural
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "Drain"]


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
        self._rows, self._columns, self._width = rows, columns, width
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
        # One signal a result and not one a row: simulators are slow with words of more than 64 bits.
        places = [
            [Signal(self._width, name=f"row_{r}_{c}", reset_less=True) for c in range(self._columns)]
            for r in range(self._rows)
        ]
        left = Signal(range(self._rows + 1))
        m.d.comb += [
            self.y.valid.eq(left != 0),
            self.y.payload.eq(Cat(*places[0])),
            self.free.eq(left == 0),
        ]
        with m.If(self.capture):
            m.d.sync += left.eq(self._rows)
            for r, row in enumerate(places):
                m.d.sync += [place.eq(self.results[r * self._columns + c]) for c, place in enumerate(row)]
        with m.Elif(self.y.valid & self.y.ready):
            m.d.sync += left.eq(left - 1)
            for row, above in pairwise(places):
                m.d.sync += [place.eq(next_) for place, next_ in zip(row, above, strict=True)]
        return m

    def connect(self, m: Module, results: Sequence[Value], captured: Value, capture: Signal, advance: Signal) -> None:
        """Let an array's ``results``, row-major and as wide as the buffer's, be taken when ``captured``.

        Drives ``advance``, the clock enable of the array's pipeline: it waits only while results are to be captured and
        rows of the tile before are still here.
        """
        together = Cat(*results)
        assert len(together) == len(self.results.as_value()), "results are as wide as the buffer's"
        m.d.comb += [
            capture.eq(captured),
            advance.eq(~capture | self.free),
            self.capture.eq(capture & self.free),
            self.results.as_value().eq(together),
        ]


def _build(rows: int = 4, columns: int = 4, width: int = 32) -> Drain:
    return Drain(rows=rows, columns=columns, width=width)


TEMPLATE = UnitTemplate(
    name="drain",
    kind="gemm",
    description="results of a whole array, taken at once and sent one row a beat",
    build=_build,
)
