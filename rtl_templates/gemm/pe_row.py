"""A row of equal processing elements: the part of an array that its text repeats, emitted once."""

from collections.abc import Callable, Collection
from typing import Any

from amaranth.hdl import Module, Shape, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from mxhw.rtl_templates.checks import require_natural
from mxhw.rtl_templates.place import place

__all__ = ["PeRow"]


class PeRow(wiring.Component):
    """``columns`` PEs side by side.

    Parameters
    ----------
    make : callable
        Returns a new PE; all are equal.
    columns : int
        How many.
    own : collection of str
        The PE's ports that every PE has for itself.

    Members
    -------
    every port of the PE
        Those in ``own`` for all columns side by side, the first lowest; the others connected to all PEs. All are plain
        bits: a structure's fields in every column would be named one by one in the Verilog.
    """

    def __init__(self, make: Callable[[], wiring.Component], *, columns: int, own: Collection[str]) -> None:
        require_natural("columns", columns)
        self._make, self._columns, self._own = make, columns, own
        pe = make()
        pe._MustUse__silence = True  # Only its ports are read here.
        members = pe.signature.members.items()
        self._widths = {name: Shape.cast(member.shape).width for name, member in members}
        copies = {name: columns if name in own else 1 for name in self._widths}
        super().__init__({n: wiring.Member(member.flow, self._widths[n] * copies[n]) for n, member in members})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        for column in range(self._columns):
            pe = self._make()
            place(m, "pe", str(column), pe, platform)
            for name, member in pe.signature.members.items():
                inside, outside = Value.cast(getattr(pe, name)), getattr(self, name)
                if name in self._own:
                    outside = outside.word_select(column, self._widths[name])
                target, source = (inside, outside) if member.flow == In else (outside, inside)
                m.d.comb += target.eq(source)
        return m
