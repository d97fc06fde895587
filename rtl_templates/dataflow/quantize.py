"""On-line quantizer of a stream of vectors: padding to whole blocks, and the encoder of the format.

The definition is :meth:`mxhw.arithmetic.dataflow.Quantize.run`.
"""

from typing import Any

from amaranth.hdl import Module, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic.dataflow import BlockCodes, Integers
from mxhw.arithmetic.dataflow.products import DIALECT_SOURCE_EXPONENT
from mxhw.arithmetic.online_scaled import integer_exponents
from mxhw.rtl_templates.checks import require, require_lanes
from mxhw.rtl_templates.dataflow.padding import Padding
from mxhw.rtl_templates.dataflow.payloads import code_layout, integer_layout
from mxhw.rtl_templates.encoder import DialectEncoder, IntegerEncoder
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "QuantizeUnit"]

_SOURCE_BITS = 16


class QuantizeUnit(wiring.Component):
    """Int16 mantissas become codes; one beat a cycle.

    Parameters
    ----------
    x : Integers
        The stream that is quantized, of 16 bits.
    y : BlockCodes
        Its codes.
    lanes : int
        Elements of a beat; they divide the length of a token and the block.

    Members
    -------
    x : In(stream.Signature(integer_layout(16, lanes)))
        ``length / lanes`` beats a token. Not ready while zeros are put behind a token.
    y : Out(stream.Signature(code_layout(y, lanes)))
        ``padded / lanes`` beats a token. Registers.

    Raises
    ------
    InputError
        For streams of different lengths, another width than 16 bits, or lanes that do not divide.
    """

    def __init__(self, *, x: Integers, y: BlockCodes, lanes: int = 1) -> None:
        require(x.bits == _SOURCE_BITS, "bits of x", f"{_SOURCE_BITS}", x.bits)
        require(x.length == y.length, "length of y", f"that of x, {x.length}", y.length)
        require_lanes(lanes, x.length, "length")
        require_lanes(lanes, y.block, "block")
        self._y, self._lanes = y, lanes
        super().__init__(
            {
                "x": In(stream.Signature(integer_layout(x.bits, lanes))),
                "y": Out(stream.Signature(code_layout(y, lanes))),
            }
        )

    @property
    def interval(self) -> int:
        """Cycles a token."""
        return self._y.padded // self._lanes

    @property
    def latency(self) -> int:
        """Cycles from the first x beat of a token to its first y beat."""
        beats = self._y.block // self._lanes
        return 2 * beats + 4 if self._y.kind == "dialect" else beats + 3

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        y = self._y
        m.submodules.padding = padding = Padding(
            shape=self.x.payload.shape(),
            length=y.length // self._lanes,
            zeros=(y.padded - y.length) // self._lanes,
        )
        m.submodules.encoder = encoder = self._encoder()
        wiring.connect(m, wiring.flipped(self.x), padding.x)
        m.d.comb += [
            Value.cast(encoder.x.payload).eq(Value.cast(padding.y.payload)),
            encoder.x.valid.eq(padding.y.valid),
            padding.y.ready.eq(encoder.x.ready),
        ]
        wiring.connect(m, encoder.y, wiring.flipped(self.y))
        return m

    def _encoder(self) -> DialectEncoder | IntegerEncoder:
        """The scale of a block is that of :class:`BlockCodes` at these exponents of the source."""
        y = self._y
        if y.kind == "dialect":
            return DialectEncoder(block=y.block, lanes=self._lanes, exponent=DIALECT_SOURCE_EXPONENT)
        return IntegerEncoder(bits=y.bits, length=y.block, lanes=self._lanes, exponent=integer_exponents(y.bits)[0])


def _build(kind: str = "integer", length: int = 48, block: int = 32, bits: int = 8, lanes: int = 4) -> QuantizeUnit:
    """The format's own widths: a code of DialectFP4 has 4 bits."""
    x = Integers(length=length, bits=_SOURCE_BITS, exponent=0)
    codes = BlockCodes(
        kind="dialect" if kind == "dialect" else "integer",
        length=length,
        block=block,
        bits=4 if kind == "dialect" else bits,
        exponent=0,
    )
    return QuantizeUnit(x=x, y=codes, lanes=lanes)


TEMPLATE = UnitTemplate(
    name="quantize_stream",
    kind="dataflow",
    description="int16 vectors to codes in blocks with one scale each, padded to whole blocks",
    build=_build,
    choices={"kind": ("integer", "dialect")},
)
