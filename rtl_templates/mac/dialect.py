"""DialectFP4 processing element: unsigned 4-bit products, exact block sums, one shift per block.

Source: BlockDialect (arXiv 2501.01144v5), section 4 and Table 5: u4 multiplier, XOR of the signs, integer sum of a
block. Different from it: block sums are shifted into one exact fixed-point accumulator instead of FP16, so that the
result does not depend on the order of blocks.
"""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic import DialectWidths
from mxhw.rtl_templates.checks import require_natural
from mxhw.rtl_templates.decoder import SignMagnitude

__all__ = ["EXPONENT_BITS", "DialectPE"]

EXPONENT_BITS = 5
_PRODUCT_BITS = 8


class DialectPE(wiring.Component):
    """One output of an output-stationary array.

    Parameters
    ----------
    widths : DialectWidths
        Register widths, from :func:`mxhw.arithmetic.dialect_widths`.
    lanes : int
        Products per cycle.

    Members
    -------
    advance : In(1)
        Clock enable of every register.
    x, w : In(lanes of SignMagnitude)
        Operands of this cycle.
    enable : In(1)
        Accumulate these products.
    first : In(1)
        With ``enable``: they start a new block sum.
    fold : In(1)
        The cycle after the last products of a block: shift the block sum into the accumulator.
    start : In(1)
        With ``fold``: the block sum starts a new sum.
    x_exponent, w_exponent : In(5)
        Exponents of the block that is folded; the weight's counts from the layer's smallest.
    result : Out(signed(widths.accumulator))
        Accumulator plus shifted block sum; valid while ``fold``.
    """

    def __init__(self, *, widths: DialectWidths, lanes: int = 4) -> None:
        require_natural("lanes", lanes)
        self.widths, self.lanes = widths, lanes
        operands = In(data.ArrayLayout(SignMagnitude, lanes))
        super().__init__(
            {
                "advance": In(1),
                "x": operands,
                "w": operands,
                "enable": In(1),
                "first": In(1),
                "fold": In(1),
                "start": In(1),
                "x_exponent": In(EXPONENT_BITS),
                "w_exponent": In(EXPONENT_BITS),
                "result": Out(signed(widths.accumulator)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        block_sum = Signal(signed(self.widths.block_sum), reset_less=True)
        accumulator = Signal(signed(self.widths.accumulator), reset_less=True)
        shift = Signal(self.widths.shift)
        dot = self._dot(m)
        m.d.comb += [
            shift.eq(self.x_exponent + self.w_exponent),
            self.result.eq(Mux(self.start, 0, accumulator) + (block_sum << shift)),
        ]
        with m.If(self.advance):
            with m.If(self.enable):
                m.d.sync += block_sum.eq(Mux(self.first, 0, block_sum) + dot)
            with m.If(self.fold):
                m.d.sync += accumulator.eq(self.result)
        return m

    def _dot(self, m: Module) -> Value:
        """Sum the lanes' products; a negative one is its complement plus its sign."""
        total: Value | None = None
        for lane in range(self.lanes):
            x, w = self.x[lane], self.w[lane]
            negative = Signal(name=f"negative_{lane}")
            product = Signal(signed(_PRODUCT_BITS + 1), name=f"product_{lane}")
            m.d.comb += [
                negative.eq(x.sign ^ w.sign),
                product.eq((x.magnitude * w.magnitude) ^ negative.replicate(_PRODUCT_BITS + 1)),
            ]
            part = product + negative
            total = part if total is None else total + part
        dot = Signal(signed(self.widths.block_sum), name="dot")
        m.d.comb += dot.eq(total)
        return dot
