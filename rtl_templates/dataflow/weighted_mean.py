"""From the sums of weighted values to the output of attention: divided by the sum of the weights, on a static grid.

The definition is the second half of `mxhw.arithmetic.dataflow.AttentionValues`: ``normalise``, then an exponent that is
known at run time becomes a static one.
"""

from typing import Any

from amaranth.hdl import Module, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic.dataflow.streams import LARGEST_SCALE
from mxhw.arithmetic.functions.softmax import MANTISSA_BITS, OUTPUT_FRACTION, SoftmaxSpec
from mxhw.arithmetic.widths import signed_bits
from mxhw.rtl_templates.checks import require_natural
from mxhw.rtl_templates.dataflow.align import aligned_halves, rounded_halves
from mxhw.rtl_templates.dataflow.payloads import SCALE_BITS, integer_layout
from mxhw.rtl_templates.function.pipeline import Pipeline
from mxhw.rtl_templates.function.reciprocal import SumReciprocal
from mxhw.rtl_templates.integer import round_shift, round_shift_by, saturate

__all__ = ["WeightedMean", "sum_layout"]

MEAN_BITS = 16


def sum_layout(spec: SoftmaxSpec, keys: int, value_bits: int, lanes: int) -> data.StructLayout:
    """Return the payload of sums: ``sums``, the ``total`` of the weights, and the ``largest`` scale of the values."""
    return data.StructLayout(
        {
            "sums": data.ArrayLayout(signed(spec.value_sum_bits(keys, value_bits)), lanes),
            "total": spec.sum_bits(keys),
            "largest": SCALE_BITS,
        }
    )


class WeightedMean(wiring.Component):
    """``lanes`` means a cycle, :attr:`latency` cycles after their sums.

    Parameters
    ----------
    spec : SoftmaxSpec
        Of the weights.
    keys : int
        Weights of the longest sum.
    value_bits : int
        Of a value's code.
    shift : int
        Right shift of a mean to the output's exponent, for a largest scale of 0.
    output_bits : int
        Of an output.
    lanes : int
        Sums of a beat.

    Members
    -------
    x : In(stream.Signature(sum_layout(spec, keys, value_bits, lanes)))
        A sum is at most its total times the largest code; the total is at least ``spec.one``, the weight of a row's
        largest score. Ready depends on y.
    y : Out(stream.Signature(integer_layout(output_bits, lanes)))
        Registers.
    """

    def __init__(
        self, *, spec: SoftmaxSpec, keys: int, value_bits: int, shift: int, output_bits: int, lanes: int
    ) -> None:
        require_natural("keys", keys)
        require_natural("output_bits", output_bits, 2)
        require_natural("lanes", lanes)
        self._spec, self._value_bits, self._shift, self._bits = spec, value_bits, shift, output_bits
        self._reciprocal = SumReciprocal(spec=spec, keys=keys)
        super().__init__(
            {
                "x": In(stream.Signature(sum_layout(spec, keys, value_bits, lanes))),
                "y": Out(stream.Signature(integer_layout(output_bits, lanes))),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from a beat of x to that of y: the reciprocal; alignment, product, mean; shift, rounding."""
        return self._reciprocal.latency + 5

    @property
    def aligned_bits(self) -> int:
        """Bits of a sum once the total's leading one is at bit 15: the total is then below ``2**16``."""
        return signed_bits(((1 << self._value_bits - 1) - 1) << MANTISSA_BITS)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.reciprocal = reciprocal = self._reciprocal
        pipe = Pipeline(m, [self.x], self.y, self.latency)
        m.d.comb += [reciprocal.total.eq(self.x.payload.total), reciprocal.enable.eq(pipe.advance)]
        largest = pipe.register(self.x.payload.largest, "largest", reciprocal.latency + 3)
        factor = pipe.register(reciprocal.factor, "factor")
        for lane in range(len(self.y.payload)):
            total = pipe.register(self.x.payload.sums[lane], f"sum_{lane}", reciprocal.latency)
            mean = self._mean(m, pipe, total, reciprocal.position, factor, lane)
            halves = aligned_halves(
                mean, largest, shift=self._shift, largest_up=LARGEST_SCALE["integer"], bits=self._bits
            )
            halves = pipe.register(halves, f"halves_{lane}")
            result = pipe.register(rounded_halves(halves, self._bits), f"result_{lane}")
            m.d.comb += self.y.payload[lane].eq(result)
        return m

    def _mean(self, m: Module, pipe: Pipeline, total: Value, position: Value, factor: Value, lane: int) -> Value:
        """`normalise`, in three registers."""
        # The smallest total, one, has its leading one here; sums of it are brought to bit 15 by a constant.
        lowest = self._spec.one.bit_length() - 1
        lifted = total << MANTISSA_BITS - 1 - lowest
        aligned = round_shift_by(lifted, (position - lowest)[: len(position)])[: self.aligned_bits].as_signed()
        product = pipe.register(aligned, f"aligned_{lane}") * factor
        exact = pipe.register(product, f"product_{lane}")
        mean = saturate(round_shift(exact, 2 * MANTISSA_BITS - 1 - OUTPUT_FRACTION), MEAN_BITS)
        return pipe.register(mean, f"mean_{lane}")
