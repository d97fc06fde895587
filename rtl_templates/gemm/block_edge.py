"""Edge of a block format's array: operands for the PEs, and the exponents of the blocks one stage behind them."""

from typing import Any

from amaranth.hdl import Cat, Module, Shape, Signal, Value
from amaranth.lib.wiring import Out

from mxhw.arithmetic import block_element
from mxhw.rtl_templates.gemm.edge import Edge
from mxhw.rtl_templates.mac.block import edge_decoder, operand_shape
from mxhw.rtl_templates.place import place

__all__ = ["BlockEdge"]


class BlockEdge(Edge):
    """Decodes vectors of ``lanes`` elements; see :class:`Edge`.

    Parameters
    ----------
    element : str
        A name of :func:`mxhw.arithmetic.block_elements`.
    lanes, vectors : int
        Elements of a vector, vectors.
    exponent_bits : int
        Bits of a block's exponent, counted from its window's lowest.
    span : int
        Largest such exponent.
    shared : bool
        See :class:`Edge`.

    Members
    -------
    registered
        Stage 1: operands, and above them the exponent.
    exponents : Out(vectors * exponent_bits)
        Stage 2.
    outside : Out(1)
        An exponent of stage 1 is above ``span``.
    """

    def __init__(self, *, element: str, lanes: int, vectors: int, exponent_bits: int, span: int, shared: bool) -> None:
        kind = block_element(element)
        self._kind, self._lanes, self._span = kind, lanes, span
        self.operand_bits = lanes * Shape.cast(operand_shape(element)).width
        super().__init__(
            vectors=vectors,
            codes=lanes * kind.code_bits,
            scale=kind.selector_bits + exponent_bits,
            decoded=self.operand_bits + exponent_bits,
            shared=shared,
            more={"exponents": Out(vectors * exponent_bits), "outside": Out(1)},
        )

    def elaborate(self, platform: Any) -> Module:
        m = super().elaborate(platform)
        exponents = [self.register(vector)[self.operand_bits :] for vector in range(self.vectors)]
        register = Signal(len(self.exponents), reset_less=True)
        with m.If(self.advance):
            m.d.sync += register.eq(Cat(*exponents))
        m.d.comb += self.exponents.eq(register)
        if self._span + 1 < 1 << len(exponents[0]):
            m.d.comb += self.outside.eq(Cat(exponent > self._span for exponent in exponents).any())
        return m

    def _decode(self, m: Module, vector: int, codes: Value, scale: Any, platform: Any) -> Value:
        kind, operands = self._kind, []
        for lane in range(self._lanes):
            decoder = edge_decoder(kind.name)
            place(m, "decoder", f"{vector}_{lane}", decoder, platform)
            m.d.comb += decoder.code.eq(codes.word_select(lane, kind.code_bits))
            if kind.selector_bits:
                m.d.comb += decoder.dialect.eq(scale[: kind.selector_bits])
            operands.append(Value.cast(decoder.operand))
        return Cat(*operands, scale[kind.selector_bits :])
