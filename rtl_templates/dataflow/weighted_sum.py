"""Sums of values by the weights of their keys, a few channels at a time; exact.

The definition is `mxhw.arithmetic.functions.softmax.value_weights` and the products after it. Stages, gated by one
``enable``:

    1   codes and scales are there
    2   the weight's shift
    3   the weight, shifted
    4   products; the sums so far are read
    5   sums: after a row's last key they leave
"""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic.dataflow.streams import LARGEST_SCALE
from mxhw.arithmetic.functions.softmax import SoftmaxSpec
from mxhw.arithmetic.widths import signed_bits
from mxhw.rtl_templates.checks import require_natural
from mxhw.rtl_templates.dataflow.payloads import SCALE_BITS
from mxhw.rtl_templates.dataflow.weighted_mean import sum_layout
from mxhw.rtl_templates.function.delay import delay
from mxhw.rtl_templates.integer import round_shift_by
from mxhw.rtl_templates.memory import Ram

__all__ = ["WeightedSum"]


class WeightedSum(wiring.Component):
    """``lanes`` products a cycle.

    Parameters
    ----------
    spec : SoftmaxSpec
        Of the weights.
    keys : int
        Of the longest row.
    value_bits : int
        Of a code; the most negative one does not occur.
    words, lanes : int
        A vector of values has so many words of so many codes.

    Members
    -------
    enable : In(1)
        Every stage moves at this clock edge; all hold their values otherwise.
    step : In(1)
        A word of a key, which the members below belong to. Words of a key come in order.
    word, first, last : In
        Which of its words, and whether it is of the row's first, last key.
    mantissa, shift, total : In
        As in the key's weight; the total counts with the row's last key.
    largest : In(SCALE_BITS)
        The largest scale in the row.
    codes, scale : In
        The word and its scale, one enabled edge after its step: a memory's output.
    valid : Out(1)
    y : Out(sum_layout(spec, keys, value_bits, lanes))
        A word of the row's sums, :attr:`latency` enabled edges after the step of its last key.
    """

    latency = 5

    def __init__(self, *, spec: SoftmaxSpec, keys: int, value_bits: int, words: int, lanes: int) -> None:
        for name, value in (("keys", keys), ("words", words), ("lanes", lanes)):
            require_natural(name, value)
        self._spec, self._bits, self._words, self._lanes = spec, value_bits, words, lanes
        self._sum_bits = spec.value_sum_bits(keys, value_bits)
        super().__init__(
            {
                "enable": In(1),
                "step": In(1),
                "word": In(range(max(2, words))),
                "first": In(1),
                "last": In(1),
                "mantissa": In(spec.weight_bits),
                "shift": In(range(spec.shift_largest + 1)),
                "total": In(spec.sum_bits(keys)),
                "largest": In(SCALE_BITS),
                "codes": In(lanes * value_bits),
                "scale": In(SCALE_BITS),
                "valid": Out(1),
                "y": Out(sum_layout(spec, keys, value_bits, lanes)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        moved = self._wait(m, self.step, 4, "step", reset_less=False)
        word, first, last = (self._wait(m, getattr(self, name), 4, name) for name in ("word", "first", "last"))
        sums = self._add(m, self._multiply(m), first, word, moved)
        with m.If(self.enable):
            m.d.sync += [
                self.valid.eq(moved & last),
                Value.cast(self.y.sums).eq(sums),
                self.y.total.eq(self._wait(m, self.total, 4, "total")),
                self.y.largest.eq(self._wait(m, self.largest, 4, "largest")),
            ]
        return m

    def _wait(self, m: Module, value: Value, stages: int, name: str, **options: bool) -> Value:
        return delay(m, value, stages, enable=self.enable, name=name, **options)

    def _multiply(self, m: Module) -> list[Signal]:
        """Return the products of stage 4."""
        bits, spec = self._bits, self._spec
        # A scale is at most the largest one.
        amount = Signal(range(spec.shift_largest + LARGEST_SCALE["integer"] + 1), reset_less=True)
        weight = Signal(spec.weight_bits, reset_less=True)
        product = signed(signed_bits(spec.one * ((1 << bits - 1) - 1)))
        products = [Signal(product, name=f"product_{lane}", reset_less=True) for lane in range(self._lanes)]
        folded = self._wait(m, self.shift + self.largest, 1, "folded")
        mantissa, codes = self._wait(m, self.mantissa, 2, "mantissa"), self._wait(m, self.codes, 2, "codes")
        with m.If(self.enable):
            m.d.sync += [amount.eq(folded - self.scale), weight.eq(round_shift_by(mantissa, amount))]
            for lane, target in enumerate(products):
                m.d.sync += target.eq(weight * codes.word_select(lane, bits).as_signed())
        return products

    def _add(self, m: Module, products: list[Signal], first: Value, word: Value, moved: Value) -> Value:
        """Keep the sums of each word; return those of stage 4 with their products."""
        width = self._lanes * self._sum_bits
        before, after = Signal(width), Signal(width)
        for lane, product in enumerate(products):
            so_far = before.word_select(lane, self._sum_bits).as_signed()
            m.d.comb += after.word_select(lane, self._sum_bits).eq(Mux(first, 0, so_far) + product)
        write = moved & self.enable
        if self._words == 1:
            with m.If(write):
                m.d.sync += before.eq(after)
            return after
        # A word comes again after two steps at the earliest: it is written by then.
        m.submodules.sums = sums = Ram(width=width, depth=self._words)
        m.d.comb += [
            *(sums.address.eq(self._wait(m, self.word, 3, "read_word")), sums.enable.eq(self.enable)),
            *(sums.write.eq(write), sums.write_address.eq(word), sums.write_data.eq(after)),
            before.eq(sums.data),
        ]
        return after
