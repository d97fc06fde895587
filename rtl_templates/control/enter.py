"""What a block takes; the definition is :meth:`mxhw.arithmetic.dataflow.Enter.run`."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic.dataflow import Passes
from mxhw.rtl_templates.checks import require_natural
from mxhw.rtl_templates.control.payloads import pass_layout
from mxhw.rtl_templates.dataflow.payloads import integer_layout
from mxhw.rtl_templates.function.channels import beats_of
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "EnterUnit"]


class EnterUnit(wiring.Component):
    """A beat a cycle, latency 0 (FIFOs around cut its paths).

    Parameters
    ----------
    kind : Passes
        Whose vectors come.
    length, bits : int
        Elements of a vector, bits of an element.
    lanes : int
        Elements of a beat; they divide the length.

    Members
    -------
    passes : In(stream.Signature(pass_layout(kind)))
        Held while the vector of the pass is taken, and taken with its last beat.
    embedded : In(stream.Signature(integer_layout(bits, lanes)))
        Vectors of passes of layer 0. Ready depends on y's ready and on passes.
    returned : In(stream.Signature(integer_layout(bits, lanes)))
        Vectors of the other passes. Ready as that of embedded.
    y : Out(stream.Signature(integer_layout(bits, lanes)))
        Vectors of all passes. Valid depends on valid and payload of passes, and on the valid of the others.

    Raises
    ------
    InputError
        If the lanes do not divide the length.
    """

    def __init__(self, *, kind: Passes, length: int, bits: int, lanes: int = 1) -> None:
        require_natural("length", length)
        require_natural("bits", bits)
        self._beats = beats_of(length, lanes)
        vector = stream.Signature(integer_layout(bits, lanes))
        super().__init__(
            {
                "passes": In(stream.Signature(pass_layout(kind))),
                "embedded": In(vector),
                "returned": In(vector),
                "y": Out(vector),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        is_first, moves, passes = Signal(), Signal(), self.passes
        beat = Signal(range(max(2, self._beats)))
        is_last = beat == self._beats - 1
        embedded, returned = self.embedded, self.returned
        m.d.comb += [
            is_first.eq(passes.payload.layer == 0),
            self.y.payload.eq(Mux(is_first, embedded.payload.as_value(), returned.payload.as_value())),
            self.y.valid.eq(passes.valid & Mux(is_first, embedded.valid, returned.valid)),
            embedded.ready.eq(passes.valid & is_first & self.y.ready),
            returned.ready.eq(passes.valid & ~is_first & self.y.ready),
            moves.eq(self.y.valid & self.y.ready),
            passes.ready.eq(moves & is_last),
        ]
        with m.If(moves):
            m.d.sync += beat.eq(Mux(is_last, 0, beat + 1))
        return m


def _build(length: int = 64, bits: int = 24, lanes: int = 1, layers: int = 5) -> EnterUnit:
    return EnterUnit(kind=Passes(layers=layers, sequences=2, keys=128), length=length, bits=bits, lanes=lanes)


TEMPLATE = UnitTemplate(
    name="enter",
    kind="control",
    description="vectors that a block takes: embedded ones in layer 0, returned ones in the others",
    build=_build,
)
