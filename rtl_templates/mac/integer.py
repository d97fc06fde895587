"""A plain integer multiply-accumulate: the reference that the cost of the other PEs is compared with."""

from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic import at_least, integer_sum_bits
from mxhw.rtl_templates.checks import require, require_natural
from mxhw.rtl_templates.mac.product import add_products, only_if
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "IntegerMac"]


class IntegerMac(wiring.Component):
    """``lanes`` multiply-accumulates a cycle, two's complement. No reset: each sum says itself where it starts.

    Parameters
    ----------
    width : int
        Bits of x, and of w unless ``w_width`` says otherwise.
    accumulator : int or None
        Bits of the accumulator; at least those of a product. None: as many as a sum of ``k`` products needs.
    w_width : int or None
        Bits of w; None: ``width``.
    lanes : int
        Products per cycle; with more than one, x and w are arrays.
    k : int or None
        Products per sum, of symmetric codes (the most negative one does not occur, as in the formats): an accumulator
        that does not hold every such sum is refused. None: the caller knows.

    Members
    -------
    x, w : In(signed(width)), In(signed(w_width)), or arrays of ``lanes``
        Operands.
    enable : In(1)
        Accumulate at this clock edge.
    first : In(1)
        The products start a new sum.
    result : Out(signed(accumulator))
        The sum, in the cycle after its last product.
    """

    def __init__(
        self,
        *,
        width: int = 8,
        accumulator: int | None = 32,
        w_width: int | None = None,
        lanes: int = 1,
        k: int | None = None,
    ) -> None:
        require_natural("width", width)
        w_width = width if w_width is None else w_width
        require_natural("w_width", w_width)
        require_natural("lanes", lanes)
        if k is not None:
            require_natural("k", k)
            accumulator = at_least("accumulator", accumulator, integer_sum_bits(width, w_width, k))
        smallest = width + w_width
        valid = isinstance(accumulator, int) and accumulator >= smallest
        require(valid, "accumulator", f"an integer of at least {smallest}", accumulator)
        self._lanes, self._product = lanes, signed(smallest)
        shapes = (signed(bits) if lanes == 1 else data.ArrayLayout(signed(bits), lanes) for bits in (width, w_width))
        super().__init__(
            {
                **{side: In(shape) for side, shape in zip("xw", shapes, strict=True)},
                "enable": In(1),
                "first": In(1),
                "result": Out(signed(accumulator)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        total = Signal(self.result.shape(), reset_less=True)
        products = []
        for lane in range(self._lanes):
            x, w = (self.x, self.w) if self._lanes == 1 else (self.x[lane], self.w[lane])
            value = Signal(self._product, name=f"product_{lane}")
            m.d.comb += value.eq(x * w)
            products.append(only_if(self.enable, (value, Const(0, 1))))
        m.d.comb += self.result.eq(total)
        start = Mux(self.enable & self.first, 0, total)
        m.d.sync += total.eq(add_products(m, start, products, len(total)))
        return m


def _build(
    width: int = 8, w_width: int | None = None, lanes: int = 1, k: int | None = 512, accumulator: int | None = None
) -> IntegerMac:
    return IntegerMac(width=width, w_width=w_width, lanes=lanes, k=k, accumulator=accumulator)


TEMPLATE = UnitTemplate(
    name="int_mac",
    kind="mac",
    description="integer MAC, two's complement, exact sum of K products",
    build=_build,
    macs_per_cycle=lambda lanes=1, **_: float(lanes),
    variants=({"width": 4},),
)
