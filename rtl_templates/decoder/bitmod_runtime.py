"""Run-time term decoder: the weight type is a signal, so that folded layers may differ in precision.

Source: BitMoD (arXiv 2411.11745), bit-serial term generator and its programmable special values. Two components: one
:class:`SpecialValueFile` for a whole array, and one :class:`RuntimeTermDecoder` per column for all its lanes. A special
value is stored as its terms and not as a number, which costs no leading-one detector in any lane and allows signed sums
(7 = 8 - 1 in FP4); `mxhw.arithmetic.WeightType.special_entry` spells a value.

Terms are those of `mxhw.arithmetic.WeightType.term`, absent ones all zero. Not here: the choice of
steps that can be skipped, see `term_stream`.
"""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic import RUNTIME_TYPES, WeightType, weight_type_named
from mxhw.arithmetic.terms import SpecialEntry
from mxhw.rtl_templates.checks import require, require_natural
from mxhw.rtl_templates.decoder.bitmod_term import SerialTerm
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "RuntimeTermDecoder", "SpecialTerms", "SpecialValueFile", "special_terms_bits"]

SELECTORS = 4


class SpecialTerms(data.Struct):
    """A special value.

    Members
    -------
    first, second : SerialTerm
        Its terms in steps 0 and 1; a type of one term uses ``first``.
    significance : unsigned(1)
        Significance of the groups that select it, if the type has one term; otherwise unused.
    """

    first: SerialTerm
    second: SerialTerm
    significance: unsigned(1)


def special_terms_bits(entry: SpecialEntry) -> dict[str, Any]:
    """Return an entry as the constant that :class:`SpecialTerms` takes."""
    terms = [{"mantissa": term.mantissa, "exponent": term.exponent, "sign": term.sign} for term in entry.terms]
    empty = {"mantissa": 0, "exponent": 0, "sign": 0}
    return {"first": terms[0], "second": [*terms, empty][1], "significance": entry.significance}


class SpecialValueFile(wiring.Component):
    """Four special values in registers, one array's worth.

    Parameters
    ----------
    weight_type : str
        After reset the file holds this type's special values.

    Members
    -------
    write : In(1)
        Store ``value`` in entry ``index`` at this clock edge.
    index : In(2)
        Which selector means the entry.
    value : In(SpecialTerms)
        New contents.
    values : Out(4 of SpecialTerms)
        All entries, by selector.
    """

    write: In(1)
    index: In(range(SELECTORS))
    value: In(SpecialTerms)
    values: Out(data.ArrayLayout(SpecialTerms, SELECTORS))

    def __init__(self, *, weight_type: str = "fp4") -> None:
        kind = weight_type_named(weight_type)
        require(bool(kind.special_values), "weight_type", "a type with special values", weight_type)
        self._initial = [special_terms_bits(kind.special_entry(value)) for value in kind.special_values]
        super().__init__()

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        entries = Signal(data.ArrayLayout(SpecialTerms, SELECTORS), init=self._initial)
        m.d.comb += self.values.eq(entries)
        with m.If(self.write):
            m.d.sync += entries[self.index].eq(self.value)
        return m


class RuntimeTermDecoder(wiring.Component):
    """Combinational decoder of a column: codes of all lanes become the terms of one step.

    Parameters
    ----------
    types : sequence of str
        The weight types to choose among; a type's number is its place in `mxhw.arithmetic.RUNTIME_TYPES` (also if
        ``types`` are fewer).
    lanes : int
        Codes per chunk.

    Members
    -------
    kind : In(3)
        Number of the weight type; constant while a layer streams. Numbers that ``types`` lacks are not allowed.
    codes : In(lanes of the widest type's code_bits)
        Stored codes in the low bits; the bits above a type's own are ignored.
    selector : In(2)
        The group's choice among the special values; ignored by integer types.
    specials : In(4 of SpecialTerms)
        From the :class:`SpecialValueFile`.
    step : In(2)
        Which step, 0 first.
    terms : Out(lanes of SerialTerm)
        This step's term of each lane; an absent one is all zero.
    significance : Out(3)
        log2 of the step's weight. The same in all columns, except for a type of one term, whose groups differ.
    last : Out(1)
        This is the last step of the type's chunk.
    """

    def __init__(self, *, types: Sequence[str] = RUNTIME_TYPES, lanes: int = 4) -> None:
        require_natural("lanes", lanes)
        unknown = [name for name in types if name not in RUNTIME_TYPES]
        require(bool(types) and not unknown, "types", f"some of {', '.join(RUNTIME_TYPES)}", tuple(types))
        self.lanes = lanes
        self.kinds = {RUNTIME_TYPES.index(name): weight_type_named(name) for name in dict.fromkeys(types)}
        every = self.kinds.values()
        self._code_bits = max(kind.code_bits for kind in every)
        steps, significances = max(k.steps for k in every), max(k.largest_significance for k in every)
        super().__init__(
            {
                "kind": In(range(len(RUNTIME_TYPES))),
                "codes": In(data.ArrayLayout(unsigned(self._code_bits), lanes)),
                "selector": In(range(SELECTORS)),
                "specials": In(data.ArrayLayout(SpecialTerms, SELECTORS)),
                "step": In(range(max(2, steps))),
                "terms": Out(data.ArrayLayout(SerialTerm, lanes)),
                "significance": Out(range(max(2, significances + 1))),
                "last": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        special = Signal(SpecialTerms)
        special_term = Signal(SerialTerm)
        m.d.comb += [
            special.eq(self.specials[self.selector]),
            special_term.eq(Mux(self.step[0], special.second, special.first)),
        ]
        with m.Switch(self.kind):
            for number, kind in self.kinds.items():
                with m.Case(number):
                    m.d.comb += self.last.eq(self.step == kind.steps - 1)
                    self._significance(m, kind, special)
            with m.Default():
                m.d.comb += [self.last.eq(0), self.significance.eq(0)]
        integers = {number: kind for number, kind in self.kinds.items() if not kind.magnitudes}
        for lane in range(self.lanes):
            with m.Switch(self.kind):
                if integers:
                    digit = self._digit(m, lane, integers)
                    with m.Case(*integers):
                        m.d.comb += self.terms[lane].eq(digit)
                for number, kind in self.kinds.items():
                    if kind.magnitudes:
                        with m.Case(number):
                            self._float(m, lane, kind, special, special_term)
                with m.Default():
                    m.d.comb += self.terms[lane].as_value().eq(0)
        return m

    def _significance(self, m: Module, kind: WeightType, special: Signal) -> None:
        if kind.selector_significances:
            m.d.comb += self.significance.eq(special.significance)
        else:
            m.d.comb += self.significance.eq(Array(self._for_each_step(kind.significances))[self.step])

    def _for_each_step(self, values: Sequence[Any]) -> list[Any]:
        """The values, and zeros for the steps that are never asked for."""
        return [*values, *([0] * ((1 << len(self.step)) - len(values)))]

    def _digit(self, m: Module, lane: int, integers: dict[int, WeightType]) -> Value:
        """Return the Booth digit of bits 2s+1, 2s, 2s-1; a code of odd width repeats its sign once."""
        bits = list(self.codes[lane])
        for number, kind in integers.items():
            if kind.code_bits % 2:
                sign = bits[kind.code_bits - 1]
                above = bits[kind.code_bits] if kind.code_bits < len(bits) else sign
                bits[kind.code_bits : kind.code_bits + 1] = [Mux(self.kind == number, sign, above)]
        steps = max(kind.steps for kind in integers.values())
        padded = [Const(0, 1), *bits]
        digits = [Cat(padded[2 * s : 2 * s + 3]) for s in range(steps)]
        digit = Signal(3, name=f"digit_{lane}")
        term = Signal(SerialTerm, name=f"digit_term_{lane}")
        m.d.comb += [
            digit.eq(Array(self._for_each_step(digits))[self.step]),
            term.sign.eq(digit[2] & ~(digit[1] & digit[0])),
            term.exponent.eq((digit == 0b011) | (digit == 0b100)),
            term.mantissa.eq((digit != 0b000) & (digit != 0b111)),
        ]
        return term

    def _float(self, m: Module, lane: int, kind: WeightType, special: Signal, special_term: Signal) -> None:
        """Look the terms of the basic values up; minus zero is the column's special value."""
        code, term = self.codes[lane][: kind.code_bits], self.terms[lane]
        with m.If(code == kind.special_code):
            m.d.comb += term.eq(special_term)
        with m.Else():
            m.d.comb += term.as_value().eq(0)
        for selector in self._one_of_each_significance(kind):
            here = code != kind.special_code
            if kind.selector_significances:
                here &= special.significance == kind.significance(0, selector)
            with m.If(here), m.Switch(Cat(code[:-1], self.step)):
                for step in range(kind.steps):
                    for index in range(1, len(kind.magnitudes)):
                        basic = kind.term(index, step, selector)
                        if basic.mantissa:
                            with m.Case(index | step << kind.code_bits - 1):
                                m.d.comb += [
                                    term.mantissa.eq(1),
                                    term.exponent.eq(basic.exponent),
                                    term.sign.eq(code[-1]),
                                ]
                with m.Default():
                    m.d.comb += term.as_value().eq(0)

    @staticmethod
    def _one_of_each_significance(kind: WeightType) -> list[int]:
        extra = kind.selector_significances
        return [extra.index(value) for value in dict.fromkeys(extra)] or [0]


def _build(*, lanes: int = 4) -> RuntimeTermDecoder:
    return RuntimeTermDecoder(lanes=lanes)


TEMPLATE = UnitTemplate(
    name="bitmod_runtime_decoder",
    kind="decoder",
    description="BitMoD: codes of a column's lanes become terms; weight type and special values at run time",
    build=_build,
)
