"""Several components behind one compiled library: a build costs seconds, a component in it little."""

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring


class Bank(wiring.Component):
    """Components side by side; port ``x`` of component ``name`` is called ``name_x``."""

    def __init__(self, units: Mapping[str, Any]) -> None:
        self._units = dict(units)
        super().__init__(
            {
                f"{name}_{port}": member
                for name, unit in self._units.items()
                for port, member in unit.signature.members.items()
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        for name, unit in self._units.items():
            m.submodules[name] = unit
            for port in unit.signature.members:
                wiring.connect(m, wiring.flipped(getattr(self, f"{name}_{port}")), getattr(unit, port))
        return m
