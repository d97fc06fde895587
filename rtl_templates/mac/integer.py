"""A plain integer multiply-accumulate: the reference that the cost of the other PEs is compared with."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mxhw.rtl_templates.checks import require, require_natural

__all__ = ["IntegerMac"]


class IntegerMac(wiring.Component):
    """One multiply-accumulate a cycle, two's complement.

    Parameters
    ----------
    width : int
        Bits of both operands.
    accumulator : int
        Bits of the accumulator; at least those of a product.

    Members
    -------
    x, w : In(signed(width))
        Operands.
    enable : In(1)
        Accumulate at this clock edge.
    first : In(1)
        The product starts a new sum.
    result : Out(signed(accumulator))
        The sum, in the cycle after its last product.
    """

    def __init__(self, *, width: int = 8, accumulator: int = 32) -> None:
        require_natural("width", width)
        valid = isinstance(accumulator, int) and accumulator >= 2 * width
        require(valid, "accumulator", f"an integer of at least {2 * width}", accumulator)
        self._width = width
        super().__init__(
            {
                "x": In(signed(width)),
                "w": In(signed(width)),
                "enable": In(1),
                "first": In(1),
                "result": Out(signed(accumulator)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        product = Signal(signed(2 * self._width))
        m.d.comb += product.eq(self.x * self.w)
        with m.If(self.enable):
            m.d.sync += self.result.eq(Mux(self.first, 0, self.result) + product)
        return m
