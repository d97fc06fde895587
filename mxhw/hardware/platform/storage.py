"""What memories take of a platform, and what their accesses cost.

On an ASIC a memory is SRAM macros: as many beside each other as its words are wider than a macro's, as many above each
other as its bits are more than a macro holds, none smaller than the smallest; or registers, if these are smaller.

On an FPGA a shallow memory is LUTs, a deeper one block memories in their best aspect ratio. One that would take a
smaller part of the UltraRAM that there is than of the block memories goes there, unless it must hold constants from the
start, which UltraRAM cannot. Multiplexers behind primitives above each other are not counted.

All functions come for one :class:`MemoryShape`, and for arrays of words and bits.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mxhw.hardware.platform.platform import AsicPlatform, FpgaPlatform, Platform
from mxhw.hardware.platform.quantity import Shapes
from mxhw.hardware.platform.records import BlockRam, LutRam
from mxhw.hardware.sizes.resources import Resources
from mxhw.hardware.structure import MemoryShape

__all__ = [
    "MemoryKind",
    "memory_access_energies",
    "memory_access_energy",
    "memory_amounts",
    "memory_kind",
    "memory_leakage",
    "memory_sizes",
    "onchip_bits",
]

MemoryKind = Literal["registers", "sram", "distributed", "block", "ultra"]
_KINDS: tuple[MemoryKind, ...] = ("registers", "sram", "distributed", "block", "ultra")
_REGISTERS, _SRAM, _DISTRIBUTED, _BLOCK, _ULTRA = range(len(_KINDS))

Array = NDArray[np.float64]


def memory_sizes(shape: MemoryShape, platform: Platform) -> Resources:
    """Return what a memory takes: "area" [um2]; or "lut", "bram" and "uram"."""
    return _sizes(shape.words, shape.bits, shape.constant, platform)


@lru_cache(maxsize=65536)
def _sizes(words: int, bits: int, constant: bool, platform: Platform) -> Resources:
    amounts = memory_amounts(words, bits, platform, constant=constant)
    return Resources({name: float(amount) for name, amount in amounts.items() if amount > 0})


def memory_amounts(
    words: ArrayLike, bits: ArrayLike, platform: Platform, *, constant: ArrayLike = False
) -> Mapping[str, Array]:
    """Return what memories take, by resource; ``words``, ``bits`` and ``constant`` broadcast.

    ``constant``: it holds what it holds from the start. A memory of no words or no bits takes nothing.
    """
    words, bits, constant = _memories(words, bits, constant)
    if isinstance(platform, AsicPlatform):
        return {"area": np.minimum(words * bits * platform.register_area, _sram_area(words, bits, platform))}
    assert isinstance(platform, FpgaPlatform)
    kinds, found = _kinds(words, bits, constant, platform), {}
    memory = platform.memory
    for name, kind, primitive in (
        ("lut", _DISTRIBUTED, memory.distributed),
        ("bram", _BLOCK, memory.block),
        ("uram", _ULTRA, memory.ultra),
    ):
        if primitive is not None:
            found[name] = np.where(kinds == kind, _primitives(words, bits, primitive.shapes), 0.0)
    return found


def memory_kind(shape: MemoryShape, platform: Platform) -> MemoryKind:
    """Return what a memory is made of."""
    return _KINDS[int(_kinds(*_memories(shape.words, shape.bits, shape.constant), platform))]


def memory_access_energy(shape: MemoryShape, platform: Platform) -> tuple[float | None, float | None]:
    """Return the energy of reading a word, and of writing one [pJ]; None where the platform has no figure."""
    return _access(shape.words, shape.bits, shape.constant, platform)


@lru_cache(maxsize=65536)
def _access(words: int, bits: int, constant: bool, platform: Platform) -> tuple[float | None, float | None]:
    read, write = memory_access_energies(words, bits, platform, constant=constant)
    return (None if np.isnan(read) else float(read), None if np.isnan(write) else float(write))


def memory_access_energies(
    words: ArrayLike, bits: ArrayLike, platform: Platform, *, constant: ArrayLike = False
) -> tuple[Array, Array]:
    """Return the energy of reading a word of memories, and of writing one [pJ]; NaN where there is no figure.

    A word of registers costs what its registers' area costs in a cycle; the other registers' clock stands.
    """
    words, bits, constant = _memories(words, bits, constant)
    kinds = _kinds(words, bits, constant, platform)
    reads, writes = np.full(kinds.shape, np.nan), np.full(kinds.shape, np.nan)
    for kind in np.unique(kinds):
        here = kinds == kind
        for found, which in zip((reads, writes), _energies(int(kind), words[here], bits[here], platform), strict=True):
            found[here] = which
    empty = words * bits == 0
    return np.where(empty, 0.0, reads), np.where(empty, 0.0, writes)


def memory_leakage(shape: MemoryShape, platform: Platform) -> float | None:
    """Return the static power of a memory [W]; None where there is no figure, 0 on FPGAs, whose part has all of it."""
    if isinstance(platform, AsicPlatform):
        if memory_kind(shape, platform) == "registers":
            logic = platform.static.logic
            return None if logic is None else logic.value * memory_sizes(shape, platform)["area"]
        leakage = platform.memory.sram.leakage
        return None if leakage is None else leakage.value * shape.capacity
    return 0.0


def onchip_bits(platform: Platform) -> dict[MemoryKind, float]:
    """Return the bits that a platform has on chip by kind of memory, if nothing else takes its place."""
    if isinstance(platform, AsicPlatform):
        sram = platform.memory.sram
        macro = sram.maximum.value * sram.bit.value + sram.macro.value
        whole, rest = divmod(platform.budget["area"].value, macro)
        return {"sram": whole * sram.maximum.value + max(0.0, (rest - sram.macro.value) / sram.bit.value)}
    assert isinstance(platform, FpgaPlatform)
    memory, budget = platform.memory, platform.budget
    luts = min(memory.distributed.luts.value, budget["lut"].value)
    best = max(bits * words / taken for bits, words, taken in memory.distributed.shapes.rows)
    found: dict[MemoryKind, float] = {
        "distributed": luts * best,
        "block": budget["bram"].value * memory.block.capacity.value,
    }
    if memory.ultra is not None:
        found["ultra"] = budget["uram"].value * memory.ultra.capacity.value
    return found


def _memories(words: ArrayLike, bits: ArrayLike, constant: ArrayLike) -> tuple[Array, Array, NDArray[np.bool_]]:
    found = np.broadcast_arrays(
        np.asarray(words, dtype=np.float64), np.asarray(bits, dtype=np.float64), np.asarray(constant, dtype=np.bool_)
    )
    return found[0], found[1], found[2]


def _kinds(words: Array, bits: Array, constant: NDArray[np.bool_], platform: Platform) -> NDArray[np.int64]:
    if isinstance(platform, AsicPlatform):
        registers = words * bits * platform.register_area
        return np.where(registers <= _sram_area(words, bits, platform), _REGISTERS, _SRAM)
    assert isinstance(platform, FpgaPlatform)
    memory = platform.memory
    block, deep = np.full(words.shape, _BLOCK), words > memory.distributed.deepest.value
    if memory.ultra is not None:
        taken = _primitives(words, bits, memory.block.shapes) / platform.budget["bram"].value
        ultra = _primitives(words, bits, memory.ultra.shapes) / platform.budget["uram"].value
        block = np.where((ultra < taken) & (memory.ultra.initial_values | ~constant), _ULTRA, _BLOCK)
    return np.where(deep, block, _DISTRIBUTED)


def _column(words: Array, bits: Array, platform: AsicPlatform) -> tuple[Array, Array, Array]:
    """Return the columns of macros of memories, and the bits of a word and of all words of each column."""
    sram = platform.memory.sram
    columns = np.maximum(np.ceil(bits / sram.widest.value), 1)
    width = bits / columns
    return columns, width, np.maximum(words * width, sram.minimum.value)


def _sram_area(words: Array, bits: Array, platform: AsicPlatform) -> Array:
    sram = platform.memory.sram
    columns, _, size = _column(words, bits, platform)
    return columns * (size * sram.bit.value + np.ceil(size / sram.maximum.value) * sram.macro.value)


def _primitives(words: Array, bits: Array, shapes: Shapes) -> Array:
    """Return the LUTs or blocks of memories, in the shape of primitive that takes the fewest."""
    options = [np.ceil(bits / width) * np.ceil(words / depth) * taken for width, depth, taken in shapes.rows]
    return np.asarray(np.minimum.reduce(options))


def _accessed(words: Array, bits: Array, shapes: Shapes) -> Array:
    """Return the LUTs or blocks that an access enables: those beside each other, of the shape that takes the fewest.

    Of several such shapes it is the deepest: tools prefer it, since it needs the fewest multiplexers. It enables most.
    """
    fewest = _primitives(words, bits, shapes)
    found = np.zeros(words.shape)
    for width, depth, taken in shapes.rows:
        beside = np.ceil(bits / width) * taken
        found = np.where(beside * np.ceil(words / depth) == fewest, np.maximum(found, beside), found)
    return found


def _energies(kind: int, words: Array, bits: Array, platform: Platform) -> tuple[Array | float, Array | float]:
    """Return the energies of a read and a write of memories of one kind; NaN where there is no figure."""
    if isinstance(platform, AsicPlatform):
        if kind == _REGISTERS:
            density = platform.logic_density
            word = np.nan if density is None else bits * platform.register_area * density
            return word, word
        sram = platform.memory.sram
        if sram.read is None:
            return np.nan, np.nan
        columns, width, size = _column(words, bits, platform)
        return columns * sram.read.access(size, width), columns * (sram.write or sram.read).access(size, width)
    assert isinstance(platform, FpgaPlatform)
    memory = platform.memory
    known: dict[int, LutRam | BlockRam | None]
    known = {_DISTRIBUTED: memory.distributed, _BLOCK: memory.block, _ULTRA: memory.ultra}
    primitive = known[kind]
    if primitive is None or primitive.energy is None:
        return np.nan, np.nan
    word = _accessed(words, bits, primitive.shapes) * primitive.energy.value
    return word, word
