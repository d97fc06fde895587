"""The edge of a streamed array: the vectors of a beat are decoded and registered for the PEs.

A vector is what one row of PEs gets of x, or one column of w. Where the mapping "gemv" exists, vectors can take what
another one decoded instead of their own.
"""

from abc import abstractmethod
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mxhw.rtl_templates.checks import require_natural

__all__ = ["Edge"]


class Edge(wiring.Component):
    """Base of the edges.

    Parameters
    ----------
    vectors : int
        Vectors per beat that this edge decodes.
    codes, scale : int
        Bits of a vector's codes, of its metadata.
    decoded : int
        Bits that a vector is decoded to.
    shared : bool
        Whether a vector can take over what another one decoded.
    more : dict
        Further members.

    Members
    -------
    advance : In(1)
        Clock enable of every register.
    codes, scales : In(vectors * codes), In(vectors * scale)
        Vectors of stage 0, the first lowest.
    decoded : Out(vectors * decoded)
        Present if ``shared``: stage 0, combinational.
    other : In(vectors * decoded), use_other : In(1)
        Present if ``shared``: take these instead.
    registered : Out(vectors * decoded)
        Stage 1.
    """

    def __init__(
        self, *, vectors: int, codes: int, scale: int, decoded: int, shared: bool, more: dict[str, Any]
    ) -> None:
        for name, value in (("vectors", vectors), ("codes", codes)):
            require_natural(name, value)
        self.vectors, self.shared = vectors, shared
        self._bits, self._scale_bits, self.decoded_bits = codes, scale, decoded
        members = {"advance": In(1), "codes": In(vectors * codes), "registered": Out(vectors * decoded)}
        if scale:
            members["scales"] = In(vectors * scale)
        if shared:
            members |= {"decoded": Out(vectors * decoded), "other": In(vectors * decoded), "use_other": In(1)}
        super().__init__(members | more)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        values = []
        for vector in range(self.vectors):
            codes = self.codes.word_select(vector, self._bits)
            values.append(self._decode(m, vector, codes, self.scale(vector), platform))
        decoded: Value = Cat(*values)
        if self.shared:
            m.d.comb += self.decoded.eq(decoded)
            decoded = Mux(self.use_other, self.other, self.decoded)
        register = Signal(len(self.registered), reset_less=True)
        with m.If(self.advance):
            m.d.sync += register.eq(decoded)
        m.d.comb += self.registered.eq(register)
        return m

    def register(self, vector: int) -> Any:
        """Return what a vector gives in stage 1."""
        return self.registered.word_select(vector, self.decoded_bits)

    def scale(self, vector: int) -> Any:
        """Return the metadata of a vector."""
        return self.scales.word_select(vector, self._scale_bits) if self._scale_bits else None

    @abstractmethod
    def _decode(self, m: Module, vector: int, codes: Value, scale: Any, platform: Any) -> Value:
        """Return what a vector decodes to."""
