"""Whole softmax on a stream of base-2 scores; the definition is `mxhw.arithmetic.functions.softmax.softmax`.

The weights of a row and their sum come from :mod:`.softmax_weights`; they wait in a second buffer until the sum is
known and are then multiplied by its reciprocal. Three rows are under way at a time: one in each pass.
"""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from mxhw.arithmetic.functions.softmax import MANTISSA_BITS, SoftmaxSpec
from mxhw.rtl_templates.function.delay import delay
from mxhw.rtl_templates.function.reciprocal import SumReciprocal
from mxhw.rtl_templates.function.row_buffer import RowBuffer
from mxhw.rtl_templates.function.softmax_weights import SoftmaxWeighing, score_layout
from mxhw.rtl_templates.integer import round_shift_by
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "Softmax", "probability_layout"]


def probability_layout(spec: SoftmaxSpec) -> data.StructLayout:
    """Return the payload of probabilities: ``probability``, and ``last`` at the end of a row."""
    return data.StructLayout({"probability": spec.probability_bits, "last": 1})


class Softmax(wiring.Component):
    """Softmax of rows, one element a cycle.

    Without stalls, n keys in rows of one length t take ``n + 2 * t + 13`` cycles, first beat in to last beat out, both
    counted.

    Parameters
    ----------
    spec : SoftmaxSpec
        Widths and tables.
    keys : int
        The longest row; it sizes a score buffer and a weight buffer of ``keys + 1`` words each.
    causal : bool
        Rows see a number of their keys that comes as a stream.

    Members
    -------
    x, visible
        See :class:`.SoftmaxWeighing`.
    y : Out(stream.Signature(probability_layout(spec)))
        As many beats as scores. The payload is stable while valid and not ready; valid does not wait for ready.
    """

    def __init__(self, *, spec: SoftmaxSpec, keys: int, causal: bool = False) -> None:
        self.spec, self._keys, self._causal = spec, keys, causal
        self._weighing = SoftmaxWeighing(spec=spec, keys=keys, causal=causal)
        members = {
            "x": In(stream.Signature(score_layout(spec))),
            "y": Out(stream.Signature(probability_layout(spec))),
        }
        super().__init__(members | ({"visible": In(stream.Signature(range(keys + 1)))} if causal else {}))

    def elaborate(self, platform: Any) -> Module:
        spec, m = self.spec, Module()
        m.submodules.weighing = weighing = self._weighing
        connect(m, flipped(self.x), weighing.x)
        if self._causal:
            connect(m, flipped(self.visible), weighing.visible)
        m.submodules.rows = rows = RowBuffer(
            width=spec.weight_bits, length=self._keys, summary=spec.sum_bits(self._keys)
        )
        weights = weighing.y
        m.d.comb += [
            weights.ready.eq(rows.writable),
            rows.write.eq(weights.valid & rows.writable),
            *(rows.word.eq(weights.payload.weight), rows.last.eq(weights.payload.last)),
            rows.row_in.eq(weights.payload.total),
        ]

        m.submodules.reciprocal = reciprocal = SumReciprocal(spec=spec, keys=self._keys)
        advance = Signal()
        m.d.comb += [
            advance.eq(~self.y.valid | self.y.ready),
            *(rows.enable.eq(advance), reciprocal.enable.eq(advance), reciprocal.total.eq(rows.row)),
        ]
        wait = reciprocal.latency
        weight = delay(m, rows.data, wait, enable=advance, name="weight")
        valid = delay(m, rows.valid, wait + 1, enable=advance, name="valid", reset_less=False)
        last = delay(m, rows.end, wait + 1, enable=advance, name="last")
        product = Signal(spec.weight_bits + MANTISSA_BITS, reset_less=True)
        # At least 1 for every sum that is not 0; with a sum of 0 the product is 0, whatever the shift.
        shift = Signal(range(MANTISSA_BITS + spec.sum_bits(self._keys)), reset_less=True)
        out = self.y.payload
        with m.If(advance):
            m.d.sync += [
                product.eq(weight * reciprocal.factor),
                shift.eq(reciprocal.position + (MANTISSA_BITS - spec.probability_fraction)),
                self.y.valid.eq(valid),
                *(out.probability.eq(round_shift_by(product, shift)), out.last.eq(last)),
            ]
        return m


def _build(
    *,
    keys: int = 256,
    causal: bool = False,
    score_bits: int = 24,
    score_fraction: int = 8,
    weight_bits: int = 16,
    reciprocal_entries_log2: int = 5,
    probability_fraction: int = 15,
) -> Softmax:
    spec = SoftmaxSpec(
        score_bits=score_bits,
        score_fraction=score_fraction,
        weight_bits=weight_bits,
        reciprocal_entries_log2=reciprocal_entries_log2,
        probability_fraction=probability_fraction,
    )
    return Softmax(spec=spec, keys=keys, causal=causal)


TEMPLATE = UnitTemplate(
    name="softmax",
    kind="function",
    description="softmax of rows of base-2 scores, with a causal length a row",
    build=_build,
    choices={"causal": (False, True)},
)
