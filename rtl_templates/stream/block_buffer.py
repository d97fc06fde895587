"""A double buffer of blocks: while one block arrives, the one before leaves, in another order if one is asked for.

With each block goes a summary that is known only once its last beat is here, such as the largest magnitude: this is how
a unit looks at a block twice without losing a cycle.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Shape, ShapeLike, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.rtl_templates.checks import require, require_natural
from mxhw.rtl_templates.memory import Ram

__all__ = ["BlockBuffer"]


class BlockBuffer(wiring.Component):
    """Two halves of ``length`` beats. One beat a cycle; a block begins to leave two cycles after its last beat came.

    Parameters
    ----------
    shape : ShapeLike
        A beat.
    length : int
        Beats of a block.
    summary : ShapeLike, or None
        What is kept once per block; None: nothing, and there is no port for it.
    loops : sequence of (count, stride), or None
        The order in which beats leave: nested loops, the outermost first; the beat's number in order of arrival is the
        sum of index times stride. None: the order of arrival.

    Members
    -------
    x : In(stream.Signature(shape))
        Ready depends on registers only.
    first, last : Out(1)
        Whether x's next beat is the first, the last one of its block.
    summary : In(summary)
        Sampled when the last beat of a block is accepted; may depend on that beat.
    y : Out(stream.Signature(data.StructLayout({"beat", "summary", "first", "last"})))
        The summary is that of the beat's block. From registers and the memory's output latch.

    Raises
    ------
    InputError
        If the loops do not visit every beat of a block once.
    """

    def __init__(
        self,
        *,
        shape: ShapeLike,
        length: int,
        summary: ShapeLike | None = None,
        loops: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        require_natural("length", length)
        loops = [(length, 1)] if loops is None else list(loops)
        permutes = prod(count for count, _ in loops) == length and sorted(addresses(loops)) == list(range(length))
        require(permutes, "loops", f"a permutation of {length} beats", loops)
        self._length, self._loops = length, loops
        self._bits, self._summary = Shape.cast(shape).width, summary
        kept = {} if summary is None else {"summary": summary}
        leaving = data.StructLayout({"beat": shape, **kept, "first": 1, "last": 1})
        super().__init__(
            {
                "x": In(stream.Signature(shape)),
                "first": Out(1),
                "last": Out(1),
                **{name: In(kind) for name, kind in kept.items()},
                "y": Out(stream.Signature(leaving)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        # A half begins at a power of two, so that its number is the address's highest bit.
        bits = max(1, (self._length - 1).bit_length())
        m.submodules.memory = ram = Ram(width=self._bits, depth=2 << bits)
        full = Signal(2)
        halves = [Signal(self._summary, name=f"summary_{i}") for i in range(2)] if self._summary is not None else []
        self._write(m, ram, full, halves)
        self._read(m, ram, full, halves)
        return m

    def _write(self, m: Module, ram: Ram, full: Signal, halves: list[Any]) -> None:
        """Fill the halves in turn."""
        arrived, filling = Signal(range(max(2, self._length))), Signal()
        m.d.comb += [
            self.x.ready.eq(~full.bit_select(filling, 1)),
            self.first.eq(arrived == 0),
            self.last.eq(arrived == self._length - 1),
            ram.write.eq(self.x.valid & self.x.ready),
            ram.write_address.eq(Cat(arrived, filling)),
            ram.write_data.eq(self.x.payload),
        ]
        with m.If(ram.write):
            m.d.sync += arrived.eq(arrived + 1)
            with m.If(self.last):
                m.d.sync += [arrived.eq(0), filling.eq(~filling), full.bit_select(filling, 1).eq(1)]
                for i, half in enumerate(halves):
                    with m.If(filling == i):
                        m.d.sync += half.eq(self.summary)

    def _read(self, m: Module, ram: Ram, full: Signal, halves: list[Any]) -> None:
        """Walk the loops over the half that is due; y is the memory's output latch."""
        due, advance = Signal(), Signal()
        indices = [Signal(range(max(2, count)), name=f"index_{i}") for i, (count, _) in enumerate(self._loops)]
        at_end = [index == count - 1 for index, (count, _) in zip(indices, self._loops, strict=True)]
        is_last = Cat(at_end).all()
        beat = Signal(range(max(2, self._length)))
        payload = self.y.payload
        m.d.comb += [
            advance.eq(self.y.ready | ~self.y.valid),
            beat.eq(sum(index * stride for index, (_, stride) in zip(indices, self._loops, strict=True))),
            ram.enable.eq(advance & full.bit_select(due, 1)),
            ram.address.eq(Cat(beat, due)),
            Value.cast(payload.beat).eq(ram.data),
        ]
        with m.If(advance):
            m.d.sync += self.y.valid.eq(ram.enable)
        with m.If(ram.enable):
            m.d.sync += [payload.first.eq(~Cat(indices).any()), payload.last.eq(is_last), due.eq(due ^ is_last)]
            with m.If(is_last):
                m.d.sync += full.bit_select(due, 1).eq(0)
            for i, half in enumerate(halves):
                with m.If(due == i):
                    m.d.sync += payload.summary.eq(half)
            for position, (index, end) in enumerate(zip(indices, at_end, strict=True)):
                with m.If(Cat(at_end[position + 1 :]).all()):
                    m.d.sync += index.eq(Mux(end, 0, index + 1))


def addresses(loops: Sequence[tuple[int, int]]) -> list[int]:
    """Return the numbers that nested loops of (count, stride) visit, in order."""
    found = [0]
    for count, stride in loops:
        found = [base + i * stride for base in found for i in range(count)]
    return found
