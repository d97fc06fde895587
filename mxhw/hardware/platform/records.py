"""What a platform file says, as records: one class a table of the file, each field a key.

A number that is not published (the energy of a DSP block, say) is absent from the file and None here.
What a platform's memories take and spend stands in :mod:`mxhw.hardware.platform.storage`, how a file is read in
:mod:`mxhw.hardware.platform.load`.
"""

from typing import Annotated

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from mxhw.hardware.platform.quantity import (
    RECORD,
    AccessEnergy,
    Quantity,
    Shapes,
    Text,
    rows_of,
    unit,
    unit_or_zero,
)

__all__ = [
    "AsicEnergy",
    "AsicMemory",
    "BlockRam",
    "Element",
    "FpgaEnergy",
    "FpgaMemory",
    "LogicEnergy",
    "LutRam",
    "OffChipMemory",
    "ReferenceArea",
    "Sram",
    "Static",
]

_GIB, _GB = float(1 << 30), 1e9  # bytes
_Flag = Annotated[bool, Field(strict=True)]


@dataclass(frozen=True, config=RECORD)
class Sram:
    """Static memories of an ASIC.

    Attributes
    ----------
    bit, macro : area: of a bit [um2/bit], and of each macro beside its bits [um2].
    minimum, maximum : bits of the smallest and the largest macro; a larger memory is several macros.
    widest : bits of the widest word of a macro; wider words are several macros beside each other.
    read, write : what an access costs; a write costs what a read does where nothing is said of it.
    leakage : W/bit, whether it is accessed or not.
    """

    bit: Annotated[Quantity, unit("um2/bit")]
    macro: Annotated[Quantity, unit_or_zero("um2")]
    minimum: Annotated[Quantity, unit("bit")]
    maximum: Annotated[Quantity, unit("bit")]
    widest: Annotated[Quantity, unit("bit")]
    read: AccessEnergy | None = None
    write: AccessEnergy | None = None
    leakage: Annotated[Quantity, unit_or_zero("W/bit")] | None = None

    @model_validator(mode="after")
    def _check(self) -> "Sram":
        if self.minimum.value > self.maximum.value:
            raise ValueError(f"minimum {self.minimum.value:g} is above maximum {self.maximum.value:g}")
        if self.widest.value > self.maximum.value:
            raise ValueError(f"widest {self.widest.value:g} is above maximum {self.maximum.value:g}")
        if self.write is not None and self.read is None:
            raise ValueError("write has a cost, so that read must have one")
        return self


@dataclass(frozen=True, config=RECORD)
class AsicMemory:
    """On-chip memories of an ASIC; small ones are registers of its library."""

    sram: Sram


@dataclass(frozen=True, config=RECORD)
class LutRam:
    """Memories of LUTs.

    Attributes
    ----------
    bits : that one LUT holds.
    shapes : of the primitives that synthesis maps memories to: bits, words, LUTs.
    deepest : words; deeper memories go to block memories.
    luts : that can be memory.
    energy : pJ a LUT of a word that is read or written; None: no figure.
    """

    bits: Annotated[Quantity, unit("bit/LUT")]
    shapes: Annotated[Shapes, rows_of("bits, words, LUTs")]
    deepest: Annotated[Quantity, unit("words")]
    luts: Annotated[Quantity, unit("LUT")]
    energy: Annotated[Quantity, unit_or_zero("pJ/LUT")] | None = None

    @model_validator(mode="after")
    def _check(self) -> "LutRam":
        for bits, words, luts in self.shapes.rows:
            if bits * words > self.bits.value * luts:
                raise ValueError(
                    f"shapes: {bits:g} bits x {words:g} words are {bits * words:g} bits, above the "
                    f"{self.bits.value * luts:g} that {luts:g} LUTs hold"
                )
        return self


@dataclass(frozen=True, config=RECORD)
class BlockRam:
    """Block memories of an FPGA.

    Attributes
    ----------
    capacity : bits of one block.
    shapes : aspect ratios: bits, words, blocks (half a block is 0.5).
    initial_values : whether it can hold constants from the start.
    energy : pJ an access of one block; None: no figure.
    """

    capacity: Annotated[Quantity, unit("bit")]
    shapes: Annotated[Shapes, rows_of("bits, words, blocks")]
    initial_values: _Flag
    energy: Annotated[Quantity, unit_or_zero("pJ")] | None = None

    @model_validator(mode="after")
    def _check(self) -> "BlockRam":
        for bits, words, blocks in self.shapes.rows:
            if bits * words > self.capacity.value * blocks:
                raise ValueError(
                    f"shapes: {bits:g} bits x {words:g} words are {bits * words:g} bits, above the "
                    f"{self.capacity.value * blocks:g} of {blocks:g} blocks"
                )
        return self


@dataclass(frozen=True, config=RECORD)
class FpgaMemory:
    """On-chip memories of an FPGA; ``ultra`` where it has larger blocks."""

    distributed: LutRam
    block: BlockRam
    ultra: BlockRam | None = None


@dataclass(frozen=True, config=RECORD)
class OffChipMemory:
    """A memory outside.

    Attributes
    ----------
    kind : "LPDDR4", "DDR4", "HBM2" and so on.
    capacity, bandwidth : GiB, GB/s (1e9 bytes) at its pins.
    latency : ns from a read's request to its first data.
    granularity : bytes that one access moves at least.
    energy : pJ/bit, read or written; None: no figure.
    """

    kind: Text
    capacity: Annotated[Quantity, unit("GiB")]
    bandwidth: Annotated[Quantity, unit("GB/s")]
    latency: Annotated[Quantity, unit_or_zero("ns")]
    granularity: Annotated[Quantity, unit("B")]
    energy: Annotated[Quantity, unit_or_zero("pJ/bit")] | None = None

    @property
    def bits(self) -> float:
        """Bits that it holds."""
        return self.capacity.value * _GIB * 8

    @property
    def bytes_per_second(self) -> float:
        """Bytes that it moves in a second."""
        return self.bandwidth.value * _GB

    def bits_per_cycle(self, clock: float) -> float:
        """Return the bits that it moves in a cycle of a clock [Hz]."""
        return self.bytes_per_second * 8 / clock

    def latency_cycles(self, clock: float) -> float:
        """Return the cycles of a clock [Hz] from a request to its first data."""
        return self.latency.value * 1e-9 * clock


@dataclass(frozen=True, config=RECORD)
class LogicEnergy:
    """Dynamic energy of an ASIC's logic: of area, or of a component whose area is known.

    Attributes
    ----------
    value, unit : pJ/(um2*cycle); or pJ/cycle of ``reference``, over whose area it is spread.
    source : of the value.
    reference : part or unit of the library's measured table.
    """

    value: Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
    unit: Text
    source: Text
    reference: Text | None = None

    @model_validator(mode="after")
    def _check(self) -> "LogicEnergy":
        expected = "pJ/(um2*cycle)" if self.reference is None else "pJ/cycle"
        if self.unit != expected:
            said = "without" if self.reference is None else "with"
            raise ValueError(f"unit must be {expected!r} {said} a reference, not {self.unit!r}")
        return self


@dataclass(frozen=True, config=RECORD)
class AsicEnergy:
    """Dynamic energy of logic that works, and the activity that it holds for.

    Attributes
    ----------
    logic : of an area, or of a component.
    activity : toggles of a register bit in a cycle in which the logic works; 0.5 is unrelated data in every cycle.
        None: not stated, so that measured toggles cannot be compared with it.
    """

    logic: LogicEnergy
    activity: Annotated[Quantity, unit("toggles/cycle")] | None = None


@dataclass(frozen=True, config=RECORD)
class FpgaEnergy:
    """Dynamic energy of one LUT, flip-flop or DSP block with its share of nets; None: no figure.

    ``activity``: as of :class:`AsicEnergy`.
    """

    lut: Annotated[Quantity, unit_or_zero("pJ/cycle")] | None = None
    ff: Annotated[Quantity, unit_or_zero("pJ/cycle")] | None = None
    dsp: Annotated[Quantity, unit_or_zero("pJ/cycle")] | None = None
    activity: Annotated[Quantity, unit("toggles/cycle")] | None = None


@dataclass(frozen=True, config=RECORD)
class Static:
    """Static power: of an ASIC's logic by its area, or of a whole FPGA, used or not."""

    logic: Annotated[Quantity, unit_or_zero("W/um2")] | None = None
    part: Annotated[Quantity, unit_or_zero("W")] | None = None


@dataclass(frozen=True, config=RECORD)
class ReferenceArea:
    """Area of a component of the library in this platform's process, by which all areas of the library are scaled."""

    reference: Text
    value: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
    unit: Annotated[str, Field(pattern="^um2$")]
    source: Text


@dataclass(frozen=True, config=RECORD)
class Element:
    """A published processing element: its area, and its energy in each cycle."""

    area: Annotated[Quantity, unit("um2")]
    energy: Annotated[Quantity, unit("pJ/cycle")]
