"""RMSNorm of a stream; its definition is `mxhw.arithmetic.functions.rms_norm`."""

from collections.abc import Sequence
from typing import Any

import torch
from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data

from mxhw.arithmetic.functions.rms_norm import RMSNormSpec
from mxhw.rtl_templates.checks import require_natural
from mxhw.rtl_templates.function.channels import layer_specs
from mxhw.rtl_templates.function.norm import Norm, NormShape, always, any_of, magnitude_shift, taken_flags
from mxhw.rtl_templates.function.vector_store import VectorStore
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "RMSNorm"]


class RMSNorm(Norm):
    """One beat a cycle, vector after vector; the first beat of y ``2 D / lanes + 22`` cycles after that of x.

    Parameters
    ----------
    spec : RMSNormSpec, or a sequence of them
        Gains, epsilon, shift and widths. A sequence: of each layer that shares the unit; they differ in gains only.
    lanes : int
        Elements of a beat; they divide the length.

    Members
    -------
    x, layer, y
        As in :class:`Norm`.

    Raises
    ------
    InputError
        If the lanes do not divide the length, or layers differ in more than gains.
    """

    # Magnitudes of a beat, of the vector, shift.
    _SURVEY_DELAY = 3

    def __init__(self, *, spec: RMSNormSpec | Sequence[RMSNormSpec], lanes: int = 1) -> None:
        specs = layer_specs(spec, "gains")
        first = specs[0]
        shape = NormShape(
            length=first.length,
            input_bits=first.input_bits,
            centred_bits=first.input_bits,
            output_bits=first.output_bits,
            epsilon=first.epsilon,
            shift=first.shift,
            widths=max((each.widths for each in specs), key=lambda widths: widths.gained),
            gains=[each.gains for each in specs],
            gain_bits=first.gain_bits,
            layered=isinstance(spec, Sequence),
        )
        super().__init__(shape, lanes, self._SURVEY_DELAY)

    @property
    def _survey_layout(self) -> data.StructLayout:
        return data.StructLayout({"shift": self._shape.widths.magnitude_shift})

    def _survey(self, m: Module, store: VectorStore, taken: Value) -> None:
        magnitudes = [abs(self.x.payload[lane]) for lane in range(self._lanes)]
        beat = always(m, any_of(magnitudes)[: self._shape.input_bits - 1], "beat_magnitude")
        valid, first, last = taken_flags(m, store, taken)
        magnitude = Signal.like(beat)
        with m.If(valid):
            m.d.sync += magnitude.eq(Mux(first, 0, magnitude) | beat)
        m.d.comb += [
            store.summary.shift.eq(always(m, magnitude_shift(magnitude), "survey_shift")),
            store.done.eq(always(m, valid & last, "survey_done", stages=2)),
        ]

    def _centred(self, element: Value, summary: Any) -> Value:
        return element


def _build(length: int = 128, lanes: int = 1, input_bits: int = 24, output_bits: int = 16) -> RMSNorm:
    require_natural("length", length)
    gains = torch.linspace(0.5, 1.5, length)
    # A residual stream of ±16 and an output of ±8, if both have their usual widths.
    spec = RMSNormSpec.of(gains, 1e-5, 5 - input_bits, 4 - output_bits, input_bits=input_bits, output_bits=output_bits)
    return RMSNorm(spec=spec, lanes=lanes)


TEMPLATE = UnitTemplate(
    name="rms_norm",
    kind="function",
    description="RMSNorm of vectors of `length`, from the residual stream to the norm stream",
    build=_build,
)
