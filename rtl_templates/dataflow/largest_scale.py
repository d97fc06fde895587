"""The largest scale among the values that a token sees, for sequences in several banks and for windows.

The definition is the second result of `mxhw.arithmetic.functions.softmax.value_weights`. Without a window a head keeps
one number, which only grows. With one it keeps, for each scale, the newest position that has it: the largest scale in
the window is the largest one whose newest position is in the window, so that nothing is searched when a value leaves.
"""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic.dataflow.streams import LARGEST_SCALE
from mxhw.rtl_templates.checks import require_natural
from mxhw.rtl_templates.dataflow.head_memory import joined
from mxhw.rtl_templates.dataflow.payloads import SCALE_BITS
from mxhw.rtl_templates.encoder.blocks import largest
from mxhw.rtl_templates.integer import leading_one
from mxhw.rtl_templates.memory import Ram

__all__ = ["LargestScales"]

SCALES = LARGEST_SCALE["integer"] + 1


class LargestScales(wiring.Component):
    """One row of memory a bank and head; a token's rows change while it is stored.

    Parameters
    ----------
    banks, heads : int
        Sequences, and heads of their values.
    keys : int
        Tokens of the longest sequence.
    window : int or None
        A token sees so many values, the last of which is its own; None: all up to its own.

    Members
    -------
    write : In(1)
        A value has this ``scale``. The same one may be written in several cycles; two others of one bank and head are
        two cycles apart.
    bank, head, position : In
        Whose it is.
    first : In(1)
        It starts a sequence.
    largest : Out(data.ArrayLayout(SCALE_BITS, heads))
        For each head that of the value written last, two cycles after.
    """

    def __init__(self, *, banks: int, heads: int, keys: int, window: int | None = None) -> None:
        for name, value in (("banks", banks), ("heads", heads), ("keys", keys)):
            require_natural(name, value)
        if window is not None:
            require_natural("window", window)
        self._banks, self._heads, self._window = banks, heads, window
        position = range(max(2, keys))
        newest = data.StructLayout({"position": position, "valid": 1})
        self._row = data.StructLayout({"largest": SCALE_BITS}) if window is None else data.ArrayLayout(newest, SCALES)
        super().__init__(
            {
                "write": In(1),
                "bank": In(range(max(2, banks))),
                "head": In(range(max(2, heads))),
                "position": In(position),
                "scale": In(SCALE_BITS),
                "first": In(1),
                "largest": Out(data.ArrayLayout(SCALE_BITS, heads)),
            }
        )

    @property
    def row_bits(self) -> int:
        """Bits of a row."""
        return self._row.size

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.rows = rows = Ram(width=self.row_bits, depth=self._banks * self._heads)
        written, place = Signal(), Signal.like(rows.address, reset_less=True)
        names = "head", "position", "scale", "first"
        given = {name: Signal.like(getattr(self, name), name=f"given_{name}", reset_less=True) for name in names}
        m.d.sync += written.eq(self.write)
        with m.If(self.write):
            m.d.sync += [place.eq(rows.address), *(given[name].eq(getattr(self, name)) for name in names)]
        before = self._row(Mux(given["first"], 0, rows.data))
        after, found = Signal(self._row), Signal(SCALE_BITS)
        change = self._grow if self._window is None else self._renew
        m.d.comb += [
            rows.address.eq(joined(self.bank, self.head, self._heads) if self._banks > 1 else self.head),
            rows.enable.eq(self.write),
            *(rows.write.eq(written), rows.write_address.eq(place), rows.write_data.eq(after)),
            *change(before, after, found, given["scale"], given["position"]),
        ]
        for head in range(self._heads):
            with m.If(written & (given["head"] == head)):
                m.d.sync += self.largest[head].eq(found)
        return m

    def _grow(self, before: Any, after: Any, found: Value, scale: Value, position: Value) -> list[Any]:
        """The largest of all."""
        return [found.eq(largest(before.largest, scale)), after.largest.eq(found)]

    def _renew(self, before: Any, after: Any, found: Value, scale: Value, position: Value) -> list[Any]:
        """The largest of those in the window."""
        assert self._window is not None
        oldest = Mux(position >= self._window, position - (self._window - 1), 0)
        inside = [after[s].valid & (after[s].position >= oldest) for s in range(SCALES)]
        made: list[Any] = [found.eq(leading_one(Cat(*inside)))]
        for s in range(SCALES):
            made += [
                after[s].valid.eq((scale == s) | before[s].valid),
                after[s].position.eq(Mux(scale == s, position, before[s].position)),
            ]
        return made
