"""DialectFP4 decoder: a 4-bit code and its block's dialect become a sign and a 4-bit magnitude.

Source: BlockDialect (arXiv 2501.01144v5), Fig. 4 and section 4. Magnitudes are half-units:
value = magnitude / 2 * 2**exponent. The block's exponent does not pass through here; it is applied once to the integer
sum of a block.
"""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Array, Const, Module, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from mxhw.formats import DIALECT_TABLE
from mxhw.rtl_templates.checks import require
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "DialectDecoder", "SignMagnitude"]


MAGNITUDE_BITS = 4


class SignMagnitude(data.Struct):
    """An operand of the multiplier.

    Members
    -------
    magnitude : unsigned(4)
        Half-units, 0 to 15.
    sign : unsigned(1)
        1 for negative. Negative zero is possible and harmless.
    """

    magnitude: unsigned(MAGNITUDE_BITS)
    sign: unsigned(1)


class DialectDecoder(wiring.Component):
    """Combinational decoder, one per operand lane at the edge of an array.

    Parameters
    ----------
    table : sequence of 16 sequences of 8 ints
        Magnitudes in half-units, ascending; by default the format's own table.

    Members
    -------
    code : In(4)
        Sign bit above a 3-bit index.
    dialect : In(4)
        Dialect of the block that ``code`` belongs to; constant while the block streams.
    operand : Out(SignMagnitude)
        Valid in the same cycle.

    Raises
    ------
    InputError
        If the table is not 16 by 8, or a magnitude does not fit 4 bits.
    """

    code: In(4)
    dialect: In(4)
    operand: Out(SignMagnitude)

    def __init__(self, *, table: Sequence[Sequence[int]] = DIALECT_TABLE) -> None:
        shape = [len(row) for row in table]
        require(shape == [8] * 16, "table", "16 dialects of 8 magnitudes", shape)
        worst = max(max(row) for row in table)
        require(worst <= 15, "the largest magnitude", "at most 15 half-units", worst)
        self._table = [[int(h) for h in row] for row in table]
        super().__init__()

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        index = self.code[:3]
        m.d.comb += self.operand.sign.eq(self.code[3])
        with m.Switch(index):
            for i, column in enumerate(zip(*self._table, strict=True)):
                with m.Case(i):
                    m.d.comb += self.operand.magnitude.eq(self._choose(column))
        return m

    def _choose(self, column: Sequence[int]) -> Value:
        """Return an index's magnitude in the block's dialect; a constant where all dialects agree."""
        values = [Const(h, MAGNITUDE_BITS) for h in column]
        return values[0] if len(set(column)) == 1 else Array(values)[self.dialect]


def _build() -> DialectDecoder:
    return DialectDecoder()


TEMPLATE = UnitTemplate(
    name="dialect_decoder",
    kind="decoder",
    description="DialectFP4 code and dialect to sign and magnitude; one at the edge of an array",
    build=_build,
)
