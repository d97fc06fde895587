"""What a block gives, and who gets it; the definition is :meth:`mxhw.arithmetic.dataflow.Keep.run`."""

from typing import Any, get_args

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic.dataflow import Passes
from mxhw.arithmetic.dataflow.control import Kept
from mxhw.rtl_templates.checks import require, require_natural
from mxhw.rtl_templates.control.payloads import pass_layout
from mxhw.rtl_templates.dataflow.payloads import integer_layout
from mxhw.rtl_templates.function.channels import beats_of
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "KeepUnit"]


class KeepUnit(wiring.Component):
    """A beat a cycle, given or dropped; latency 0 (FIFOs around cut its paths).

    Parameters
    ----------
    kind : Passes
        Whose vectors come.
    which : str
        "returned" or "final", as :class:`~mxhw.arithmetic.dataflow.Keep` has them.
    length, bits : int
        Elements of a vector, bits of an element.
    lanes : int
        Elements of a beat; they divide the length.

    Members
    -------
    passes : In(stream.Signature(pass_layout(kind)))
        Held while the vector of the pass is taken, and taken with its last beat.
    x : In(stream.Signature(integer_layout(bits, lanes)))
        Vectors of all passes. Ready depends on passes, and on y's ready where the vector is kept.
    y : Out(stream.Signature(integer_layout(bits, lanes)))
        Those that are kept. Valid depends on valid and payload of passes, and on x's valid.

    Raises
    ------
    InputError
        If the lanes do not divide the length, or ``which`` is another word.
    """

    def __init__(self, *, kind: Passes, which: Kept, length: int, bits: int, lanes: int = 1) -> None:
        require(which in get_args(Kept), "which", f"one of {', '.join(get_args(Kept))}", which)
        require_natural("length", length)
        require_natural("bits", bits)
        self._layers, self._which, self._beats = kind.layers, which, beats_of(length, lanes)
        vector = stream.Signature(integer_layout(bits, lanes))
        super().__init__({"passes": In(stream.Signature(pass_layout(kind))), "x": In(vector), "y": Out(vector)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        is_kept, moves, each = Signal(), Signal(), self.passes.payload
        beat = Signal(range(max(2, self._beats)))
        is_last = beat == self._beats - 1
        is_final = each.layer == self._layers - 1
        m.d.comb += [
            is_kept.eq(~is_final if self._which == "returned" else is_final & each.logits),
            self.y.payload.eq(self.x.payload),
            self.y.valid.eq(self.passes.valid & self.x.valid & is_kept),
            self.x.ready.eq(self.passes.valid & (self.y.ready | ~is_kept)),
            moves.eq(self.x.valid & self.x.ready),
            self.passes.ready.eq(moves & is_last),
        ]
        with m.If(moves):
            m.d.sync += beat.eq(Mux(is_last, 0, beat + 1))
        return m


def _build(which: Kept = "final", length: int = 64, bits: int = 24, lanes: int = 1, layers: int = 5) -> KeepUnit:
    kind = Passes(layers=layers, sequences=2, keys=128)
    return KeepUnit(kind=kind, which=which, length=length, bits=bits, lanes=lanes)


TEMPLATE = UnitTemplate(
    name="keep",
    kind="control",
    description="vectors that a block gives: those that return to it, or those of wanted logits",
    build=_build,
    choices={"which": get_args(Kept)},
)
