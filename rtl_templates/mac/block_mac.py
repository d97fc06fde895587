"""The MACs of block formats: products of decoded elements and the exact integer sum of a block, nothing else.

What papers call "the MAC" and compare the area of. The block's exponents act on the sum, outside: :class:`BlockPE` does
both. Source of the DialectFP4 MAC: BlockDialect (arXiv 2501.01144v5), section 4 and Table 5: unsigned 4-bit multiplier
and an XOR of the signs. Different from it: no FP16 after the block sum. Definition: :mod:`mxhw.arithmetic.mac`.

Operands are decoded at the edge of the array, or inside the MAC (``decode="inside"``), which then takes codes.
"""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic import at_least, block_element, block_elements, block_widths
from mxhw.rtl_templates.checks import require, require_lanes, require_natural
from mxhw.rtl_templates.mac.product import add_products, edge_decoder, only_if, operand_shape, product
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATES", "BlockMac"]

_PLACES = ("edge", "inside")


class BlockMac(wiring.Component):
    """Multiplies ``lanes`` pairs a cycle and adds the products to the sum of a block.

    Parameters
    ----------
    element : str
        A name of :func:`mxhw.arithmetic.block_elements`; both operands have it.
    block : int
        Products per sum, which the register's width is derived from.
    lanes : int
        Products per cycle.
    decode : str
        "edge": operands come decoded. "inside": codes come, and decoders are part of the MAC.
    accumulator : int or None
        Bits of the sum; None: as many as the largest sum needs.

    Members
    -------
    x, w : In(lanes of operand_shape(element)), or of codes
        Operands of this cycle.
    x_dialect, w_dialect : In(4)
        Dialects of the operands' blocks; only for dialect4 that is decoded inside.
    enable : In(1)
        Accumulate these products.
    first : In(1)
        With ``enable``: they start a new sum.
    result : Out(signed(accumulator))
        The sum in units of the smallest product, in the cycle after its last products.

    Raises
    ------
    InputError
        If the element or place is unknown, lanes do not divide the block, or the accumulator is narrower than the
        exact bound of a block.
    """

    def __init__(
        self,
        *,
        element: str,
        block: int = 32,
        lanes: int = 1,
        decode: str = "edge",
        accumulator: int | None = None,
    ) -> None:
        require_natural("block", block)
        require_lanes(lanes, block, "block")
        require(decode in _PLACES, "decode", f"one of {', '.join(_PLACES)}", decode)
        self.element, self.lanes, self.inside = block_element(element), lanes, decode == "inside"
        bound = block_widths(element, block, block, (0, 0), (0, 0)).block_sum
        width = at_least("accumulator", accumulator, bound)
        shape = self.element.code_bits if self.inside else operand_shape(element)
        operands = In(data.ArrayLayout(shape, lanes))
        members = {"x": operands, "w": operands, "enable": In(1), "first": In(1), "result": Out(signed(width))}
        if self.inside and self.element.selector_bits:
            members |= {f"{side}_dialect": In(self.element.selector_bits) for side in "xw"}
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        block_sum = Signal(self.result.shape(), reset_less=True)
        products = []
        for lane in range(self.lanes):
            x, w = (self._operand(m, side, lane) for side in "xw")
            products.append(only_if(self.enable, product(m, self.element, x, w, str(lane))))
        start = Mux(self.enable & self.first, 0, block_sum)
        m.d.comb += self.result.eq(block_sum)
        m.d.sync += block_sum.eq(add_products(m, start, products, len(block_sum)))
        return m

    def _operand(self, m: Module, side: str, lane: int) -> Any:
        given = getattr(self, side)[lane]
        if not self.inside:
            return given
        decoder = edge_decoder(self.element.name)
        m.submodules[f"decoder_{side}_{lane}"] = decoder
        m.d.comb += decoder.code.eq(given)
        if self.element.selector_bits:
            m.d.comb += decoder.dialect.eq(getattr(self, f"{side}_dialect"))
        return decoder.operand


def _names(kind: str, family: str = "") -> tuple[str, ...]:
    known = block_elements().items()
    return tuple(name for name, element in known if element.kind == kind and name.startswith(family))


def _dialect(lanes: int = 1, block: int = 32, decode: str = "edge", accumulator: int | None = None) -> BlockMac:
    return BlockMac(element="dialect4", block=block, lanes=lanes, decode=decode, accumulator=accumulator)


def _mxfp(
    element: str = "mxfp4", lanes: int = 1, block: int = 32, decode: str = "edge", accumulator: int | None = None
) -> BlockMac:
    return BlockMac(element=element, block=block, lanes=lanes, decode=decode, accumulator=accumulator)


def _mxint(element: str = "mxint8", lanes: int = 1, block: int = 32, accumulator: int | None = None) -> BlockMac:
    return BlockMac(element=element, block=block, lanes=lanes, accumulator=accumulator)


def _lanes(lanes: int = 1, **_: Any) -> float:
    return float(lanes)


TEMPLATES = (
    UnitTemplate(
        name="dialect_mac",
        kind="mac",
        description="DialectFP4 MAC: u4 multiplier, XOR of signs, exact sum of a block",
        build=_dialect,
        choices={"block": (16, 32, 64), "decode": _PLACES},
        macs_per_cycle=_lanes,
        variants=({"decode": "inside"}, {"lanes": 4}),
    ),
    UnitTemplate(
        name="mxfp_mac",
        kind="mac",
        description="MXFP4, MXFP6 and MXFP8 MAC: significand product, shift, exact sum of a block",
        build=_mxfp,
        choices={"element": _names("float"), "decode": _PLACES},
        macs_per_cycle=_lanes,
        variants=({"decode": "inside"}, *({"element": name} for name in _names("float")[1:])),
    ),
    UnitTemplate(
        name="mxint_mac",
        kind="mac",
        description="MXINT2..MXINT8 MAC: two's-complement product, exact sum of a block",
        build=_mxint,
        choices={"element": _names("integer", "mxint")},
        macs_per_cycle=_lanes,
        variants=({"element": "mxint4"},),
    ),
)
