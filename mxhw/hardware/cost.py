"""Analytic cost of GEMM units on a platform: cycles, area or LUTs and block memories, energy.

Closed forms over arrays [nodes, options], so that a search costs every node and every array size in a few NumPy
expressions. Cycles equal the RTL's on stall-free runs (a test compares them); areas are sums of synthesised components
and of memories; energies are area times activity plus memory accesses. Not modelled: wires, clock tree, control beyond
the units themselves, DRAM, and what a transformer has besides GEMMs.
"""

from dataclasses import dataclass
from functools import lru_cache, reduce

import numpy as np
from numpy.typing import NDArray

from mxhw.errors import InputError
from mxhw.hardware.components import component
from mxhw.hardware.memories import access_energy, asic_area, fpga_blocks, unit_memories
from mxhw.hardware.platform import Platform
from mxhw.hardware.units import GemmBatch, GemmUnit, steady_cycles, total_cycles

__all__ = ["GemmCosts", "gemm_costs", "logic_energy_density"]

FloatArray = NDArray[np.float64]
_TERM_BITS = 4  # registers per decoded bit-serial term: mantissa, exponent, sign
_OPERAND_BITS = 5  # registers per decoded DialectFP4 code: magnitude, sign
_EXPONENT_BITS = 5
_SCALE_BITS = 8


@dataclass(frozen=True)
class GemmCosts:
    """Costs as arrays of shape [nodes, options].

    Attributes
    ----------
    cycles : cycles for one input sequence, filling and draining included
    logic : area [um2] or LUTs of processing elements and decoders, by part
    memory : area [um2] of the memories, or LUTs of the shallow ones (FPGA), by part
    blocks : block memories (FPGA; zeros on an ASIC)
    memory_bits : bits that the memories hold
    energy : pJ per input sequence by part ("logic" and the memories); None where the platform's energies are unknown
    """

    cycles: NDArray[np.int64]
    logic: dict[str, FloatArray]
    memory: dict[str, FloatArray]
    blocks: FloatArray
    memory_bits: FloatArray
    energy: dict[str, FloatArray] | None

    def resource(self, name: str) -> FloatArray:
        """Return the use of one of the platform's resources: "area", "lut", "bram" or "dsp"."""
        if name in ("area", "lut"):
            return _total(self.logic) + _total(self.memory)
        return self.blocks if name == "bram" else np.zeros_like(self.blocks)

    def total_energy(self) -> FloatArray:
        """Return the energy [pJ] per input sequence.

        Raises
        ------
        InputError
            If the platform has no energies.
        """
        if self.energy is None:
            raise InputError("the energy of this platform is unknown: use an ASIC platform, or another objective")
        return _total(self.energy)


def gemm_costs(
    batch: GemmBatch, rows: NDArray[np.int64] | int, columns: NDArray[np.int64], platform: Platform
) -> GemmCosts:
    """Return the costs of every node for every option.

    Parameters
    ----------
    batch : GemmBatch
    rows : int or int array, broadcastable to [nodes, options]
    columns : int array [nodes, options]
    platform : Platform
    """
    rows = np.asarray(rows, dtype=np.int64)
    logic = _logic(batch, rows, columns, platform.library)
    memories = unit_memories(batch, rows, columns)
    blocks = np.zeros(columns.shape)
    if platform.kind == "fpga":
        mapped = {name: fpga_blocks(memory, platform) for name, memory in memories.items()}
        memory = {name: luts for name, (_, luts) in mapped.items()}
        blocks = _total({name: count for name, (count, _) in mapped.items()})
    else:
        memory = {name: asic_area(each, platform) for name, each in memories.items()}
    energy: dict[str, FloatArray] | None = None
    if platform.memory_energy is not None and platform.logic_energy is not None:
        active = _total(logic) * steady_cycles(batch, rows, columns)
        energy = {"logic": active * logic_energy_density(platform)}
        energy |= {name: access_energy(each, platform.memory_energy) for name, each in memories.items()}
    bits = _total({name: each.bits for name, each in memories.items()})
    return GemmCosts(total_cycles(batch, rows, columns), logic, memory, blocks, bits, energy)


def _total(parts: dict[str, FloatArray]) -> FloatArray:
    return reduce(np.add, parts.values())


@dataclass(frozen=True)
class _Logic:
    """Sizes of the parts of a unit: per processing element, per column, per row, per output bit, once."""

    element: float
    column: float
    row: float
    output_bit: float
    once: float


@lru_cache(maxsize=4096)
def _unit_logic(unit: GemmUnit, library: str) -> _Logic:
    """Return the sizes of a unit's parts; the counts of registers are those of `rtl_templates/gemm`."""
    register = component(library, "register_32").size / 32
    drain = component(library, "drain_256").size / 256
    once = component(library, "sequencer").size
    if unit.kind == "dialect":
        element = component(library, "dialect_pe").at(unit.accumulator_bits)
        lane = component(library, "dialect_decoder").size
        column = unit.lanes * (lane + _OPERAND_BITS * register) + 2 * _EXPONENT_BITS * register
        row = unit.lanes * lane + _EXPONENT_BITS * register
        return _Logic(element, column, row, drain, once)
    form = "scaled" if unit.scaled else "plain"
    element = component(library, f"bitmod_pe_{unit.weight_type}_{form}").at(unit.accumulator_bits)
    lane = component(library, f"bitmod_term_{unit.weight_type}").size
    column = unit.lanes * (lane + _TERM_BITS * register) + 2 * _SCALE_BITS * register * unit.scaled
    return _Logic(element, column, 0.0, drain, once)


def _logic(
    batch: GemmBatch, rows: NDArray[np.int64], columns: NDArray[np.int64], library: str
) -> dict[str, FloatArray]:
    """Return the sizes of all logic by part."""
    sizes = [_unit_logic(unit, library) for unit in batch.units]

    def each(name: str) -> FloatArray:
        return np.asarray([getattr(size, name) for size in sizes])[:, None]

    return {
        "elements": rows * columns * each("element"),
        "decoders": columns * each("column") + rows * each("row"),
        "drain": rows * columns * batch.accumulator_bits * each("output_bit"),
        "control": np.broadcast_to(each("once"), columns.shape),
    }


def logic_energy_density(platform: Platform) -> float:
    """Return the energy of active logic [pJ/(um2*cycle)].

    Either given as such, or the known energy of a reference component spread over the area that our own synthesis
    gives it: figures of a paper and of our cells then meet in one anchor.
    """
    if platform.logic_energy is None:
        raise InputError(f"the energy of logic on platform {platform.name!r} is unknown")
    if platform.logic_reference is None:
        return platform.logic_energy.value
    return platform.logic_energy.value / component(platform.library, platform.logic_reference).size
