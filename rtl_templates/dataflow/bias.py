"""Adds a constant per channel to a stream; the definition is :meth:`mxhw.arithmetic.dataflow.Bias.run`."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic import signed_bits
from mxhw.rtl_templates.checks import require, require_natural
from mxhw.rtl_templates.dataflow.payloads import integer_layout
from mxhw.rtl_templates.function.channels import beats_of, channel_word, layer_member, layer_stream
from mxhw.rtl_templates.function.pipeline import Pipeline
from mxhw.rtl_templates.integer import saturate
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "BiasUnit"]


class BiasUnit(wiring.Component):
    """A saturating sum with constants, one beat a cycle, latency 2: the constant is read, then added.

    Parameters
    ----------
    values : sequence of int, or a sequence of those
        A constant per channel, on the grid of the stream; their memory reads ``bias.hex``. A sequence of sequences: of
        each layer that shares the unit.
    bits : int
        Of an element of x.
    output_bits : int or None
        Of an element of y; None: as many.
    lanes : int
        Elements of a beat; they divide the number of channels.

    Members
    -------
    x : In(stream.Signature(integer_layout(bits, lanes)))
        Channel 0 first. Ready depends on y's ready; with layers, on valid of both inputs, too.
    layer : In(stream.Signature(range(layers)))
        Where there are values of layers: the layer of each token, taken with the token's last beat.
    y : Out(stream.Signature(integer_layout(output_bits, lanes)))
        Registers.

    Raises
    ------
    InputError
        If there are no values, their number differs between layers, or the lanes do not divide it.
    """

    latency = 2

    def __init__(
        self,
        *,
        values: Sequence[int] | Sequence[Sequence[int]],
        bits: int = 16,
        output_bits: int | None = None,
        lanes: int = 1,
    ) -> None:
        require(len(values) > 0, "values", "a constant per channel", values)
        layered = isinstance(values[0], Sequence)
        each: Any = values if layered else [values]
        self._values = [tuple(layer) for layer in each]
        lengths = [len(layer) for layer in self._values]
        require(len(set(lengths)) == 1 and lengths[0] > 0, "values", "a constant per channel in every layer", values)
        require_natural("bits", bits, 2)
        output_bits = bits if output_bits is None else output_bits
        require_natural("output_bits", output_bits, 2)
        self._beats = beats_of(lengths[0], lanes)
        self._lanes, self._output_bits = lanes, output_bits
        super().__init__(
            {
                "x": In(stream.Signature(integer_layout(bits, lanes))),
                **layer_member(len(values) if layered else None),
                "y": Out(stream.Signature(integer_layout(output_bits, lanes))),
            }
        )

    @property
    def interval(self) -> int:
        """Cycles a token."""
        return self._beats

    @property
    def value_bits(self) -> int:
        """Bits of a constant."""
        return signed_bits(max(abs(value) for layer in self._values for value in layer))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        layer = layer_stream(self)
        pipeline = Pipeline(m, [self.x], self.y, self.latency, held=layer)
        values = channel_word(
            m, "bias", self._values, bits=self.value_bits, lanes=self._lanes, pipeline=pipeline, layer=layer
        )
        for lane, value in enumerate(values):
            x = pipeline.register(self.x.payload[lane], f"x_{lane}")
            total = saturate(x + value.as_signed(), self._output_bits)
            m.d.comb += self.y.payload[lane].eq(pipeline.register(total, f"total_{lane}"))
        return m


def _build(length: int = 16, bits: int = 16, lanes: int = 1) -> BiasUnit:
    """The constants are spread over the upper half of the stream's range, with alternating signs."""
    require_natural("length", length)
    require_natural("bits", bits, 4)
    half = 1 << bits - 2
    values = [(half + index * 40503 % half) * (-1) ** index for index in range(length)]
    return BiasUnit(values=values, bits=bits, lanes=lanes)


TEMPLATE = UnitTemplate(
    name="bias",
    kind="dataflow",
    description="a constant per channel added to a stream, saturated",
    build=_build,
)
