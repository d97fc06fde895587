"""Converters between streams of few and of many elements a beat; the first element is the lowest.

Without ``last``, beats are whole. With it they carry a count, and only the last beat of a vector may be partial: a
vector of any length passes, the widened beat that holds its end is partial, and a partial beat narrows to no more beats
than its elements need.
"""

from typing import Any

from amaranth.hdl import Module, Mux, Shape, ShapeLike, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.rtl_templates.checks import require, require_natural
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "Narrow", "Widen", "beat_layout"]


def beat_layout(shape: ShapeLike, lanes: int, last: bool) -> data.Layout:
    """Return the payload of ``lanes`` elements: an array, or with ``last`` a structure around it.

    The structure has ``elements``, ``count`` (how many are meant, 1 to lanes; the others are at the top, and zero where
    a converter made the beat) and ``last`` (the beat ends a vector).
    """
    elements = data.ArrayLayout(shape, lanes)
    if not last:
        return elements
    return data.StructLayout({"elements": elements, "count": range(lanes + 1), "last": 1})


class _Converter(wiring.Component):
    def __init__(self, shape: ShapeLike, lanes: int, ratio: int, last: bool, *, widens: bool) -> None:
        require_natural("lanes", lanes)
        require_natural("ratio", ratio)
        self._lanes, self._ratio, self._last = lanes, ratio, last
        self._bits = lanes * Shape.cast(shape).width
        narrow, wide = (beat_layout(shape, n, last) for n in (lanes, lanes * ratio))
        x, y = (narrow, wide) if widens else (wide, narrow)
        super().__init__({"x": In(stream.Signature(x)), "y": Out(stream.Signature(y))})

    def _elements(self, payload: Any) -> Value:
        return Value.cast(payload.elements if self._last else payload)


class Widen(_Converter):
    """``ratio`` beats of ``lanes`` elements become one. Takes a beat a cycle; y is valid one cycle after its last part.

    Parameters
    ----------
    shape : ShapeLike
        An element.
    lanes, ratio : int
        Elements of an x beat, x beats of a y beat.
    last : bool
        Beats are those of :func:`beat_layout` with ``last``; the end of a vector closes the y beat, whose missing
        elements are zero. Only a beat that ends a vector may have a count below ``lanes``.

    Members
    -------
    x : In(stream.Signature(beat_layout(shape, lanes, last)))
        Ready depends on y's ready.
    y : Out(stream.Signature(beat_layout(shape, lanes * ratio, last)))
        Registers.

    Raises
    ------
    InputError
        If ``lanes`` or ``ratio`` is below 1.
    """

    def __init__(self, *, shape: ShapeLike, lanes: int = 1, ratio: int = 2, last: bool = False) -> None:
        super().__init__(shape, lanes, ratio, last, widens=True)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        position = Signal(range(max(2, self._ratio)))
        part, whole = self._elements(self.x.payload), self._elements(self.y.payload)
        closes = position == self._ratio - 1
        if self._last:
            closes |= self.x.payload.last
        # The payload is the place of assembly: it is free once y has left.
        m.d.comb += self.x.ready.eq(self.y.ready | ~self.y.valid)
        with m.If(self.x.ready):
            m.d.sync += self.y.valid.eq(self.x.valid & closes)
        with m.If(self.x.valid & self.x.ready):
            m.d.sync += position.eq(Mux(closes, 0, position + 1))
            for i in range(self._ratio):
                with m.If(position == i):
                    m.d.sync += whole[i * self._bits : (i + 1) * self._bits].eq(part)
            if self._last:
                missing = (position == 0) if self._ratio > 1 else 0
                with m.If(missing):
                    m.d.sync += whole[self._bits :].eq(0)
                m.d.sync += [
                    self.y.payload.count.eq(position * self._lanes + self.x.payload.count),
                    self.y.payload.last.eq(self.x.payload.last),
                ]
        return m


class Narrow(_Converter):
    """One beat becomes ``ratio`` beats of ``lanes`` elements. Gives a beat a cycle, the first one cycle after x.

    Parameters
    ----------
    shape : ShapeLike
        An element.
    lanes, ratio : int
        Elements of a y beat, y beats of an x beat.
    last : bool
        Beats are those of :func:`beat_layout` with ``last``; of an x beat leave as many y beats as its count needs, and
        the last one of these ends the vector if x did. Elements above a count pass as they are.

    Members
    -------
    x : In(stream.Signature(beat_layout(shape, lanes * ratio, last)))
        Ready depends on y's ready. A count is at least 1.
    y : Out(stream.Signature(beat_layout(shape, lanes, last)))
        Valid and elements are registers.

    Raises
    ------
    InputError
        If ``lanes`` or ``ratio`` is below 1.
    """

    def __init__(self, *, shape: ShapeLike, lanes: int = 1, ratio: int = 2, last: bool = False) -> None:
        super().__init__(shape, lanes, ratio, last, widens=False)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        rest = Signal(self._bits * self._ratio)
        m.d.comb += self._elements(self.y.payload).eq(rest[: self._bits])
        if self._last:
            # Elements that are still here, those of y included.
            count, ends = Signal(range(self._lanes * self._ratio + 1)), Signal()
            is_end = count <= self._lanes
            m.d.comb += [
                self.y.payload.count.eq(Mux(is_end, count, self._lanes)),
                self.y.payload.last.eq(is_end & ends),
            ]
            load, advance = (
                [count.eq(self.x.payload.count), ends.eq(self.x.payload.last)],
                count.eq(count - self._lanes),
            )
        else:
            position = Signal(range(max(2, self._ratio)))
            is_end = position == self._ratio - 1
            load, advance = [position.eq(0)], position.eq(position + 1)
        m.d.comb += self.x.ready.eq(~self.y.valid | (self.y.ready & is_end))
        with m.If(self.x.ready):
            m.d.sync += [self.y.valid.eq(self.x.valid), rest.eq(self._elements(self.x.payload)), *load]
        with m.Elif(self.y.ready):
            m.d.sync += [rest.eq(rest >> self._bits), advance]
        return m


def _build(width: int = 8, x_lanes: int = 1, y_lanes: int = 4, last: bool = False) -> Widen | Narrow:
    require_natural("width", width)
    require_natural("x_lanes", x_lanes)
    require_natural("y_lanes", y_lanes)
    few, many = sorted((x_lanes, y_lanes))
    require(many % few == 0, "the larger of x_lanes and y_lanes", f"a multiple of the smaller, {few}", many)
    kind = Widen if x_lanes <= y_lanes else Narrow
    return kind(shape=width, lanes=few, ratio=many // few, last=last)


TEMPLATE = UnitTemplate(
    name="width_converter",
    kind="stream",
    description="stream of x_lanes elements a beat to one of y_lanes; one divides the other",
    build=_build,
    choices={"last": (False, True)},
)
