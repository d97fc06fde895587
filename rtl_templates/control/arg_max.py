"""The index of a vector's largest element; the definition is :meth:`mxhw.arithmetic.dataflow.ArgMax.run`."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.rtl_templates.checks import require_natural
from mxhw.rtl_templates.control.payloads import index_shape
from mxhw.rtl_templates.dataflow.payloads import integer_layout
from mxhw.rtl_templates.function.channels import beats_of
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "ArgMaxUnit"]


class ArgMaxUnit(wiring.Component):
    """A beat a cycle; an index two cycles after its vector's last beat.

    First the largest of a beat is found, then it meets the largest so far.

    Parameters
    ----------
    length, bits : int
        Elements of a vector, bits of an element.
    lanes : int
        Elements of a beat; they divide the length.

    Members
    -------
    x : In(stream.Signature(integer_layout(bits, lanes)))
        Element 0 first. Ready depends on y's ready.
    y : Out(stream.Signature(index_shape(length)))
        The first of the largest. Registers.

    Raises
    ------
    InputError
        If the lanes do not divide the length.
    """

    latency = 2

    def __init__(self, *, length: int, bits: int, lanes: int = 1) -> None:
        require_natural("length", length)
        require_natural("bits", bits)
        self._length, self._lanes, self._beats = length, lanes, beats_of(length, lanes)
        super().__init__(
            {
                "x": In(stream.Signature(integer_layout(bits, lanes))),
                "y": Out(stream.Signature(index_shape(length))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        largest, place = _largest([(self.x.payload[lane], Value.cast(lane)) for lane in range(self._lanes)])
        # The largest of a beat, where it is, and which beat of the vector that was.
        present, value, index = Signal(), Signal.like(largest), Signal.like(self.y.payload)
        is_first, is_last = Signal(), Signal()
        advance, start = Signal(), Signal.like(self.y.payload)
        ends = start == self._length - self._lanes
        m.d.comb += [
            advance.eq(~present | ~is_last | ~self.y.valid | self.y.ready),
            self.x.ready.eq(advance),
        ]
        with m.If(advance):
            m.d.sync += present.eq(self.x.valid)
        with m.If(self.x.valid & advance):
            m.d.sync += [
                *(value.eq(largest), index.eq(start + place), is_first.eq(start == 0), is_last.eq(ends)),
                start.eq(Mux(ends, 0, start + self._lanes)),
            ]
        best, best_index = Signal.like(value), Signal.like(index)
        new_value, new_index = _better((best, best_index), (value, index), is_first)
        with m.If(self.y.ready):
            m.d.sync += self.y.valid.eq(0)
        with m.If(present & advance):
            m.d.sync += [best.eq(new_value), best_index.eq(new_index)]
            with m.If(is_last):
                m.d.sync += [self.y.valid.eq(1), self.y.payload.eq(new_index)]
        return m


def _better(first: tuple[Value, Value], second: tuple[Value, Value], anyway: Value | int = 0) -> tuple[Value, Value]:
    """Return the second of two values with their indices if it is larger, or ``anyway``; else the first."""
    takes = (second[0] > first[0]) | anyway
    return Mux(takes, second[0], first[0]), Mux(takes, second[1], first[1])


def _largest(candidates: list[tuple[Value, Value]]) -> tuple[Value, Value]:
    """Return the first of the largest values, with its index, through a tree of comparisons."""
    if len(candidates) == 1:
        return candidates[0]
    half = (len(candidates) + 1) // 2
    return _better(_largest(candidates[:half]), _largest(candidates[half:]))


def _build(length: int = 512, bits: int = 16, lanes: int = 1) -> ArgMaxUnit:
    return ArgMaxUnit(length=length, bits=bits, lanes=lanes)


TEMPLATE = UnitTemplate(
    name="arg_max", kind="control", description="index of the largest element of a vector", build=_build
)
