"""LayerNorm of a stream; its definition is `mxhw.arithmetic.functions.layer_norm`."""

from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data

from mxhw.arithmetic.functions.layer_norm import BIAS_FRACTION, MEAN_FRACTION, LayerNormSpec
from mxhw.rtl_templates.checks import require_natural
from mxhw.rtl_templates.function.channels import layer_specs
from mxhw.rtl_templates.function.norm import Norm, NormShape, always, any_of, magnitude_shift, taken_flags
from mxhw.rtl_templates.function.vector_store import VectorStore
from mxhw.rtl_templates.integer import round_shift
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "LayerNorm"]


class LayerNorm(Norm):
    """One beat a cycle, vector after vector; the first beat of y ``2 D / lanes + 27`` cycles after that of x.

    Parameters
    ----------
    spec : LayerNormSpec, or a sequence of them
        Gains, biases, epsilon, shift and widths. A sequence: of each layer that shares the unit; they differ in gains
        and biases only.
    lanes : int
        Elements of a beat; they divide the length.

    Members
    -------
    x, layer, y
        As in :class:`Norm`.

    Raises
    ------
    InputError
        If the lanes do not divide the length, or layers differ in more than gains and biases.
    """

    # Sum and extremes of a beat, of the vector, two stages of the product with 1/D, mean, magnitude, shift.
    _SURVEY_DELAY = 7

    def __init__(self, *, spec: LayerNormSpec | Sequence[LayerNormSpec], lanes: int = 1) -> None:
        specs = layer_specs(spec, "gains", "biases")
        first = specs[0]
        self._spec = first
        shape = NormShape(
            length=first.length,
            input_bits=first.input_bits,
            centred_bits=first.centred_bits,
            output_bits=first.output_bits,
            epsilon=first.epsilon,
            shift=first.shift,
            widths=max((each.widths for each in specs), key=lambda widths: widths.gained),
            gains=[each.gains for each in specs],
            gain_bits=first.gain_bits,
            biases=[each.biases for each in specs],
            bias_bits=first.bias_bits,
            bias_shift=first.shift - BIAS_FRACTION,
            layered=isinstance(spec, Sequence),
        )
        super().__init__(shape, lanes, self._SURVEY_DELAY)

    @property
    def _survey_layout(self) -> data.StructLayout:
        return data.StructLayout({"mean": signed(self._spec.mean_bits), "shift": self._shape.widths.magnitude_shift})

    def _survey(self, m: Module, store: VectorStore, taken: Value) -> None:
        spec, reciprocal = self._spec, self._spec.reciprocal
        valid, first, last = taken_flags(m, store, taken)
        total, high, low = self._running(m, valid, first)
        product = always(m, total * reciprocal.multiplier, "product", stages=2)
        rounded = round_shift(product, reciprocal.places - MEAN_FRACTION)
        mean = always(m, rounded[: spec.mean_bits].as_signed(), "mean")
        # The mean lies between the extremes, so the largest distance from it is that of one of them.
        distances = [
            abs((always(m, extreme, name, stages=3) << MEAN_FRACTION) - mean)
            for extreme, name in ((high, "high_again"), (low, "low_again"))
        ]
        magnitude = always(m, any_of(distances)[: spec.centred_bits - 1], "magnitude_bits")
        m.d.comb += [
            store.summary.mean.eq(always(m, mean, "mean_again", stages=2)),
            store.summary.shift.eq(always(m, magnitude_shift(magnitude), "survey_shift")),
            store.done.eq(always(m, valid & last, "survey_done", stages=6)),
        ]

    def _running(self, m: Module, valid: Value, first: Value) -> tuple[Signal, Signal, Signal]:
        """Return sum, largest and smallest element of the vector so far."""
        bits = self._spec.input_bits
        elements = [self.x.payload[lane] for lane in range(self._lanes)]
        beat_sum = always(m, sum(elements[1:], elements[0]), "beat_sum")
        beat_high = always(m, reduce(_larger, elements), "beat_high")
        beat_low = always(m, reduce(_smaller, elements), "beat_low")
        total = Signal(signed(self._spec.sum_bits))
        high, low = Signal(signed(bits)), Signal(signed(bits))
        with m.If(valid):
            m.d.sync += [
                total.eq(Mux(first, 0, total) + beat_sum),
                high.eq(Mux(first, beat_high, _larger(high, beat_high))),
                low.eq(Mux(first, beat_low, _smaller(low, beat_low))),
            ]
        return total, high, low

    def _centred(self, element: Value, summary: Any) -> Value:
        return (element << MEAN_FRACTION) - summary.mean


def _larger(a: Value, b: Value) -> Value:
    return Mux(a > b, a, b)


def _smaller(a: Value, b: Value) -> Value:
    return Mux(a < b, a, b)


def _build(length: int = 128, lanes: int = 1, input_bits: int = 24, output_bits: int = 16) -> LayerNorm:
    require_natural("length", length)
    gains, biases = torch.linspace(0.5, 1.5, length), torch.linspace(-1.0, 1.0, length)
    # A residual stream of ±16 and an output of ±8, if both have their usual widths.
    spec = LayerNormSpec.of(
        gains, biases, 1e-5, 5 - input_bits, 4 - output_bits, input_bits=input_bits, output_bits=output_bits
    )
    return LayerNorm(spec=spec, lanes=lanes)


TEMPLATE = UnitTemplate(
    name="layer_norm",
    kind="function",
    description="LayerNorm of vectors of `length`, from the residual stream to the norm stream",
    build=_build,
)
