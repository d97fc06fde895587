"""Streaming bit-serial decoder: chunks of weight codes come in, steps go out; idle steps can be skipped.

Definition: `mxhw.arithmetic.term_steps`. One unit serves one or several columns in lock-step, each with its own
selector and significances. Beyond BitMoD (arXiv 2411.11745), whose decoder passes absent terms as idle cycles.
"""

from collections.abc import Sequence
from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic import WeightType, weight_type_named, weight_types
from mxhw.arithmetic.term_steps import merged_term, merging_significances
from mxhw.rtl_templates.checks import require_natural
from mxhw.rtl_templates.decoder.bitmod_term import SerialTerm, drive_float_term
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "TermStream", "chunk_layout", "steps_layout"]


def chunk_layout(kind: WeightType, lanes: int, columns: int) -> data.StructLayout:
    """Return the layout of a chunk.

    Fields
    ------
    codes : [columns][lanes] stored codes.
    selectors : [columns] the groups' choices among the special values; not present for integers.
    first, last : the chunk is the first, the last of its group.
    """
    codes = data.ArrayLayout(data.ArrayLayout(unsigned(kind.code_bits), lanes), columns)
    selectors = {"selectors": data.ArrayLayout(2, columns)} if kind.special_values else {}
    return data.StructLayout({"codes": codes, **selectors, "first": 1, "last": 1})


def steps_layout(kind: WeightType, lanes: int, columns: int) -> data.StructLayout:
    """Return the layout of a step.

    Fields
    ------
    terms : [columns][lanes] terms; an absent one is all zero.
    significances : [columns] log2 of the step's weight; 0 in a column that idles.
    first, last : the first, the last step of a group.
    chunk_last : the last step of a chunk: the next step belongs to the next activations.
    """
    return data.StructLayout(
        {
            "terms": data.ArrayLayout(data.ArrayLayout(SerialTerm, lanes), columns),
            "significances": data.ArrayLayout(range(max(2, kind.largest_significance + 1)), columns),
            "first": 1,
            "last": 1,
            "chunk_last": 1,
        }
    )


class TermStream(wiring.Component):
    """Decoder of one or several columns.

    One step a cycle; the next chunk is taken in the cycle of a chunk's last step, so nothing is lost between chunks.

    Parameters
    ----------
    weight_type : WeightType
        What codes mean.
    lanes : int
        Codes of a chunk, per column.
    columns : int
        Columns in lock-step.
    skip : bool
        Whether idle steps are skipped.

    Members
    -------
    chunk : In(stream of chunk_layout(weight_type, lanes, columns))
    step : Out(stream of steps_layout(weight_type, lanes, columns))
    """

    def __init__(self, *, weight_type: WeightType, lanes: int = 4, columns: int = 1, skip: bool = True) -> None:
        require_natural("lanes", lanes)
        require_natural("columns", columns)
        self._kind, self._lanes, self._columns, self._skip = weight_type, lanes, columns, skip
        self._merging = merging_significances(weight_type) if skip else ()
        super().__init__(
            {
                "chunk": In(stream.Signature(chunk_layout(weight_type, lanes, columns))),
                "step": Out(stream.Signature(steps_layout(weight_type, lanes, columns))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        busy, fresh, ends, moves = Signal(), Signal(), Signal(), Signal()
        held = Signal.like(self.chunk.payload, name="held", reset_less=True)
        out = self.step.payload
        m.d.comb += [
            self.step.valid.eq(busy),
            moves.eq(busy & self.step.ready),
            self.chunk.ready.eq(~busy | (self.step.ready & ends)),
            out.chunk_last.eq(ends),
            out.first.eq(held.first & fresh),
            out.last.eq(held.last & ends),
        ]
        left = [self._column(m, held, column, fresh, moves) for column in range(self._columns)]
        m.d.comb += ends.eq(~Cat(left).any())
        with m.If(moves):
            m.d.sync += fresh.eq(0)
        with m.If(self.chunk.ready):
            m.d.sync += [busy.eq(self.chunk.valid), fresh.eq(1), held.eq(self.chunk.payload)]
        return m

    def _column(self, m: Module, held: Any, column: int, fresh: Value, moves: Value) -> Value:
        """Output a column's part of this step; return whether it has more steps.

        A row is what a step can be: a merged step of some significance, or a step of the type. ``todo`` has a bit for
        each row that is still to come, the lowest of which is this step.
        """
        codes = held.codes[column]
        selector = held.selectors[column] if self._kind.special_values else Const(0, 2)
        rows = len(self._merging) + self._kind.steps
        spelled = [self._terms(m, codes[lane], selector, f"{column}_{lane}") for lane in range(self._lanes)]
        rest = Signal(rows, name=f"rest_{column}", reset_less=True)
        needed, todo, now = (Signal(rows, name=f"{name}_{column}") for name in ("needed", "todo", "now"))
        m.d.comb += [
            needed.eq(self._needed(codes, selector, spelled)),
            todo.eq(Mux(fresh, needed, rest)),
            now.eq(todo & ~(todo - 1)),
            self.step.payload.significances[column].eq(self._significance(now, selector)),
        ]
        with m.If(moves):
            m.d.sync += rest.eq(todo & ~now)
        for lane, options in enumerate(spelled):
            gated = [option & now[row].replicate(len(option)) for row, option in enumerate(options)]
            m.d.comb += self.step.payload.terms[column][lane].as_value().eq(reduce(or_, gated))
        return (todo & ~now).any()

    def _terms(self, m: Module, code: Value, selector: Value, name: str) -> list[Value]:
        """Return the bits of a code's term in every row."""
        kind, rows = self._kind, []
        if not kind.magnitudes:
            return [self._digit(code, step) for step in range(kind.steps)]
        choices = [lambda c, s, at=at: merged_term(kind, c, s, at) for at in self._merging]
        choices += [lambda c, s, step=step: kind.term(c, step, s) for step in range(kind.steps)]
        for row, choose in enumerate(choices):
            term = Signal(SerialTerm, name=f"term_{name}_{row}")
            drive_float_term(m, term, kind, code, selector, choose)
            rows.append(term.as_value())
        return rows

    def _entries(self) -> list[tuple[int | None, int]]:
        """Selector (None where it does not matter) and code of everything that a float can mean."""
        kind = self._kind
        every = range(len(kind.special_values))
        return [
            (selector, code)
            for code in range(1 << kind.code_bits)
            for selector in (every if code == kind.special_code or kind.selector_significances else [None])
        ]

    @staticmethod
    def _is(code: Value, selector: Value, code_value: int, selected: int | None) -> Value:
        here = code == code_value
        return here if selected is None else here & (selector == selected)

    def _digit(self, code: Value, step: int) -> Value:
        """Return the Booth digit of bits 2s+1, 2s, 2s-1 of the sign-extended code."""
        padded = Cat(Const(0, 1), code, code[-1].replicate(2 * self._kind.steps - len(code)))
        low, middle, high = padded[2 * step], padded[2 * step + 1], padded[2 * step + 2]
        two = (~high & middle & low) | (high & ~middle & ~low)
        mantissa = (low ^ high) | (middle ^ high)
        return Cat(mantissa, two, Const(0, 1), high & mantissa)

    def _needed(self, codes: Any, selector: Value, spelled: Sequence[Sequence[Value]]) -> Value:
        """Return which rows the chunk takes."""
        kind, first = self._kind, len(self._merging)
        if not self._skip:
            return Const((1 << kind.steps) - 1, kind.steps)
        if not kind.magnitudes:
            some = [Cat(options[row][0] for options in spelled).any() for row in range(kind.steps)]
            none = ~Cat(some).any()
            return Cat(some[0] | none, *some[1:])
        taken: list[Value] = []
        free: Value = Const(1, 1)
        for significance in self._merging:
            fits = Cat(self._fits(codes[lane], selector, significance) for lane in range(self._lanes)).all()
            taken.append(free & fits)
            free = free & ~fits
        return Cat(*taken, free.replicate(kind.steps)) if first else Const(1, 1)

    def _fits(self, code: Value, selector: Value, significance: int) -> Value:
        misfits = [
            self._is(code, selector, code_value, selected)
            for selected, code_value in self._entries()
            if merged_term(self._kind, code_value, selected or 0, significance) is None
        ]
        return ~Cat(misfits).any()

    def _significance(self, now: Value, selector: Value) -> Value:
        kind = self._kind
        if kind.selector_significances:
            options = [(selector == s) & bool(value) for s, value in enumerate(kind.selector_significances)]
            return Cat(options).any()
        of_rows = (*self._merging, *kind.significances)
        return reduce(or_, (Mux(now[row], value, 0) for row, value in enumerate(of_rows)))


def _build(*, weight_type: str = "fp4", lanes: int = 4, columns: int = 1, skip: bool = True) -> TermStream:
    return TermStream(weight_type=weight_type_named(weight_type), lanes=lanes, columns=columns, skip=skip)


TEMPLATE = UnitTemplate(
    name="bitmod_term_stream",
    kind="decoder",
    description="BitMoD: a stream of chunks of weight codes becomes a stream of steps; idle ones can be skipped",
    build=_build,
    choices={"weight_type": tuple(weight_types())},
)
