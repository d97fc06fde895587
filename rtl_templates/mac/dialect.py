"""DialectFP4 processing element: the block PE with unsigned 4-bit products of half-units.

Source: BlockDialect (arXiv 2501.01144v5), section 4 and Table 5: u4 multiplier, XOR of the signs, integer sum of a
block. The exponents of inputs may be any of the 32 stored ones, those of weights count from the layer's smallest.
"""

from mxhw.arithmetic import BlockWidths, dialect_widths
from mxhw.rtl_templates.checks import require_lanes
from mxhw.rtl_templates.mac.block import BlockPE
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["EXPONENT_BITS", "TEMPLATE", "DialectPE"]

EXPONENT_BITS = 5


class DialectPE(BlockPE):
    """One output of an output-stationary array; see :class:`BlockPE`.

    Parameters
    ----------
    widths : BlockWidths
        Register widths, from :func:`mxhw.arithmetic.dialect_widths`.
    lanes : int
        Products per cycle.
    """

    def __init__(self, *, widths: BlockWidths, lanes: int = 4) -> None:
        super().__init__(element="dialect4", widths=widths, lanes=lanes)


def _build(lanes: int = 4, k: int = 4096, block: int = 32, low: int = 8, high: int = 12) -> DialectPE:
    """``low`` and ``high``: the smallest and largest stored exponent of the weights."""
    require_lanes(lanes, block, "block")
    return DialectPE(widths=dialect_widths(k, block, (low, high)), lanes=lanes)


TEMPLATE = UnitTemplate(
    name="dialect_pe",
    kind="mac",
    description="DialectFP4 PE: u4 products, exact block sums, one shift per block into an exact accumulator",
    build=_build,
    macs_per_cycle=lambda lanes=4, **_: float(lanes),
)
