"""What the tests of function units share: payloads of tensors, and units with a planted fault."""

from typing import Any
from unittest import mock

from amaranth.hdl import Value
from amaranth.lib import wiring
from torch import Tensor

from mxhw.arithmetic.tables import Table


def beats(x: Tensor, bits: int, lanes: int = 1) -> list[int]:
    """Return the elements as payloads of ``lanes`` elements of ``bits``, the first one lowest."""
    mask = (1 << bits) - 1
    return [sum((v & mask) << lane * bits for lane, v in enumerate(row)) for row in x.reshape(-1, lanes).tolist()]


def damaged(component: wiring.Component, module: Any, **faults: Any) -> wiring.Component:
    """Return the component, which will find ``faults`` in place of its module's names when it is elaborated."""
    elaborate = component.elaborate

    def with_faults(platform: Any) -> Any:
        with mock.patch.multiple(module, **faults):
            return elaborate(platform)

    component.elaborate = with_faults
    return component


def off_by_one(table: Table, place: int) -> Table:
    """Return the table with one point changed by its lowest unit."""
    points = tuple(point - (i == place) for i, point in enumerate(table.points))
    return Table(f"{table.name}_damaged", points, table.address_bits, table.fraction_bits, table.output_bits)


def without_half(value: Value, shift: int) -> Value:
    """`integer.round_shift` as someone would write it who forgets the half."""
    return value >> shift if shift > 0 else value << -shift
