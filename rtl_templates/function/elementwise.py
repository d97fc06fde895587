"""Sums, products and ReLU of streams; their definition is `mxhw.arithmetic.functions.elementwise`."""

from typing import Any

from amaranth.hdl import Module, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic.functions.elementwise import AddSpec, MultiplySpec
from mxhw.rtl_templates.checks import require_natural
from mxhw.rtl_templates.function.pipeline import Pipeline
from mxhw.rtl_templates.integer import round_shift, saturate
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATES", "Add", "Multiply", "ReLU"]


def _beats(bits: int, lanes: int) -> stream.Signature:
    return stream.Signature(data.ArrayLayout(signed(bits), lanes))


class _Pairwise(wiring.Component):
    """Two operands, lane by lane, and their result: what Add and Multiply have in common."""

    def __init__(self, *, spec: AddSpec | MultiplySpec, lanes: int = 1) -> None:
        require_natural("lanes", lanes)
        self._spec, self._lanes = spec, lanes
        super().__init__(
            {
                "left": In(_beats(spec.left_bits, lanes)),
                "right": In(_beats(spec.right_bits, lanes)),
                "y": Out(_beats(spec.output_bits, lanes)),
            }
        )


class Add(_Pairwise):
    """A saturating sum, one beat a cycle, latency 2: align, add.

    Parameters
    ----------
    spec : AddSpec
        Widths and the shift of the right operand.
    lanes : int
        Elements of a beat.

    Members
    -------
    left, right : In(stream.Signature(data.ArrayLayout(signed(bits), lanes)))
        Operands, ``spec.left_bits`` and ``spec.right_bits``. Beats are taken together: ready depends on the valid of
        both and on y's ready.
    y : Out(stream.Signature(data.ArrayLayout(signed(spec.output_bits), lanes)))
        Registers.
    """

    latency = 2

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        spec = self._spec
        pipeline = Pipeline(m, [self.left, self.right], self.y, self.latency)
        for lane in range(self._lanes):
            aligned = round_shift(self.right.payload[lane], spec.shift)[: spec.aligned_bits].as_signed()
            left = pipeline.register(self.left.payload[lane], f"left_{lane}")
            right = pipeline.register(aligned, f"right_{lane}")
            total = (left + right)[: spec.sum_bits].as_signed()
            result = saturate(total, spec.output_bits)
            m.d.comb += self.y.payload[lane].eq(pipeline.register(result, f"result_{lane}"))
        return m


class Multiply(_Pairwise):
    """A product that is requantized, one beat a cycle, latency 3: operands, product, rounding (a DSP's registers).

    Parameters
    ----------
    spec : MultiplySpec
        Widths and shift.
    lanes : int
        Elements of a beat.

    Members
    -------
    left, right, y
        As in :class:`Add`.
    """

    latency = 3

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        spec = self._spec
        pipeline = Pipeline(m, [self.left, self.right], self.y, self.latency)
        for lane in range(self._lanes):
            left = pipeline.register(self.left.payload[lane], f"left_{lane}")
            right = pipeline.register(self.right.payload[lane], f"right_{lane}")
            product = pipeline.register((left * right)[: spec.product_bits].as_signed(), f"product_{lane}")
            result = saturate(round_shift(product, spec.shift), spec.output_bits)
            m.d.comb += self.y.payload[lane].eq(pipeline.register(result, f"result_{lane}"))
        return m


class ReLU(wiring.Component):
    """``max(x, 0)``, one beat a cycle, latency 0: no registers, all of y comes from x and x's ready from y's.

    Parameters
    ----------
    bits : int
        Bits of an element.
    lanes : int
        Elements of a beat.

    Members
    -------
    x : In(stream.Signature(data.ArrayLayout(signed(bits), lanes)))
    y : Out(stream.Signature(data.ArrayLayout(signed(bits), lanes)))
    """

    latency = 0

    def __init__(self, *, bits: int = 16, lanes: int = 1) -> None:
        require_natural("bits", bits, 2)
        require_natural("lanes", lanes)
        self._lanes = lanes
        super().__init__({"x": In(_beats(bits, lanes)), "y": Out(_beats(bits, lanes))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.d.comb += [self.y.valid.eq(self.x.valid), self.x.ready.eq(self.y.ready)]
        for lane in range(self._lanes):
            x = self.x.payload[lane]
            m.d.comb += self.y.payload[lane].eq(x & ~x[-1].replicate(len(x)))
        return m


def _build_add(left_bits: int = 24, right_bits: int = 16, shift: int = 0, output_bits: int = 24, lanes: int = 1) -> Add:
    spec = AddSpec(left_bits=left_bits, right_bits=right_bits, shift=shift, output_bits=output_bits)
    return Add(spec=spec, lanes=lanes)


def _build_multiply(
    left_bits: int = 18, right_bits: int = 16, shift: int = 17, output_bits: int = 16, lanes: int = 1
) -> Multiply:
    spec = MultiplySpec(left_bits=left_bits, right_bits=right_bits, shift=shift, output_bits=output_bits)
    return Multiply(spec=spec, lanes=lanes)


def _build_relu(bits: int = 16, lanes: int = 1) -> ReLU:
    return ReLU(bits=bits, lanes=lanes)


TEMPLATES = (
    UnitTemplate(
        name="add",
        kind="function",
        description="saturating sum of two streams on the grid of the left one",
        build=_build_add,
    ),
    UnitTemplate(
        name="multiply",
        kind="function",
        description="product of two streams, rounded and saturated to a third",
        build=_build_multiply,
    ),
    UnitTemplate(name="relu", kind="function", description="the positive part of a stream", build=_build_relu),
)
