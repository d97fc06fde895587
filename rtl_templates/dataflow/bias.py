"""Adds a constant per channel to a stream; the definition is :meth:`mxhw.arithmetic.dataflow.Bias.run`."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic import signed_bits
from mxhw.rtl_templates.checks import require, require_natural
from mxhw.rtl_templates.dataflow.payloads import integer_layout
from mxhw.rtl_templates.function.channels import beats_of, channel_word
from mxhw.rtl_templates.function.pipeline import Pipeline
from mxhw.rtl_templates.integer import saturate
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "BiasUnit"]


class BiasUnit(wiring.Component):
    """A saturating sum with constants, one beat a cycle, latency 2: the constant is read, then added.

    Parameters
    ----------
    values : sequence of int
        A constant per channel, on the grid of the stream; their memory reads ``bias.hex``.
    bits : int
        Of an element of x.
    output_bits : int or None
        Of an element of y; None: as many.
    lanes : int
        Elements of a beat; they divide the number of channels.

    Members
    -------
    x : In(stream.Signature(integer_layout(bits, lanes)))
        Channel 0 first. Ready depends on y's ready.
    y : Out(stream.Signature(integer_layout(output_bits, lanes)))
        Registers.

    Raises
    ------
    InputError
        If there are no values, or the lanes do not divide their number.
    """

    latency = 2

    def __init__(
        self, *, values: Sequence[int], bits: int = 16, output_bits: int | None = None, lanes: int = 1
    ) -> None:
        require(len(values) > 0, "values", "a constant per channel", values)
        require_natural("bits", bits, 2)
        output_bits = bits if output_bits is None else output_bits
        require_natural("output_bits", output_bits, 2)
        self._beats = beats_of(len(values), lanes)
        self._values, self._lanes, self._output_bits = tuple(values), lanes, output_bits
        super().__init__(
            {
                "x": In(stream.Signature(integer_layout(bits, lanes))),
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
        return signed_bits(max(abs(value) for value in self._values))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        pipeline = Pipeline(m, [self.x], self.y, self.latency)
        values = channel_word(
            m,
            "bias",
            self._values,
            bits=self.value_bits,
            lanes=self._lanes,
            advance=pipeline.advance,
            step=pipeline.take,
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
