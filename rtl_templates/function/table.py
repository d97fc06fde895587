"""A table look-up with linear interpolation: `mxhw.arithmetic.tables` in hardware, the same integers in a ROM."""

from typing import Any

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic.tables import Table
from mxhw.rtl_templates.integer import round_shift
from mxhw.rtl_templates.memory import Rom

__all__ = ["TableLookup"]


class TableLookup(wiring.Component):
    """One look-up a cycle.

    Stage 1 reads the ROM; with interpolation stage 2 multiplies the difference by the fraction and stage 3 adds.

    Parameters
    ----------
    table : Table
        What to look up.

    Members
    -------
    x : In(table.input_bits)
        The argument.
    enable : In(1)
        Every stage moves at this clock edge; all hold their values otherwise.
    y : Out(table.output_bits)
        The value of the ``x`` that was there :attr:`latency` enabled edges ago.
    """

    def __init__(self, *, table: Table) -> None:
        self._table = table
        super().__init__({"x": In(table.input_bits), "enable": In(1), "y": Out(table.output_bits)})

    @property
    def latency(self) -> int:
        """Enabled clock edges from ``x`` to ``y``: 1 without interpolation, 3 with it."""
        return 3 if self._table.interpolated else 1

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        table = self._table
        m.submodules.rom = rom = Rom(
            width=table.word_bits, depth=table.entries, file=f"{table.name}.hex", init=table.words
        )
        m.d.comb += [rom.address.eq(self.x[table.fraction_bits :]), rom.enable.eq(self.enable)]
        point, stored = rom.data[: table.output_bits], rom.data[table.output_bits :]
        if not table.interpolated:
            m.d.comb += self.y.eq(point)
            return m
        difference = stored.as_signed() if table.signed_difference else stored
        fraction = Signal(table.fraction_bits)
        base = Signal(table.output_bits)
        product = Signal(signed(len(stored) + table.fraction_bits + 1))
        with m.If(self.enable):
            m.d.sync += [
                fraction.eq(self.x),
                base.eq(point),
                product.eq(-(difference * fraction) if table.falling else difference * fraction),
                self.y.eq(base + round_shift(product, table.fraction_bits)),
            ]
        return m
