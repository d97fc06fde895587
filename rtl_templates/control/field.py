"""One field of a stream of requests or passes; the definition is :meth:`mxhw.arithmetic.dataflow.Field.run`."""

from typing import Any, get_args

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic.dataflow import Field, Passes, Requests
from mxhw.arithmetic.dataflow.control import FieldName
from mxhw.rtl_templates.control.payloads import index_shape, pass_layout, request_layout
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "FieldUnit"]


class FieldUnit(wiring.Component):
    """Wires, and for a bank a multiplication by a constant. Latency 0.

    Parameters
    ----------
    operation : Field
        Whose field, and which one.

    Members
    -------
    x : In(stream.Signature(request_layout(…) or pass_layout(…)))
        Ready is y's ready.
    y : Out(stream.Signature(unsigned))
        Valid is x's valid.
    """

    def __init__(self, *, operation: Field) -> None:
        self._operation, kind = operation, operation.x
        layout = request_layout(kind) if isinstance(kind, Requests) else pass_layout(kind)
        y = index_shape(operation.output.count)
        super().__init__({"x": In(stream.Signature(layout)), "y": Out(stream.Signature(y))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        x, name = self.x.payload, self._operation.name
        field = x.layer * self._operation.x.sequences + x.sequence if name == "bank" else x[name]
        m.d.comb += [self.y.payload.eq(field), self.y.valid.eq(self.x.valid), self.x.ready.eq(self.y.ready)]
        return m


def _build(name: FieldName = "bank", layers: int = 5, sequences: int = 2, keys: int = 128) -> FieldUnit:
    return FieldUnit(operation=Field(x=Passes(layers=layers, sequences=sequences, keys=keys), name=name))


TEMPLATE = UnitTemplate(
    name="pass_field",
    kind="control",
    description="layer, sequence, position or KV cache of passes",
    build=_build,
    choices={"name": get_args(FieldName)},
)
