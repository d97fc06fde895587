"""BitMoD's bit-serial processing element on FP16 activations.

Source: BitMoD (arXiv 2411.11745), PE microarchitecture; definition, bit for bit, with the repairs of the published RTL:
`mxhw.arithmetic.bitmod_pe`. Two accumulators: "paper" aligns and truncates as the paper does, so that the order of
steps is part of the result; "exact" is one fixed-point number that loses nothing.

Decoders of weights and activations stand at the edge of an array, not here. Neither is the sum over groups, which the
paper gives to one shared accumulator per column.
"""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic import RUNTIME_TYPES, WeightType, weight_type_named, weight_types
from mxhw.arithmetic.bitmod_pe import Accumulator, Fp16Widths, fp16_widths
from mxhw.arithmetic.terms import EXPONENT_LARGEST
from mxhw.rtl_templates.checks import require, require_hidden_scale, require_lanes, require_natural
from mxhw.rtl_templates.decoder.bitmod_fp16 import Fp16Operand
from mxhw.rtl_templates.decoder.bitmod_term import SerialTerm
from mxhw.rtl_templates.mac.bit_serial import RUNTIME, ScaleControl, macs_per_cycle
from mxhw.rtl_templates.mac.bitmod_paper import aligned_dot, aligned_sum
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "BitModPE"]


class BitModPE(wiring.Component):
    """One output of an output-stationary array.

    Parameters
    ----------
    weight_types : sequence of WeightType
        The types that may come, one or several; their special values may be programmed if they are several.
    accumulator : str
        "paper" or "exact".
    group : int
        Longest group, in weights.
    lanes : int
        Products per step.
    pipelined : bool
        Whether a register stands between the lanes and the group sum; a group sum is then complete one cycle later.

    Members
    -------
    advance : In(1)
        Clock enable of every register.
    x : In(lanes of Fp16Operand)
        Activations; the same during all steps of a chunk.
    terms : In(lanes of SerialTerm)
        This step's term of each lane's weight; an absent one has exponent 0.
    significance : In
        log2 of the step's weight; not present if it is always 0.
    enable : In(1)
        Accumulate this step.
    first : In(1)
        With ``enable``: this step starts a new group.
    control : In(ScaleControl)
        ``load`` takes the group sum over: ``latency`` cycles after the group's last step came in. Then 8 cycles
        ``active``; these may run beside the steps of the next group, and the last of them together with its ``load``.
        ``first``, ``fold`` and ``start`` are not used.
    scale_bit : In(1)
        While ``active``: this cycle's bit of the group's scale, the most significant first.
    mantissa : Out(signed(widths.scaled))
        Group sum times scale; valid in the eighth ``active`` cycle.
    exponent : Out(6)
        Not present if exact. The result is ``mantissa * 2**(exponent - ACCUMULATOR_BIAS)``; ``mantissa * 2**-24`` if
        exact.
    """

    def __init__(
        self,
        *,
        weight_types: Sequence[WeightType],
        accumulator: Accumulator = "paper",
        group: int = 128,
        lanes: int = 4,
        pipelined: bool = True,
    ) -> None:
        require_natural("group", group)
        require_lanes(lanes, group, "group")
        require(bool(weight_types), "weight_types", "at least one weight type", weight_types)
        require(accumulator in ("paper", "exact"), "accumulator", '"paper" or "exact"', accumulator)
        require_hidden_scale(group, lanes, min(len(kind.significances) for kind in weight_types))
        self.widths: Fp16Widths = fp16_widths(tuple(weight_types), accumulator, group, lanes)
        self.accumulator, self.lanes, self.pipelined = accumulator, lanes, pipelined
        largest = max(kind.largest_significance for kind in weight_types)
        super().__init__(
            {
                "advance": In(1),
                "x": In(data.ArrayLayout(Fp16Operand, lanes)),
                "terms": In(data.ArrayLayout(SerialTerm, lanes)),
                **({"significance": In(range(largest + 1))} if largest else {}),
                "enable": In(1),
                "first": In(1),
                "control": In(ScaleControl),
                "scale_bit": In(1),
                "mantissa": Out(signed(self.widths.scaled)),
                **({"exponent": Out(self.widths.exponent)} if self.widths.exponent else {}),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from a group's last step to its ``load``."""
        return 2 if self.pipelined else 1

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        significance = self.significance if "significance" in self.signature.members else None
        step = [self.first, *([] if significance is None else [significance])]
        if self.accumulator == "paper":
            dot, top = aligned_dot(m, self.x, self.terms, self.widths)
            dot, top, enable, first, *rest = self._stage(m, dot, top, self.enable, *step)
            update = self.advance & enable
            group_sum, exponent = aligned_sum(m, dot, top, rest[0] if rest else None, first, update, self.widths)
            self._hold_exponent(m, exponent)
        else:
            dot, enable, first, *rest = self._stage(m, self._exact_dot(m), self.enable, *step)
            group_sum = Signal(signed(self.widths.group_sum), reset_less=True)
            with m.If(self.advance & enable):
                m.d.sync += group_sum.eq(Mux(first, 0, group_sum) + (dot << rest[0] if rest else dot))
        self._scale(m, group_sum)
        return m

    def _stage(self, m: Module, *values: Value) -> list[Value]:
        """The values, through a register if there is one."""
        if not self.pipelined:
            return list(values)
        registers = []
        for value in values:
            register = Signal.like(value, name=f"{value.name}_staged", reset_less=True)
            with m.If(self.advance):
                m.d.sync += register.eq(value)
            registers.append(register)
        return registers

    def _exact_dot(self, m: Module) -> Signal:
        """Sum the lanes' products in units of 2**-24; a negative one is its complement plus its sign.

        The complement is taken before the shift, which then fills with the sign on both sides: a right shift by
        31 - exponent out of a frame of signs.
        """
        total: Value | None = None
        room = (1 << len(self.x[0].exponent)) - 1
        for lane in range(self.lanes):
            x, term = self.x[lane], self.terms[lane]
            negative = Signal(name=f"negative_{lane}")
            scaled = Signal(len(x.significand) + EXPONENT_LARGEST, name=f"scaled_{lane}")
            product = Signal(signed(self.widths.product), name=f"product_{lane}")
            m.d.comb += [
                negative.eq(x.sign ^ term.sign),
                scaled.eq(Mux(term.mantissa, x.significand, 0) << term.exponent),
            ]
            flipped = scaled ^ negative.replicate(len(scaled))
            framed = Cat(negative.replicate(room), flipped, negative).as_signed()
            # Exponents start at 1, so the lowest bit is always the sign's.
            m.d.comb += product.eq((framed >> ~x.exponent)[1:].as_signed())
            part = product + negative
            total = part if total is None else total + part
        dot = Signal(signed(self.widths.dot), name="dot")
        m.d.comb += dot.eq(total)
        return dot

    def _hold_exponent(self, m: Module, exponent: Signal) -> None:
        with m.If(self.advance & self.control.load):
            m.d.sync += self.exponent.eq(exponent)

    def _scale(self, m: Module, group_sum: Signal) -> None:
        """Multiply the held group sum by the scale, one bit a cycle.

        The product leaves in the cycle of the last bit, before it would be registered; so the load of the next group,
        which may come in that cycle, can clear the partial product.
        """
        held = Signal.like(group_sum, name="held", reset_less=True)
        partial = Signal(signed(self.widths.scaled - 1), reset_less=True)
        m.d.comb += self.mantissa.eq((partial << 1) + Mux(self.scale_bit, held, 0))
        with m.If(self.advance & self.control.load):
            m.d.sync += [held.eq(group_sum), partial.eq(0)]
        with m.Elif(self.advance & self.control.active):
            m.d.sync += partial.eq(self.mantissa)


def _build(
    *,
    weight_type: str = RUNTIME,
    accumulator: str = "paper",
    group: int = 128,
    lanes: int = 4,
    pipelined: bool = True,
) -> BitModPE:
    """``weight_type``: a type, or "runtime" for all that a run-time decoder knows."""
    names = RUNTIME_TYPES if weight_type == RUNTIME else (weight_type,)
    kinds = [weight_type_named(name) for name in names]
    return BitModPE(weight_types=kinds, accumulator=accumulator, group=group, lanes=lanes, pipelined=pipelined)


TEMPLATE = UnitTemplate(
    name="bitmod_pe",
    kind="mac",
    description="BitMoD bit-serial PE on FP16 activations, with the paper's accumulator or an exact one",
    build=_build,
    choices={"weight_type": (*weight_types(), RUNTIME), "accumulator": ("paper", "exact")},
    macs_per_cycle=lambda weight_type=RUNTIME, lanes=4, **_: macs_per_cycle(weight_type, lanes),
    variants=(
        {"weight_type": "int8"},
        {"weight_type": "int6"},
        {"weight_type": "fp4"},
        {"weight_type": "fp3"},
        {"weight_type": "fp3-oneterm"},
        {"accumulator": "exact"},
    ),
)
