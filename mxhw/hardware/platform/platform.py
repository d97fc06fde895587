"""A platform: an ASIC process or an FPGA part."""

from dataclasses import replace
from functools import cached_property
from math import inf
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from mxhw.errors import InputError, nearest
from mxhw.hardware.components import components, measured_units
from mxhw.hardware.platform.quantity import RECORD, Quantity, Text, unit
from mxhw.hardware.platform.records import (
    AsicEnergy,
    AsicMemory,
    Element,
    FpgaEnergy,
    FpgaMemory,
    OffChipMemory,
    ReferenceArea,
    Static,
)

__all__ = ["AsicPlatform", "FpgaPlatform", "Platform"]

_Hertz = Annotated[Quantity, unit("Hz")]
_Amount = Annotated[Quantity, unit()]


@dataclass(frozen=True, eq=False, kw_only=True, config=RECORD)
class Platform:
    """What a design is built from and how much of it there is.

    Two platforms are equal if they are the same object. Those of a kind are :class:`AsicPlatform` and
    :class:`FpgaPlatform`.

    Attributes
    ----------
    name, description : str
    kind : "asic" or "fpga"
        Decides the resources: area [um2]; or LUTs, flip-flops, DSP blocks and block memories.
    library : str
        Column of the measured table `data/pe_area.json`.
    clock : Quantity
        Clock of every unit [Hz].
    budget : mapping of str to Quantity
        Resource name ("area"; or "lut", "dsp", "bram", "ff" and, where there are such blocks, "uram") to what there is.
    offchip : mapping of str to OffChipMemory
        Memories outside, by name; the first is the main one.
    static : Static
        Power that is spent whatever happens.
    """

    name: Text
    description: Text
    kind: Literal["asic", "fpga"]
    library: Text
    clock: _Hertz
    budget: dict[str, _Amount]
    offchip: dict[str, OffChipMemory] = Field(default_factory=dict)
    static: Static = Field(default_factory=Static)

    @property
    def main_memory(self) -> OffChipMemory | None:
        """The first memory outside."""
        return next(iter(self.offchip.values()), None)

    @property
    def area_scale(self) -> float:
        """By how much an area of the library is multiplied; 1 but for a process that has no library of its own."""
        return 1.0

    def with_budget(self, **amounts: float) -> "Platform":
        """Return this platform with other budgets, for instance ``with_budget(area=2e6)``.

        Raises
        ------
        InputError
            If a resource is not one of this platform's, or an amount is not positive.
        """
        budget = dict(self.budget)
        for resource, amount in amounts.items():
            if resource not in budget:
                raise InputError(
                    f"platform {self.name!r} has no budget {resource!r}; it has {', '.join(budget)}"
                    + nearest(resource, budget)
                )
            if not 0 < amount < inf:
                raise InputError(f"budget {resource!r} must be positive and finite, not {amount!r}")
            budget[resource] = Quantity(float(amount), budget[resource].unit, "given by the user")
        return replace(self, budget=budget)

    def with_memory(self, capacity: float) -> "Platform":
        """Return this platform with so many GiB of its main memory outside.

        Raises
        ------
        InputError
            If it has no memory outside, or the capacity is not positive.
        """
        if not self.offchip:
            raise InputError(f"platform {self.name!r} has no memory outside whose capacity could be given")
        if not 0 < capacity < inf:
            raise InputError(f"the capacity of memory outside must be positive and finite, not {capacity!r} GiB")
        name, memory = next(iter(self.offchip.items()))
        larger = replace(memory, capacity=Quantity(float(capacity), memory.capacity.unit, "given by the user"))
        return replace(self, offchip={**self.offchip, name: larger})

    @property
    def has_energy(self) -> bool:
        """Whether there is a figure for the dynamic energy of all that a design is made of."""
        return False


def _budget(platform: Platform, needed: tuple[str, ...], optional: tuple[str, ...] = ()) -> None:
    """Raise where a budget is missing, or is one that platforms of the kind do not have."""
    known = (*needed, *optional)
    for name in platform.budget:
        if name not in known:
            raise ValueError(f"unknown key 'budget.{name}'{nearest(name, known)} (budgets: {', '.join(known)})")
    for name in needed:
        if name not in platform.budget:
            raise ValueError(f"'budget.{name}' is missing (budgets: {', '.join(known)})")


def _component_size(library: str, reference: str, where: str) -> float:
    """Return the size of a part or unit of the measured table."""
    known = {**components(library), **measured_units(library)}
    if reference not in known:
        raise PydanticCustomError(
            "reference",
            "{said}",
            {"said": f"'{where}' = {reference!r}: was not measured in library {library!r}{nearest(reference, known)}"},
        )
    return known[reference].size


@dataclass(frozen=True, eq=False, kw_only=True, config=RECORD)
class AsicPlatform(Platform):
    """An ASIC process.

    Attributes
    ----------
    memory : AsicMemory
    energy : AsicEnergy or None
    area : ReferenceArea or None
        For a process whose cells are not those of ``library``: what a component of the library takes in this one.
    element : mapping of str to Element
        Published processing elements of this process.
    """

    kind: Literal["asic"]
    memory: AsicMemory
    energy: AsicEnergy | None = None
    area: ReferenceArea | None = None
    element: dict[str, Element] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> "AsicPlatform":
        _budget(self, ("area",))
        if self.static.part is not None:
            raise ValueError("'static.part' is of FPGAs; an asic platform has static.logic")
        logic = None if self.energy is None else self.energy.logic
        for where, record in (("area.reference", self.area), ("energy.logic.reference", logic)):
            if record is not None and record.reference is not None:
                _component_size(self.library, record.reference, where)
        return self

    @property
    def area_scale(self) -> float:
        if self.area is None:
            return 1.0
        return self.area.value / _component_size(self.library, self.area.reference, "area.reference")

    @cached_property
    def logic_density(self) -> float | None:
        """Energy of logic [pJ/(um2*cycle)]."""
        if self.energy is None:
            return None
        logic = self.energy.logic
        if logic.reference is None:
            return logic.value
        size = _component_size(self.library, logic.reference, "energy.logic.reference")
        return logic.value / (size * self.area_scale)

    @cached_property
    def register_area(self) -> float:
        """Area of a bit of a register [um2]."""
        return components(self.library)["register_32"].size / 32 * self.area_scale

    @property
    def has_energy(self) -> bool:
        return self.energy is not None and self.memory.sram.read is not None


@dataclass(frozen=True, eq=False, kw_only=True, config=RECORD)
class FpgaPlatform(Platform):
    """An FPGA part.

    Attributes
    ----------
    memory : FpgaMemory
    energy : FpgaEnergy
    """

    kind: Literal["fpga"]
    memory: FpgaMemory
    energy: FpgaEnergy = Field(default_factory=FpgaEnergy)

    @model_validator(mode="after")
    def _check(self) -> "FpgaPlatform":
        _budget(self, ("lut", "dsp", "bram", "ff"), ("uram",))
        if ("uram" in self.budget) != (self.memory.ultra is not None):
            missing, there = ("memory.ultra", "budget.uram")[:: 1 if "uram" in self.budget else -1]
            raise ValueError(f"'{missing}' is missing, though there is '{there}'")
        if self.static.logic is not None:
            raise ValueError("'static.logic' is of ASICs; an fpga platform has static.part")
        return self

    @property
    def has_energy(self) -> bool:
        memory, ultra = self.memory, self.memory.ultra
        logic = (self.energy.lut, self.energy.ff, self.energy.dsp)
        memories = (memory.distributed.energy, memory.block.energy)
        return None not in (*logic, *memories) and (ultra is None or ultra.energy is not None)
