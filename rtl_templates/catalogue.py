"""Every unit of the library by name; a user's package can register more."""

from itertools import chain

from mxhw.errors import InputError, nearest
from mxhw.rtl_templates import control, dataflow, decoder, encoder, function, gemm, mac, stream
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["register_unit", "unit_named", "unit_templates"]

_REGISTERED: dict[str, UnitTemplate] = {}


def unit_templates() -> dict[str, UnitTemplate]:
    """Return all units by name, room by room, those that were registered last."""
    rooms = (decoder, mac, encoder, function, stream, gemm, dataflow, control)
    return {unit.name: unit for unit in chain(*(room.UNITS for room in rooms), _REGISTERED.values())}


def unit_named(name: str) -> UnitTemplate:
    """Return the unit called ``name``; InputError with the nearest known name otherwise."""
    known = unit_templates()
    if name not in known:
        raise InputError(f"there is no unit {name!r}{nearest(name, known)}; `mxhw synth --list` names them all")
    return known[name]


def register_unit(unit: UnitTemplate) -> None:
    """Add a unit of one's own; InputError if its name is taken or no identifier."""
    if not unit.name.isidentifier():
        raise InputError(f"the name of a unit must be an identifier, not {unit.name!r}")
    if unit.name in unit_templates():
        raise InputError(f"there is already a unit called {unit.name!r}")
    _REGISTERED[unit.name] = unit
