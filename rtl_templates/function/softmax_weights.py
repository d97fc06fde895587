"""Softmax up to the weights of the keys and their sum, which is what attention takes.

The definition is `mxhw.arithmetic.functions.softmax.softmax_weights`. A row's first pass (its maximum) runs while the
row is written; its second pass reads it again, beside the first pass of the next row.

Stages of the second pass, gated by one ``advance``:

    1   the score is read
    2   distance to the maximum
    3   EXP2
    4   shift
    5   running sum: the output
"""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic.functions.softmax import SoftmaxSpec
from mxhw.rtl_templates.checks import require_natural
from mxhw.rtl_templates.function.delay import delay
from mxhw.rtl_templates.function.row_buffer import RowBuffer
from mxhw.rtl_templates.function.table import TableLookup
from mxhw.rtl_templates.integer import round_shift_by
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "SoftmaxWeighing", "score_layout", "weight_layout"]


def score_layout(spec: SoftmaxSpec) -> data.StructLayout:
    """Return the payload of scores: ``score``, and ``last`` at the end of a row."""
    return data.StructLayout({"score": signed(spec.score_bits), "last": 1})


def weight_layout(spec: SoftmaxSpec, keys: int) -> data.StructLayout:
    """Return the payload of weights.

    ``mantissa`` and ``shift`` are the weight before its shift, ``total`` is the sum of the weights so far: with
    ``last``, that of the row.
    """
    return data.StructLayout(
        {
            "weight": spec.weight_bits,
            "mantissa": spec.weight_bits,
            "shift": range(spec.shift_largest + 1),
            "total": spec.sum_bits(keys),
            "last": 1,
        }
    )


class SoftmaxWeighing(wiring.Component):
    """Gives each key of a row its weight, one key a cycle.

    Without stalls, n keys in rows of one length t take ``n + t + 5`` cycles, first beat in to last beat out, both
    counted.

    Parameters
    ----------
    spec : SoftmaxSpec
        Widths and tables.
    keys : int
        The longest row; it sizes the score buffer: ``keys + 1`` words of ``score_bits``.
    causal : bool
        Rows see a number of their keys that comes as a stream.

    Members
    -------
    x : In(stream.Signature(score_layout(spec)))
        Scores, row after row, each of 1 to ``keys`` beats. Ready depends on registers, and on visible's valid.
    visible : In(stream.Signature(range(keys + 1))), only with ``causal``
        One beat a row: how many of its first keys are seen; as many as it has if this is more. The weights of the
        others are 0. Taken with the row's last score.
    y : Out(stream.Signature(weight_layout(spec, keys)))
        As many beats as scores. The payload is stable while valid and not ready; valid does not wait for ready.
    """

    def __init__(self, *, spec: SoftmaxSpec, keys: int, causal: bool = False) -> None:
        require_natural("keys", keys)
        self.spec, self._keys, self._causal = spec, keys, causal
        members = {
            "x": In(stream.Signature(score_layout(spec))),
            "y": Out(stream.Signature(weight_layout(spec, keys))),
        }
        super().__init__(members | ({"visible": In(stream.Signature(range(keys + 1)))} if causal else {}))

    def elaborate(self, platform: Any) -> Module:
        spec, m = self.spec, Module()
        seen_bits = len(self.visible.payload) if self._causal else 0
        m.submodules.rows = rows = RowBuffer(
            width=spec.score_bits, length=self._keys, summary=spec.score_bits + seen_bits
        )
        m.submodules.exp2 = exp2 = TableLookup(table=spec.exp2)
        advance = Signal()
        m.d.comb += [
            advance.eq(~self.y.valid | self.y.ready),
            rows.enable.eq(advance),
            exp2.enable.eq(advance),
        ]
        self._first_pass(m, rows)

        largest = rows.row[: spec.score_bits].as_signed()
        distance, mantissa = largest - rows.data.as_signed(), exp2.y
        if self._causal:
            seen = rows.index < rows.row[spec.score_bits :]
            distance = Mux(seen, distance, 0)
            mantissa = Mux(delay(m, seen, 2, enable=advance, name="seen"), mantissa, 0)
        below = Signal(spec.score_bits, reset_less=True)
        m.d.comb += exp2.x.eq(below[: spec.score_fraction])
        octaves = below[spec.score_fraction :]
        shift = Signal(range(spec.shift_largest + 1), reset_less=True)
        with m.If(advance):
            m.d.sync += [
                below.eq(distance),
                shift.eq(Mux(octaves > spec.shift_largest, spec.shift_largest, octaves)),
            ]

        weight = Signal(spec.weight_bits, reset_less=True)
        passed_mantissa = delay(m, mantissa, 1, enable=advance, name="mantissa")
        passed_shift = delay(m, shift, 1, enable=advance, name="shift")
        valid = delay(m, rows.valid, 3, enable=advance, name="valid", reset_less=False)
        last = delay(m, rows.end, 3, enable=advance, name="last")
        total = Signal(spec.sum_bits(self._keys))
        summed = total + weight
        out = self.y.payload
        with m.If(advance):
            m.d.sync += [
                weight.eq(round_shift_by(mantissa, shift)),
                self.y.valid.eq(valid),
                *(out.weight.eq(weight), out.mantissa.eq(passed_mantissa), out.shift.eq(passed_shift)),
                *(out.total.eq(summed), out.last.eq(last)),
            ]
            with m.If(valid):
                m.d.sync += total.eq(Mux(last, 0, summed))
        return m

    def _first_pass(self, m: Module, rows: RowBuffer) -> None:
        """Write the row, and find the largest score that is seen."""
        lowest = -(1 << self.spec.score_bits - 1)
        score, last = self.x.payload.score, self.x.payload.last
        largest = Signal(signed(self.spec.score_bits), init=lowest)
        larger: Value = score > largest
        ready: Value = rows.writable
        if self._causal:
            index = Signal(range(max(2, self._keys)))
            larger = larger & (index < self.visible.payload)
            ready = rows.writable & self.visible.valid
            m.d.comb += self.visible.ready.eq(rows.writable & self.x.valid & last)
            with m.If(rows.write):
                m.d.sync += index.eq(Mux(last, 0, index + 1))
        found = Mux(larger, score, largest)
        m.d.comb += [
            self.x.ready.eq(ready),
            *(rows.write.eq(self.x.valid & ready), rows.word.eq(score), rows.last.eq(last)),
            rows.row_in.eq(Cat(found[: self.spec.score_bits], *([self.visible.payload] if self._causal else []))),
        ]
        with m.If(rows.write):
            m.d.sync += largest.eq(Mux(last, lowest, found))


def _build(
    *, keys: int = 256, causal: bool = False, score_bits: int = 24, score_fraction: int = 8, weight_bits: int = 16
) -> SoftmaxWeighing:
    spec = SoftmaxSpec(score_bits=score_bits, score_fraction=score_fraction, weight_bits=weight_bits)
    return SoftmaxWeighing(spec=spec, keys=keys, causal=causal)


TEMPLATE = UnitTemplate(
    name="softmax_weights",
    kind="function",
    description="weights of keys from rows of base-2 scores, and their sum: softmax without its division",
    build=_build,
    choices={"causal": (False, True)},
)
