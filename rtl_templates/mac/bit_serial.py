"""BitMoD's bit-serial processing element on INT8 activations, exact in integers.

No register needs a reset: each sum says itself where it starts.

Per step: every lane's activation is shifted by its term's exponent, masked and signed; the lanes are summed; the sum is
shifted by the step's significance and added to the group sum. A finished group sum is multiplied by the group's 8-bit
scale, one bit a cycle with the most significant first, beside the next group's steps, and added to the accumulator.

Source: BitMoD (arXiv 2411.11745), PE microarchitecture. Different from it: activations are integers, so that every sum
is exact and order-free; the accumulator is inside the PE and not shared by a column.
"""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic import (
    RUNTIME_TYPES,
    BitModWidths,
    WeightType,
    bitmod_widths,
    runtime_widths,
    terms,
    weight_type_named,
    weight_types,
)
from mxhw.arithmetic.terms import EXPONENT_LARGEST
from mxhw.rtl_templates.checks import require, require_hidden_scale, require_lanes, require_natural
from mxhw.rtl_templates.decoder import SerialTerm
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["ACTIVATION_BITS", "TEMPLATE", "BitSerialPE", "ScaleControl"]

ACTIVATION_BITS = 8


class ScaleControl(data.Struct):
    """When the serial multiplication by the group scale does what; shared by the whole array.

    Members
    -------
    load : unsigned(1)
        The group sum is complete: take it over. Exactly one cycle a group.
    first : unsigned(1)
        This cycle's scale bit is the most significant one: the cycle after ``load``.
    active : unsigned(1)
        This cycle has a scale bit; 8 cycles, from ``first`` on.
    fold : unsigned(1)
        The scaled sum is complete: add it to the accumulator. The cycle after the last bit.
    start : unsigned(1)
        With ``fold``: the scaled sum starts a new sum.
    """

    load: unsigned(1)
    first: unsigned(1)
    active: unsigned(1)
    fold: unsigned(1)
    start: unsigned(1)


class BitSerialPE(wiring.Component):
    """One output of an output-stationary array.

    Parameters
    ----------
    weight_type : WeightType, or sequence of WeightType
        One type: it fixes the significance of each step. Several (or one in a sequence): any of them may come at run
        time, and the significance comes in with the terms. A type whose significance depends on the group needs this.
    widths : BitModWidths
        Register widths, from :func:`mxhw.arithmetic.bitmod_widths`; for several types from
        :func:`mxhw.arithmetic.runtime_widths`.
    lanes : int
        Products per chunk.
    scaled : bool
        Whether group sums are multiplied by 8-bit scales; if not, ``result`` is the group sum itself.

    Members
    -------
    advance : In(1)
        Clock enable of every register.
    x : In(lanes of signed(8))
        Activations; the same during all steps of a chunk. -128 does not occur.
    terms : In(lanes of SerialTerm)
        This step's term of each lane's weight.
    step : In
        Present with one type: which step this is.
    significance : In
        Present with a sequence of types: log2 of the weight of this step, one that a type of the sequence has.
    enable : In(1)
        Accumulate this step.
    first : In(1)
        With ``enable``: this step starts a new group sum.
    scale_bit : In(1)
        Present if ``scaled``: this cycle's bit of the column's scale.
    control : In(ScaleControl)
        Present if ``scaled``.
    result : Out(signed(widths.accumulator))
        If ``scaled`` valid while ``control.fold``; otherwise valid in the cycle after the last step of the sum.
    """

    def __init__(
        self,
        *,
        weight_type: WeightType | Sequence[WeightType],
        widths: BitModWidths,
        lanes: int = 4,
        scaled: bool = True,
    ) -> None:
        require_natural("lanes", lanes)
        fixed = isinstance(weight_type, WeightType)
        self._kinds = (weight_type,) if isinstance(weight_type, WeightType) else tuple(weight_type)
        require(bool(self._kinds), "weight_type", "a type or a sequence of at least one", weight_type)
        varies = any(kind.selector_significances for kind in self._kinds)
        require(not (fixed and varies), "weight_type", "in a sequence if its significance varies", self._kinds[0].name)
        self.widths, self.lanes, self.scaled = widths, lanes, scaled
        largest_significance = max(kind.largest_significance for kind in self._kinds)
        members = {
            "advance": In(1),
            "x": In(data.ArrayLayout(signed(ACTIVATION_BITS), lanes)),
            "terms": In(data.ArrayLayout(SerialTerm, lanes)),
            **(
                {"step": In(range(max(2, self._kinds[0].steps)))}
                if fixed
                else {"significance": In(range(max(2, largest_significance + 1)))}
            ),
            "enable": In(1),
            "first": In(1),
            "result": Out(signed(widths.accumulator)),
        }
        if scaled:
            members |= {"scale_bit": In(1), "control": In(ScaleControl)}
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        group_sum = Signal(signed(self.widths.group_sum), reset_less=True)
        step_sum = Signal(signed(self.widths.group_sum))
        dot = self._dot(m)
        if "significance" in self.signature.members:
            m.d.comb += step_sum.eq(dot << self.significance)
        else:
            with m.Switch(self.step):
                for step, significance in enumerate(self._kinds[0].significances):
                    with m.Case(step):
                        m.d.comb += step_sum.eq(dot << significance)
                with m.Default():
                    m.d.comb += step_sum.eq(0)
        with m.If(self.advance & self.enable):
            m.d.sync += group_sum.eq(Mux(self.first, 0, group_sum) + step_sum)
        if self.scaled:
            self._scale(m, group_sum)
        else:
            m.d.comb += self.result.eq(group_sum)
        return m

    def _dot(self, m: Module) -> Value:
        """Sum the lanes' terms; a negative one is its complement plus its sign."""
        largest = max(kind.largest_exponent for kind in self._kinds)
        if "significance" in self.signature.members and any(kind.magnitudes for kind in self._kinds):
            largest = EXPONENT_LARGEST  # special values are programmable
        total: Value | None = None
        for lane in range(self.lanes):
            term = self.terms[lane]
            exponent = term.exponent[: largest.bit_length()]
            shifted = Signal(signed(ACTIVATION_BITS + largest), name=f"shifted_{lane}")
            signed_term = Signal.like(shifted, name=f"signed_{lane}")
            m.d.comb += [
                shifted.eq(Mux(term.mantissa, self.x[lane] << exponent, 0)),
                signed_term.eq(shifted ^ term.sign.replicate(len(shifted))),
            ]
            part = signed_term + term.sign
            total = part if total is None else total + part
        dot = Signal(signed(self.widths.dot), name="dot")
        m.d.comb += dot.eq(total)
        return dot

    def _scale(self, m: Module, group_sum: Signal) -> None:
        """Multiply the finished group sum by the scale, MSB first, and fold the product into the accumulator."""
        held = Signal.like(group_sum)
        scaled_sum = Signal(signed(self.widths.scaled_sum), reset_less=True)
        accumulator = Signal(signed(self.widths.accumulator), reset_less=True)
        m.d.comb += self.result.eq(Mux(self.control.start, 0, accumulator) + scaled_sum)
        with m.If(self.advance):
            with m.If(self.control.load):
                m.d.sync += held.eq(group_sum)
            with m.If(self.control.active):
                doubled = Mux(self.control.first, 0, scaled_sum << 1)
                m.d.sync += scaled_sum.eq(doubled + Mux(self.scale_bit, held, 0))
            with m.If(self.control.fold):
                m.d.sync += accumulator.eq(self.result)


RUNTIME = "runtime"


def _build(
    *, weight_type: str = "fp4", k: int = 4096, group: int | None = 128, lanes: int = 4, scaled: bool = True
) -> BitSerialPE:
    """``weight_type``: a type, or "runtime" for all that a run-time decoder knows. Without scales, ``k`` is one sum."""
    length = group if scaled else None
    if length is not None:
        require_natural("group", length)
        require_lanes(lanes, length, "group")
        require_hidden_scale(
            length, lanes, min(map(terms, RUNTIME_TYPES if weight_type == RUNTIME else (weight_type,)))
        )
    if weight_type == RUNTIME:
        kinds = [weight_type_named(name) for name in RUNTIME_TYPES]
        return BitSerialPE(
            weight_type=kinds, widths=runtime_widths(RUNTIME_TYPES, k, length, lanes), lanes=lanes, scaled=scaled
        )
    kind = weight_type_named(weight_type)
    varies = bool(kind.selector_significances)
    widths = (
        (runtime_widths([weight_type], k, length, lanes)) if varies else bitmod_widths(weight_type, k, length, lanes)
    )
    return BitSerialPE(weight_type=[kind] if varies else kind, widths=widths, lanes=lanes, scaled=scaled)


def macs_per_cycle(weight_type: str, lanes: int) -> float:
    """Products per cycle of a bit-serial PE; at run time those of INT8, the most terms."""
    return lanes / terms(RUNTIME_TYPES[0] if weight_type == RUNTIME else weight_type)


TEMPLATE = UnitTemplate(
    name="bitmod_int_pe",
    kind="mac",
    description="BitMoD bit-serial PE on INT8 activations, exact in integers",
    build=_build,
    choices={"weight_type": (*weight_types(), RUNTIME)},
    macs_per_cycle=lambda weight_type="fp4", lanes=4, **_: macs_per_cycle(weight_type, lanes),
    variants=tuple({"weight_type": name} for name in ("int8", "int6", "fp3", "fp3-oneterm", RUNTIME)),
)
