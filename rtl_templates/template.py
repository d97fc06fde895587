"""What the catalogue says of a unit: its name, its parameters, and how to build it.

The command line, synthesis, lint, the proofs and the cost table all go through this record, so that a unit which is in
the catalogue is measured and checked like every other.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from amaranth.lib import wiring

from mxhw.errors import InputError, nearest

__all__ = ["Parameter", "UnitKind", "UnitTemplate"]

UnitKind = Literal["decoder", "mac", "encoder", "function", "stream", "gemm", "dataflow", "control"]
Parameter = int | str | bool | None


@dataclass(frozen=True, kw_only=True)
class UnitTemplate:
    """A unit of the library.

    Attributes
    ----------
    name : what `mxhw synth` calls it; a Verilog identifier.
    kind : the room that it stands in.
    description : one line.
    build : makes the component from keyword parameters, each an int, a str, a bool or None and with a default; raises
        InputError for impossible ones, with the bound that is violated.
    choices : the allowed values of the parameters that take few.
    macs_per_cycle : products per cycle of one unit with these parameters, if it multiplies.
    variants : other parameters that the table of sizes has beside the defaults.
    """

    name: str
    kind: UnitKind
    description: str
    build: Callable[..., wiring.Component]
    choices: Mapping[str, tuple[Parameter, ...]] = field(default_factory=dict)
    macs_per_cycle: Callable[..., float] | None = None
    variants: tuple[Mapping[str, Parameter], ...] = ()

    @property
    def parameters(self) -> dict[str, Parameter]:
        """The parameters and their defaults, in order."""
        return {name: p.default for name, p in inspect.signature(self.build).parameters.items()}

    def complete(self, given: Mapping[str, Parameter]) -> dict[str, Parameter]:
        """Return all parameters with ``given`` ones in place; InputError for one that is unknown or not allowed."""
        known = self.parameters
        for name, value in given.items():
            if name not in known:
                raise InputError(
                    f"unit {self.name} has no parameter {name!r}; it has {', '.join(known) or 'none'}"
                    + nearest(name, known)
                )
            if name in self.choices and value not in self.choices[name]:
                allowed = ", ".join(map(str, self.choices[name]))
                raise InputError(f"{name} of unit {self.name} must be one of {allowed}, not {value!r}")
        return known | dict(given)

    def label(self, given: Mapping[str, Parameter]) -> str:
        """Return how `mxhw synth` is asked for the unit with these parameters."""
        words = ",".join(f"{name}={str(value).lower()}" for name, value in given.items())
        return f"{self.name}:{words}" if words else self.name

    def make(self, **given: Any) -> wiring.Component:
        """Return the component with these parameters, the others at their defaults."""
        return self.build(**self.complete(given))
