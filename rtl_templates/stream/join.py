"""A join: beats of several streams, one of each, become one beat of a tuple."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Module, ShapeLike, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.rtl_templates.checks import require, require_natural
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "Join"]


class Join(wiring.Component):
    """Waits for all inputs, then takes one beat of each. One beat a cycle; latency 0.

    Parameters
    ----------
    shapes : sequence of ShapeLike
        Payloads of the inputs.

    Members
    -------
    x0, x1, … : In(stream.Signature(shapes[i]))
        Ready depends on the valid of all inputs and on y's ready: beats leave together.
    y : Out(stream.Signature(data.StructLayout({"x0": shapes[0], …})))
        Valid while all inputs are; it does not wait for ready.

    Raises
    ------
    InputError
        If there is no input.
    """

    def __init__(self, *, shapes: Sequence[ShapeLike]) -> None:
        require(len(shapes) > 0, "shapes", "at least one payload", shapes)
        inputs = {f"x{i}": shape for i, shape in enumerate(shapes)}
        self._names = list(inputs)
        joined = data.StructLayout(inputs)
        super().__init__(
            {name: In(stream.Signature(shape)) for name, shape in inputs.items()} | {"y": Out(stream.Signature(joined))}
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        inputs = [getattr(self, name) for name in self._names]
        m.d.comb += [
            self.y.valid.eq(Cat(x.valid for x in inputs).all()),
            Value.cast(self.y.payload).eq(Cat(Value.cast(x.payload) for x in inputs)),
            *(x.ready.eq(self.y.ready & self.y.valid) for x in inputs),
        ]
        return m


def _build(width: int = 16, inputs: int = 2) -> Join:
    require_natural("width", width)
    require_natural("inputs", inputs)
    return Join(shapes=[width] * inputs)


TEMPLATE = UnitTemplate(
    name="stream_join", kind="stream", description="one beat of each of `inputs` streams becomes one beat", build=_build
)
