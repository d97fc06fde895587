"""Converter between streams of any two numbers of elements a beat, neither of which need divide the other.

Where one does, this is a converter of `mxhw.rtl_templates.stream.width`; else a gearbox: a register of elements that
fills from the top and empties at the bottom, both beat by beat.
"""

from collections.abc import Mapping
from math import gcd
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Shape, ShapeLike, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.rtl_templates.checks import require_natural
from mxhw.rtl_templates.stream import Fifo, Narrow, Widen
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "WidthUnit"]


class WidthUnit(wiring.Component):
    """``x_lanes`` elements a beat become ``y_lanes``; the wider side sets the pace, the other one waits.

    A vector has whole beats on both sides: both numbers divide its length. Elements stay here until a y beat is full.

    Parameters
    ----------
    shape : ShapeLike
        An element.
    x_lanes, y_lanes : int
        Elements of a beat.
    fields : mapping of str to int, or None
        Names and bits of what a beat carries beside its elements, which are called ``codes`` then: of blocks that have
        whole beats on both sides, on each of whose beats it is the same.

    Members
    -------
    x : In(stream.Signature(payload of x_lanes))
        ``data.ArrayLayout(shape, x_lanes)``, or ``data.StructLayout({"codes": that, **fields})``. Ready depends on
        y's ready.
    y : Out(stream.Signature(payload of y_lanes))
        Registers.

    Raises
    ------
    InputError
        If a number of lanes is below 1.
    """

    def __init__(
        self, *, shape: ShapeLike, x_lanes: int = 1, y_lanes: int = 1, fields: Mapping[str, int] | None = None
    ) -> None:
        require_natural("x_lanes", x_lanes)
        require_natural("y_lanes", y_lanes)
        self._x_lanes, self._y_lanes, self._few = x_lanes, y_lanes, gcd(x_lanes, y_lanes)
        self._bits = Shape.cast(shape).width * self._few
        self._beside = sum((fields or {}).values())

        def payload(lanes: int) -> data.Layout:
            elements = data.ArrayLayout(shape, lanes)
            return data.StructLayout({"codes": elements, **fields}) if fields else elements

        super().__init__({"x": In(stream.Signature(payload(x_lanes))), "y": Out(stream.Signature(payload(y_lanes)))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        # Elements travel in groups that both beats are made of, each with what stands beside them.
        group, taken, given = self._bits + self._beside, self._x_lanes // self._few, self._y_lanes // self._few
        m.submodules.converter = converter = _converter(group, taken, given)
        x, y = Value.cast(self.x.payload), Value.cast(converter.y.payload)
        beside = x[taken * self._bits :]
        m.d.comb += [
            Value.cast(converter.x.payload).eq(Cat(Cat(x.word_select(i, self._bits), beside) for i in range(taken))),
            converter.x.valid.eq(self.x.valid),
            self.x.ready.eq(converter.x.ready),
            Value.cast(self.y.payload).eq(
                Cat(*(y.word_select(i, group)[: self._bits] for i in range(given)), y[self._bits : group])
            ),
            self.y.valid.eq(converter.y.valid),
            converter.y.ready.eq(self.y.ready),
        ]
        return m


def _converter(width: int, taken: int, given: int) -> Any:
    if taken == given:
        return Fifo(shape=width * taken, depth=0)
    if given % taken == 0:
        return Widen(shape=width, lanes=taken, ratio=given // taken)
    if taken % given == 0:
        return Narrow(shape=width, lanes=given, ratio=taken // given)
    return _Gearbox(width=width, taken=taken, given=given)


class _Gearbox(wiring.Component):
    """``taken`` words a beat become ``given``; the numbers are coprime.

    The memory is the smallest that never locks; it lets the side of more beats move one every cycle.

    Members
    -------
    x : In(stream.Signature(taken * width))
        Ready depends on y's ready.
    y : Out(stream.Signature(given * width))
        Registers.
    """

    def __init__(self, *, width: int, taken: int, given: int) -> None:
        self._width, self._taken, self._given, self._size = width, taken, given, taken + given - 1
        super().__init__({"x": In(stream.Signature(taken * width)), "y": Out(stream.Signature(given * width))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        taken, given, width, size = self._taken, self._given, self._width, self._size
        words = [Signal(width, name=f"word_{i}", reset_less=True) for i in range(size)]
        level, left = Signal(range(size + 1)), Signal(range(size + 1))
        leaves = self.y.valid & self.y.ready
        m.d.comb += [
            self.y.valid.eq(level >= given),
            self.y.payload.eq(Cat(*words[:given])),
            left.eq(Mux(leaves, level - given, level)),
            self.x.ready.eq(left < given),
        ]
        arrives = self.x.valid & self.x.ready
        m.d.sync += level.eq(left + Mux(arrives, taken, 0))
        for i, word in enumerate(words):
            if i + given < size:
                with m.If(leaves & (i < left)):
                    m.d.sync += word.eq(words[i + given])
            # A beat is stored above what is left, of which there is less than a y beat.
            for start in range(max(0, i - taken + 1), min(i + 1, given)):
                with m.If(arrives & (left == start)):
                    m.d.sync += word.eq(self.x.payload.word_select(i - start, width))
        return m


def _build(width: int = 8, x_lanes: int = 4, y_lanes: int = 6, beside: int = 0) -> WidthUnit:
    """``beside``: bits that a block has beside its elements."""
    require_natural("width", width)
    require_natural("beside", beside, 0)
    fields = {"beside": beside} if beside else None
    return WidthUnit(shape=width, x_lanes=x_lanes, y_lanes=y_lanes, fields=fields)


TEMPLATE = UnitTemplate(
    name="lane_converter",
    kind="dataflow",
    description="stream of x_lanes elements a beat to one of y_lanes, any two numbers",
    build=_build,
)
