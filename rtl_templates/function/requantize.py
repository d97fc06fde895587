"""Requantizer: sums of a matrix product, times one multiplier per output channel, become a stream.

Its definition is `mxhw.arithmetic.functions.requantize`.
"""

from typing import Any

from amaranth.hdl import Module, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic.functions.requantize import RequantizeSpec
from mxhw.rtl_templates.checks import require_natural
from mxhw.rtl_templates.function.channels import beats_of, channel_word
from mxhw.rtl_templates.function.pipeline import Pipeline
from mxhw.rtl_templates.integer import round_shift, saturate
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "Requantize"]


class Requantize(wiring.Component):
    """One beat a cycle, latency 4: shorten, multiply (two stages, for multipliers of two DSPs), round and saturate.

    Parameters
    ----------
    spec : RequantizeSpec
        Multipliers, shifts and widths. A single multiplier serves channels of any number.
    lanes : int
        Elements of a beat; they divide the number of channels.

    Members
    -------
    x : In(stream.Signature(data.ArrayLayout(signed(spec.input_bits), lanes)))
        Sums, channel 0 first. Ready depends on y's ready.
    y : Out(stream.Signature(data.ArrayLayout(signed(spec.output_bits), lanes)))
        Registers.

    Raises
    ------
    InputError
        If the lanes do not divide the channels.
    """

    latency = 4

    def __init__(self, *, spec: RequantizeSpec, lanes: int = 1) -> None:
        require_natural("lanes", lanes)
        if spec.length > 1:
            beats_of(spec.length, lanes)
        self._spec, self._lanes = spec, lanes
        x, y = (data.ArrayLayout(signed(bits), lanes) for bits in (spec.input_bits, spec.output_bits))
        super().__init__({"x": In(stream.Signature(x)), "y": Out(stream.Signature(y))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        spec, widths = self._spec, self._spec.widths
        pipeline = Pipeline(m, [self.x], self.y, self.latency)
        multipliers = channel_word(
            m,
            "multipliers",
            spec.multipliers,
            bits=spec.multiplier_bits,
            lanes=self._lanes,
            advance=pipeline.advance,
            step=pipeline.take,
        )
        for lane, multiplier in enumerate(multipliers):
            short = round_shift(self.x.payload[lane], spec.pre_shift)[: widths.reduced].as_signed()
            reduced = pipeline.register(short, f"reduced_{lane}")
            exact = (reduced * multiplier)[: widths.product].as_signed()
            product = pipeline.register(exact, f"product_{lane}", stages=2)
            result = saturate(round_shift(product, spec.shift), spec.output_bits)
            m.d.comb += self.y.payload[lane].eq(pipeline.register(result, f"result_{lane}"))
        return m


def _build(length: int = 64, lanes: int = 1, input_bits: int = 32, output_bits: int = 16) -> Requantize:
    require_natural("length", length)
    require_natural("input_bits", input_bits, 2)
    require_natural("output_bits", output_bits, 2)
    # Multipliers spread over the upper half of their range, as those of a layer with row scales.
    multipliers = tuple((1 << 15) + index * 40503 % (1 << 15) for index in range(length))
    spec = RequantizeSpec(
        multipliers=multipliers,
        largest=(1 << input_bits - 1) - 1,
        shift=max(0, min(32, input_bits) + 16 - output_bits - 1),
        output_bits=output_bits,
    )
    return Requantize(spec=spec, lanes=lanes)


TEMPLATE = UnitTemplate(
    name="requantize",
    kind="function",
    description="sums of a matrix product times a multiplier per channel, rounded and saturated to a stream",
    build=_build,
)
