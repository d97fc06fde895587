"""The block processing element: exact products of a block's elements, one shift per block, one wide exact accumulator.

One element for all block formats (DialectFP4, MXFP4, MXFP6, MXFP8, MXINT), so that one GEMM unit takes any of them.
Source: BlockDialect (arXiv 2501.01144v5), section 4, for products and block sums. Different from it: block sums are
shifted into one exact fixed-point accumulator instead of FP16, so that the result does not depend on the order of
blocks. No register needs a reset: each sum says itself where it starts. Definition: :mod:`mxhw.arithmetic.mac`.

What an array of these takes from here: :func:`operand_shape` and :func:`edge_decoder` of the element, and its widths
from :func:`mxhw.arithmetic.block_widths`:

    widths = block_widths("mxfp4", k, 32, x_exponents=(110, 130), w_exponents=(118, 124))
    pe = BlockPE(element="mxfp4", widths=widths, lanes=4)
    decoder = edge_decoder("mxfp4")            # per operand lane: .code, .operand, and .dialect for dialect4
"""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic import BlockWidths, block_element, block_elements, block_widths
from mxhw.rtl_templates.checks import require, require_lanes, require_natural
from mxhw.rtl_templates.mac.product import add_products, edge_decoder, operand_shape, product
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "BlockPE", "edge_decoder", "operand_shape"]


class BlockPE(wiring.Component):
    """One output of an output-stationary array.

    Parameters
    ----------
    element : str
        What is multiplied: a name of :func:`mxhw.arithmetic.block_elements`; both operands have it.
    widths : BlockWidths
        Register widths, from :func:`mxhw.arithmetic.block_widths`.
    lanes : int
        Products per cycle.

    Members
    -------
    advance : In(1)
        Clock enable of every register.
    x, w : In(lanes of operand_shape(element))
        Decoded operands of this cycle.
    enable : In(1)
        Accumulate these products.
    first : In(1)
        With ``enable``: they start a new block sum.
    fold : In(1)
        The cycle after the last products of a block: shift the block sum into the accumulator.
    start : In(1)
        With ``fold``: the block sum starts a new sum.
    x_exponent, w_exponent : In(widths.x_exponent), In(widths.w_exponent)
        Exponents of the block that is folded, each counted from the lowest of its window.
    result : Out(signed(widths.accumulator))
        Accumulator plus shifted block sum; valid while ``fold``.

    Raises
    ------
    InputError
        If the element is unknown or there are no lanes.
    """

    def __init__(self, *, element: str, widths: BlockWidths, lanes: int = 4) -> None:
        require_natural("lanes", lanes)
        self.element, self.widths, self.lanes = block_element(element), widths, lanes
        operands = In(data.ArrayLayout(operand_shape(element), lanes))
        super().__init__(
            {
                "advance": In(1),
                "x": operands,
                "w": operands,
                "enable": In(1),
                "first": In(1),
                "fold": In(1),
                "start": In(1),
                "x_exponent": In(widths.x_exponent),
                "w_exponent": In(widths.w_exponent),
                "result": Out(signed(widths.accumulator)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        block_sum = Signal(signed(self.widths.block_sum), reset_less=True)
        accumulator = Signal(signed(self.widths.accumulator), reset_less=True)
        shift = Signal(self.widths.shift)
        products = [product(m, self.element, self.x[i], self.w[i], str(i)) for i in range(self.lanes)]
        m.d.comb += [
            shift.eq(self.x_exponent + self.w_exponent),
            self.result.eq(Mux(self.start, 0, accumulator) + _shifted(m, block_sum, shift, len(accumulator))),
        ]
        total = add_products(m, Mux(self.first, 0, block_sum), products, len(block_sum))
        with m.If(self.advance):
            with m.If(self.enable):
                m.d.sync += block_sum.eq(total)
            with m.If(self.fold):
                m.d.sync += accumulator.eq(self.result)
        return m


def _shifted(m: Module, value: Signal, amount: Signal, width: int) -> Value:
    """Return signed ``value << amount``, at most ``width`` bits of it.

    ``<<`` alone is as wide as the largest pattern of ``amount`` needs, which exponents need not reach: wires of more
    than 64 bits are what makes a simulation slow.
    """
    near = max(bits for bits in range(len(amount) + 1) if len(value) + (1 << bits) - 1 <= max(width, len(value)))
    shifted: Value = value << amount[:near]
    for bit in range(near, len(amount)):
        here = Signal(signed(len(shifted)), name=f"shifted_{bit}")
        m.d.comb += here.eq(shifted)
        shifted = Mux(amount[bit], (here << (1 << bit))[:width].as_signed(), here)
    return shifted


def _build(
    element: str = "mxfp4",
    lanes: int = 4,
    k: int = 4096,
    block: int = 32,
    x_exponents: int = 16,
    w_exponents: int = 8,
    accumulator: int | None = None,
) -> BlockPE:
    """``x_exponents`` and ``w_exponents`` are how many stored exponents the windows hold."""
    require_lanes(lanes, block, "block")
    largest = block_element(element).largest_exponent + 1
    for name, size in (("x_exponents", x_exponents), ("w_exponents", w_exponents)):
        require_natural(name, size)
        require(size <= largest, name, f"at most {largest}, all exponents of {element}", size)
    windows = (0, x_exponents - 1), (0, w_exponents - 1)
    widths = block_widths(element, k, block, *windows, accumulator=accumulator)
    return BlockPE(element=element, widths=widths, lanes=lanes)


TEMPLATE = UnitTemplate(
    name="block_pe",
    kind="mac",
    description="block format PE: exact block sums, scaled by both blocks' exponents into one exact accumulator",
    build=_build,
    choices={"element": tuple(block_elements())},
    macs_per_cycle=lambda lanes=4, **_: float(lanes),
    variants=({"element": "mxfp8-e4m3"}, {"element": "mxint8"}),
)
