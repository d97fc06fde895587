"""The reciprocal of a sum of softmax weights; the definition is `mxhw.arithmetic.functions.softmax.reciprocal`."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic.functions.softmax import MANTISSA_BITS, SoftmaxSpec
from mxhw.rtl_templates.function.delay import delay
from mxhw.rtl_templates.function.table import TableLookup
from mxhw.rtl_templates.integer import leading_one

__all__ = ["SumReciprocal"]


class SumReciprocal(wiring.Component):
    """One reciprocal a cycle: ``1 / total = factor * 2**-(16 + position)``.

    Parameters
    ----------
    spec : SoftmaxSpec
        Its table.
    keys : int
        Weights in the longest sum.

    Members
    -------
    total : In(spec.sum_bits(keys))
        The sum; 0 gives the reciprocal of 1.
    enable : In(1)
        Every stage moves at this clock edge; all hold their values otherwise.
    factor, position : Out
        Those of the ``total`` that was there :attr:`latency` enabled edges ago.
    """

    def __init__(self, *, spec: SoftmaxSpec, keys: int) -> None:
        self._lookup = TableLookup(table=spec.recip)
        bits = spec.sum_bits(keys)
        super().__init__(
            {"total": In(bits), "enable": In(1), "factor": Out(MANTISSA_BITS), "position": Out(range(max(2, bits)))}
        )

    @property
    def latency(self) -> int:
        """Enabled clock edges from ``total`` to ``factor``."""
        return 2 + self._lookup.latency

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.lookup = lookup = self._lookup
        bits = len(self.total)
        total, position = Signal(bits, reset_less=True), Signal.like(self.position, reset_less=True)
        mantissa = Signal(MANTISSA_BITS, reset_less=True)
        # The sum with its leading one at the top, and enough zeros below that 16 bits follow it.
        aligned = Signal(bits)
        m.d.comb += aligned.eq(total << (bits - 1 - position)[: len(position)])
        below = Cat(Const(0, MANTISSA_BITS), aligned[:-1])
        with m.If(self.enable):
            m.d.sync += [
                *(total.eq(self.total), position.eq(leading_one(self.total))),
                mantissa.eq(below[-MANTISSA_BITS:]),
            ]
        m.d.comb += [
            *(lookup.x.eq(mantissa), lookup.enable.eq(self.enable), self.factor.eq(lookup.y)),
            self.position.eq(delay(m, position, self.latency - 1, enable=self.enable, name="position")),
        ]
        return m
