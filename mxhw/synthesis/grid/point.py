"""A point of the grid."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from amaranth.lib import wiring

from mxhw.hardware.structure import Unit

__all__ = ["Point", "quiet"]


@dataclass(frozen=True)
class Point:
    """A unit that is synthesised.

    Attributes
    ----------
    unit : its record.
    make : makes its component.
    held_out : it takes no part in the fit.
    """

    unit: Unit
    make: Callable[[], wiring.Component]
    held_out: bool = False

    @property
    def label(self) -> str:
        """What it is called in the file: class, and fields that have no default value."""
        return f"{type(self.unit).__name__} {' '.join(f'{name}={value}' for name, value in self.sizes.items())}"

    @property
    def sizes(self) -> dict[str, Any]:
        """Fields of the record that have no default value."""
        return {
            each.name: getattr(self.unit, each.name)
            for each in fields(self.unit)
            if getattr(self.unit, each.name) != each.default
        }


def quiet(component: Any) -> Any:
    """Return a component that is only asked for its sizes: Amaranth need not warn that it was never elaborated."""
    component._MustUse__silence = True
    return component
