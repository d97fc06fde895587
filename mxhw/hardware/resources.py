"""What units and designs take of a platform: logic and memories together."""

from functools import lru_cache

from mxhw.hardware.platform import Platform, memory_sizes
from mxhw.hardware.sizes import NOTHING, Resources, unit_sizes
from mxhw.hardware.sizes.connections import connections
from mxhw.hardware.structure import Design, Unit

__all__ = ["design_resources", "memory_resources", "unit_resources"]


@lru_cache(maxsize=65536)
def unit_resources(unit: Unit, platform: Platform) -> Resources:
    """Return what a unit takes: "area" [um2]; or "lut", "ff", "dsp", "bram" and "uram"."""
    return unit_sizes(unit, platform) + memory_resources(unit, platform)


def memory_resources(unit: Unit, platform: Platform) -> Resources:
    """Return what the memories of a unit take."""
    return sum((memory_sizes(shape, platform) for shape in unit.memories()), NOTHING)


def design_resources(design: Design, platform: Platform) -> Resources:
    """Return what a design takes: its steps, and the forks, queues and converters between them."""
    units = (*(step.unit for step in design.steps.values()), *connections(design))
    return sum((unit_resources(unit, platform) for unit in units), NOTHING)
