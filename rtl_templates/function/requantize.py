"""Requantizer: sums of a matrix product, times one multiplier per output channel, become a stream.

Its definition is `mxhw.arithmetic.functions.requantize`.
"""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Module, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic.functions.requantize import RequantizeSpec, RequantizeWidths
from mxhw.rtl_templates.checks import require, require_natural
from mxhw.rtl_templates.function.channels import beats_of, channel_word, layer_member, layer_specs, layer_stream
from mxhw.rtl_templates.function.pipeline import Pipeline
from mxhw.rtl_templates.integer import round_shift, saturate
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "Requantize"]


class Requantize(wiring.Component):
    """One beat a cycle, latency 4: shorten, multiply (two stages, for multipliers of two DSPs), round and saturate.

    Parameters
    ----------
    spec : RequantizeSpec, or a sequence of them
        Multipliers, shifts and widths. A single multiplier serves channels of any number. A sequence: of each layer
        that shares the unit; they differ in multipliers only.
    lanes : int
        Elements of a beat; they divide the number of channels.
    channels : int or None
        Of a token; None: as many as multipliers. Layers with a single multiplier each do not say it.

    Members
    -------
    x : In(stream.Signature(data.ArrayLayout(signed(spec.input_bits), lanes)))
        Sums, channel 0 first. Ready depends on y's ready; with layers, on valid of both inputs, too.
    layer : In(stream.Signature(range(layers)))
        Where there is a sequence of specifications: the layer of each token, taken with the token's last beat.
    y : Out(stream.Signature(data.ArrayLayout(signed(spec.output_bits), lanes)))
        Registers.

    Raises
    ------
    InputError
        If the lanes do not divide the channels, multipliers are not one per channel, or layers differ in more than
        them.
    """

    latency = 4

    def __init__(
        self, *, spec: RequantizeSpec | Sequence[RequantizeSpec], lanes: int = 1, channels: int | None = None
    ) -> None:
        require_natural("lanes", lanes)
        specs = layer_specs(spec, "multipliers")
        layers = len(specs) if isinstance(spec, Sequence) else None
        length = max(each.length for each in specs) if channels is None else channels
        known = layers is None or length > 1 or channels is not None
        require(known, "channels", "given where every layer has a single multiplier", channels)
        require_natural("channels", length)
        if length > 1:
            beats_of(length, lanes)
        for each in specs:
            require(each.length in (1, length), "multipliers", f"one, or {length}", each.length)
        # The largest multiplier of all has the widest products.
        self._spec, self._lanes = max(specs, key=lambda each: max(each.multipliers)), lanes
        self._multipliers = [each.multipliers * (length // each.length) for each in specs]
        x, y = (data.ArrayLayout(signed(bits), lanes) for bits in (self._spec.input_bits, self._spec.output_bits))
        super().__init__({"x": In(stream.Signature(x)), **layer_member(layers), "y": Out(stream.Signature(y))})

    @property
    def multipliers(self) -> list[tuple[int, ...]]:
        """Of each layer, one a channel."""
        return self._multipliers

    @property
    def widths(self) -> RequantizeWidths:
        """Of the intermediates, for all layers."""
        return self._spec.widths

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        spec, widths = self._spec, self._spec.widths
        layer = layer_stream(self)
        pipeline = Pipeline(m, [self.x], self.y, self.latency, held=layer)
        multipliers = channel_word(
            m,
            "multipliers",
            self._multipliers,
            bits=spec.multiplier_bits,
            lanes=self._lanes,
            pipeline=pipeline,
            layer=layer,
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
