"""``x * s(x)`` on a stream, alone or times a second stream; the definition is `mxhw.arithmetic.functions.activation`.

Pipeline, every stage gated by one ``advance``:

    1         the table's argument: magnitude, shift, limit
    2, 3, 4   table look-up with interpolation
    5         the factor of negative inputs
    6         product
    7         rounding: the output
    8         gated form only: product with the second input
"""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic.functions.activation import FACTOR_BITS, ActivationSpec
from mxhw.rtl_templates.function.pipeline import Pipeline
from mxhw.rtl_templates.function.table import TableLookup
from mxhw.rtl_templates.integer import round_shift

__all__ = ["SelfGated", "SelfGatedProduct"]


class SelfGated(wiring.Component):
    """SiLU or GELU, one element a cycle.

    Without stalls, n elements take ``n + latency`` cycles, first beat in to last beat out, both counted.

    Parameters
    ----------
    spec : ActivationSpec
        Function, static exponent, table and widths.

    Members
    -------
    x : In(stream.Signature(signed(spec.input_bits)))
        Ready follows y's.
    y : Out(stream.Signature(signed(spec.output_bits)))
        The payload is stable while valid and not ready; valid does not wait for ready.
    """

    def __init__(self, *, spec: ActivationSpec) -> None:
        self.spec = spec
        self._lookup = TableLookup(table=spec.table)
        super().__init__(
            {
                "x": In(stream.Signature(signed(spec.input_bits))),
                "y": Out(stream.Signature(signed(spec.output_bits))),
            }
        )

    @property
    def latency(self) -> int:
        """Clock edges from an accepted beat to the valid one that it becomes."""
        return self._lookup.latency + 4

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        pipeline = Pipeline(m, [self.x], self.y, self.latency)
        rounded = _activate(m, self.x.payload, self.spec, self._lookup, pipeline)
        m.d.comb += self.y.payload.eq(pipeline.register(rounded, "rounded"))
        return m


class SelfGatedProduct(wiring.Component):
    """SwiGLU's or GeGLU's gate: the activation of one stream times another, one element a cycle, the product exact.

    Without stalls, n elements take ``n + latency`` cycles, first beat in to last beat out, both counted.

    Parameters
    ----------
    spec : ActivationSpec
        Function, static exponent of the gate, table and widths.

    Members
    -------
    gate : In(stream.Signature(signed(spec.input_bits)))
        What the activation is taken of. Ready follows y's, once x is valid too.
    x : In(stream.Signature(signed(spec.gate_bits)))
        The other factor. Ready follows y's, once gate is valid too.
    y : Out(stream.Signature(signed(spec.gated_bits)))
        The payload is stable while valid and not ready; valid does not wait for ready.
    """

    def __init__(self, *, spec: ActivationSpec) -> None:
        self.spec = spec
        self._lookup = TableLookup(table=spec.table)
        super().__init__(
            {
                "gate": In(stream.Signature(signed(spec.input_bits))),
                "x": In(stream.Signature(signed(spec.gate_bits))),
                "y": Out(stream.Signature(signed(spec.gated_bits))),
            }
        )

    @property
    def latency(self) -> int:
        """Clock edges from a pair of accepted beats to the valid one that it becomes."""
        return self._lookup.latency + 5

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        pipeline = Pipeline(m, [self.gate, self.x], self.y, self.latency)
        rounded = _activate(m, self.gate.payload, self.spec, self._lookup, pipeline)
        activated = pipeline.register(rounded, "rounded")
        factor = pipeline.register(self.x.payload, "factor", self.latency - 1)
        m.d.comb += self.y.payload.eq(pipeline.register(activated * factor, "product_out"))
        return m


def _activate(m: Module, x: Value, spec: ActivationSpec, lookup: TableLookup, pipeline: Pipeline) -> Value:
    """Return the rounded activation of ``x``, not registered: that of the x of look-up latency + 3 edges ago."""
    m.submodules.lookup = lookup
    largest = (1 << spec.table.input_bits) - 1
    magnitude = Signal(spec.input_bits)
    m.d.comb += magnitude.eq(Mux(x < 0, -x, x))
    wide = round_shift(magnitude, spec.argument_shift)
    limited = Mux(wide > largest, largest, wide)[: spec.table.input_bits]
    m.d.comb += [lookup.x.eq(pipeline.register(limited, "argument")), lookup.enable.eq(pipeline.advance)]

    beside = pipeline.register(x, "beside", 1 + lookup.latency)
    signed_factor = Mux(beside < 0, (1 << FACTOR_BITS) - lookup.y, lookup.y)[:FACTOR_BITS]
    product = pipeline.register(beside, "own") * pipeline.register(signed_factor, "factor_of_sign")
    return round_shift(pipeline.register(product, "product"), FACTOR_BITS - spec.extra_bits)
