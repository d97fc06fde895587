"""What the size of a unit is a sum of: quantities of its record, each with a price that is fitted to synthesis.

A feature is something that is built: bits of registers, bits of adders, product of the widths of a multiplier, bits of
address counters. A unit's features times the prices of its *group* (a class, or a kind within a class) are its size.
Multipliers are counted apart: in a cell library by the full adders of their partial products, about (a - 2) (b - 2)
for signed operands of a and b bits; on an FPGA by the DSP blocks that they are cut to, and by the bits of the sums that
join those.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mxhw.hardware.structure import Unit

__all__ = ["FABRICS", "Fabric", "Features", "Multiplier", "address", "features_of", "register_features"]


@dataclass(frozen=True)
class Fabric:
    """What multipliers and short queues become.

    Attributes
    ----------
    dsp : widths of the signed operands of a DSP block; None where there are none (cell libraries).
    queue_words : words of the LUT memories that short queues are made of; None where they are registers.
    spared : bits that an operand may have beyond a block, whose products are left to LUTs.
    """

    dsp: tuple[int, int] | None = None
    queue_words: int | None = None
    spared: int = 0

    def queue(self, words: int, bits: int) -> float:
        """Return what the words of a short queue are made of: bits of registers, or of whole LUT memories."""
        return float(words * bits if self.queue_words is None else -(-words // self.queue_words) * bits)


FABRICS: Mapping[str, Fabric] = {
    "ecp5": Fabric((18, 18), 16, spared=1),  # MULT18X18D, TRELLIS_DPR16X4
    "xilinx": Fabric((27, 18), 32),  # DSP48E2, RAM32M16
}


@dataclass(frozen=True)
class Multiplier:
    """``count`` multipliers of signed operands of ``a`` and ``b`` bits; ``name``: of the feature."""

    count: float
    a: int
    b: int
    name: str = "product"


@dataclass(frozen=True)
class Features:
    """Features of a unit.

    Attributes
    ----------
    group : whose prices count.
    amounts : feature → how much of it.
    products : those that multipliers add to area and LUTs, not to flip-flops.
    dsp : DSP blocks.
    """

    group: str
    amounts: Mapping[str, float]
    products: Mapping[str, float] = field(default_factory=dict)
    dsp: float = 0.0

    def of_resource(self, resource: str) -> Mapping[str, float]:
        """Return the features that a resource is a sum of: "area", "lut", "ff" or "dsp"."""
        if resource == "dsp":
            return {"dsp": self.dsp}
        return self.amounts if resource == "ff" else {**self.amounts, **self.products}

    @staticmethod
    def of(group: str, amounts: Mapping[str, float], multipliers: Iterable[Multiplier], fabric: Fabric) -> "Features":
        """Return the features of a unit that has multipliers."""
        found: dict[str, float] = {}
        dsp = 0.0
        for each in multipliers:
            if fabric.dsp is None:
                found[each.name] = found.get(each.name, 0.0) + each.count * (each.a - 2) * (each.b - 2)
                continue
            parts = _parts(each.a, each.b, fabric.dsp, fabric.spared)
            dsp += each.count * parts
            found["joined"] = found.get("joined", 0.0) + each.count * (parts - 1) * (each.a + each.b)
        return Features(group, amounts, found, dsp)


FeatureFunction = Callable[[Any, Fabric], Features]
_FUNCTIONS: dict[type[Unit], FeatureFunction] = {}


def register_features(*kinds: type[Unit]) -> Callable[[FeatureFunction], FeatureFunction]:
    """Return a decorator that makes a function of (unit, fabric) the features of classes of records."""

    def add(function: FeatureFunction) -> FeatureFunction:
        _FUNCTIONS.update(dict.fromkeys(kinds, function))
        return function

    return add


def features_of(unit: Unit, fabric: Fabric) -> Features | None:
    """Return the features of a unit; None for a class that has none."""
    function = _FUNCTIONS.get(type(unit))
    return None if function is None else function(unit, fabric)


def address(words: int) -> int:
    """Return the bits of a counter of so many words; 0 for one."""
    return max(0, words - 1).bit_length()


def _parts(a: int, b: int, dsp: tuple[int, int], spared: int) -> int:
    """Return the blocks of a multiplier: operands are cut to signed parts, of which all but the highest lose a bit."""

    def cut(bits: int, most: int) -> int:
        return 1 if bits <= most + spared else 1 + -(-(bits - most) // (most - 1))

    wide, narrow = dsp
    return min(cut(a, wide) * cut(b, narrow), cut(a, narrow) * cut(b, wide))
