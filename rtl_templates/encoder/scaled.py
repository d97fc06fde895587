"""What the encoders with a power-of-two scale share: two passes over a block, normalisation, the E8M0 byte.

Every bit is defined by :mod:`mxhw.arithmetic.online_scaled`. Only the leading one of the largest magnitude matters,
so that the first pass is an OR of magnitudes.
"""

from abc import abstractmethod
from operator import or_
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.rtl_templates.checks import require_lanes, require_natural
from mxhw.rtl_templates.encoder.blocks import magnitude, over_block, tree
from mxhw.rtl_templates.encoder.elements import NORMAL_BITS, FloatElement, IntegerElement
from mxhw.rtl_templates.integer import leading_one
from mxhw.rtl_templates.place import place
from mxhw.rtl_templates.stream import BlockBuffer, Fifo

__all__ = ["ScaledEncoder"]

EXPONENT_BITS = 8


class ScaledEncoder(wiring.Component):
    """Base of the encoders; ``element`` makes the rounding of one lane. See the subclasses.

    Members
    -------
    x : In(stream.Signature(data.ArrayLayout(signed(16), lanes)))
        Mantissas. Ready depends on registers only.
    y : Out(stream.Signature(data.StructLayout({"codes": data.ArrayLayout(code, lanes), "exponent": 8})))
        Registers. ``code`` is the shape of a code; the byte of a block is on each of its beats.
    """

    def __init__(self, *, length: int, name: str, lanes: int, code: Shape, offset: int) -> None:
        require_natural(name, length)
        require_lanes(lanes, length, name)
        self._length, self._lanes, self._offset = length, lanes, offset
        self._coded = data.StructLayout({"codes": data.ArrayLayout(code, lanes), "exponent": EXPONENT_BITS})
        super().__init__(
            {
                "x": In(stream.Signature(data.ArrayLayout(signed(NORMAL_BITS), lanes))),
                "y": Out(stream.Signature(self._coded)),
            }
        )

    @abstractmethod
    def _element(self) -> FloatElement | IntegerElement:
        """Return the rounding of one lane."""

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        self._round(m, self._normalise(m, self._arrive(m)), platform)
        return m

    def _arrive(self, m: Module) -> BlockBuffer:
        """First pass: the values wait for the leading one of their block."""
        m.submodules.values = values = BlockBuffer(
            shape=NORMAL_BITS * self._lanes, length=self._length // self._lanes, summary=NORMAL_BITS
        )
        sizes = [magnitude(self.x.payload[i]) for i in range(self._lanes)]
        m.d.comb += [
            values.x.payload.eq(self.x.payload),
            values.x.valid.eq(self.x.valid),
            self.x.ready.eq(values.x.ready),
            values.summary.eq(over_block(m, values, tree(sizes, or_), or_, unsigned(NORMAL_BITS))),
        ]
        return values

    def _normalise(self, m: Module, values: BlockBuffer) -> Fifo:
        """Second pass: a register of signs and of magnitudes whose largest has its leading one at the top."""
        lane = data.StructLayout({"normal": NORMAL_BITS, "sign": 1})
        m.submodules.normal = normal = Fifo(
            shape=data.StructLayout({"lanes": data.ArrayLayout(lane, self._lanes), "exponent": EXPONENT_BITS}), depth=1
        )
        beat, seen = values.y.payload.beat, values.y.payload.summary
        position = Signal(4)
        m.d.comb += [
            position.eq(leading_one(seen)),
            normal.x.payload.exponent.eq(Mux(seen.any(), position + self._offset, 0)),
            normal.x.valid.eq(values.y.valid),
            values.y.ready.eq(normal.x.ready),
        ]
        for i in range(self._lanes):
            value, target = beat.word_select(i, NORMAL_BITS), normal.x.payload.lanes[i]
            # 15 less the position is its complement.
            m.d.comb += [target.normal.eq(magnitude(value) << ~position), target.sign.eq(value[-1])]
        return normal

    def _round(self, m: Module, normal: Fifo, platform: Any) -> None:
        """Codes, and the register that y is."""
        m.submodules.coded = coded = Fifo(shape=self._coded, depth=1)
        payload, codes = normal.y.payload, []
        for i in range(self._lanes):
            element = self._element()
            place(m, element.kind, str(i), element, platform)
            m.d.comb += [element.normal.eq(payload.lanes[i].normal), element.sign.eq(payload.lanes[i].sign)]
            codes.append(element.code)
        m.d.comb += [
            coded.x.payload.codes.eq(Cat(codes)),
            coded.x.payload.exponent.eq(payload.exponent),
            coded.x.valid.eq(normal.y.valid),
            normal.y.ready.eq(coded.x.ready),
        ]
        wiring.connect(m, coded.y, wiring.flipped(self.y))
