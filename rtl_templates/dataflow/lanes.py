"""Several elements a beat of a unit that takes one: copies side by side."""

from collections.abc import Callable
from typing import Any, get_args

from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In

from mxhw.arithmetic.functions.activation import ActivationFunction, ActivationSpec
from mxhw.rtl_templates.checks import require, require_natural
from mxhw.rtl_templates.function.self_gated import SelfGated
from mxhw.rtl_templates.place import place
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "Lanes"]


class Lanes(wiring.Component):
    """``lanes`` copies of a unit in lock-step; what each of them does with its elements is what the unit does alone.

    The copies take and give beats in the same cycles, so that the handshakes of the first stand for all. Therefore the
    unit's timing must not depend on its data, and no element on the one before.

    Parameters
    ----------
    unit : function without parameters
        Returns a new unit, equal every time, all of whose members are streams. A ``latency`` of it is that of all.
    lanes : int
        Copies.

    Members
    -------
    x, y, … : those of the unit
        Payloads are ``data.ArrayLayout(shape, lanes)`` of the unit's payloads, element 0 in the lowest bits. All other
        promises are the unit's.

    Raises
    ------
    InputError
        If there is no lane, or the unit has a member that is no stream.
    """

    def __init__(self, *, unit: Callable[[], wiring.Component], lanes: int = 1) -> None:
        require_natural("lanes", lanes)
        self._units: list[Any] = [unit() for _ in range(lanes)]
        members = self._units[0].signature.members
        for name, member in members.items():
            is_stream = member.is_signature and isinstance(member.signature, stream.Signature)
            require(is_stream, f"member {name} of the unit", "a stream", member)
        widened = {
            name: stream.Signature(data.ArrayLayout(member.signature.members["payload"].shape, lanes))
            for name, member in members.items()
        }
        super().__init__({name: members[name].flow(signature) for name, signature in widened.items()})

    @property
    def latency(self) -> int:
        """The unit's own."""
        return int(self._units[0].latency)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        first = self._units[0]
        for index, unit in enumerate(self._units):
            place(m, "lane", str(index), unit, platform)
            for name, member in self.signature.members.items():
                inner, outer = getattr(unit, name), getattr(self, name)
                if member.flow == In:
                    m.d.comb += [inner.payload.eq(outer.payload[index]), inner.valid.eq(outer.valid)]
                else:
                    m.d.comb += [outer.payload[index].eq(inner.payload), inner.ready.eq(outer.ready)]
        for name, member in self.signature.members.items():
            inner, outer = getattr(first, name), getattr(self, name)
            m.d.comb += outer.ready.eq(inner.ready) if member.flow == In else outer.valid.eq(inner.valid)
        return m


def _build(
    function: ActivationFunction = "silu",
    exponent: int = -4,
    input_bits: int = 8,
    entries_log2: int = 7,
    range_log2: int = 4,
    lanes: int = 2,
) -> Lanes:
    spec = ActivationSpec(
        function=function, exponent=exponent, input_bits=input_bits, entries_log2=entries_log2, range_log2=range_log2
    )
    return Lanes(unit=lambda: SelfGated(spec=spec), lanes=lanes)


TEMPLATE = UnitTemplate(
    name="activation_lanes",
    kind="dataflow",
    description="SiLU or GELU of several elements a beat",
    build=_build,
    choices={"function": get_args(ActivationFunction)},
)
