"""A platform's prices of GEMM units: fitted sizes of logic, its memories, its energies.

Whole sizes are priced as the platform prices every unit. For tensors, which a descent follows, memories of an ASIC have
the same prices with ceilings relaxed (:func:`.numbers.ceil_divide`); those of an FPGA, which come in whole blocks of
several shapes, have none.
"""

from collections.abc import Callable, Mapping

from mxhw.errors import InputError
from mxhw.hardware.gemm.numbers import Numbers, ceil_divide, is_tensor, maximum, minimum
from mxhw.hardware.gemm.prices import GemmPrices, sizes_from
from mxhw.hardware.gemm.traffic import GemmMemory
from mxhw.hardware.platform import AsicPlatform, FpgaPlatform, Platform, memory_access_energies, memory_amounts
from mxhw.hardware.platform.quantity import AccessEnergy
from mxhw.hardware.sizes import unit_sizes
from mxhw.hardware.structure import Product

__all__ = ["platform_prices"]

_PICO = 1e-12


def platform_prices(product: Product, platform: Platform, *, lanes: tuple[int, int] | None = None) -> GemmPrices:
    """Return what a platform asks for units like ``product``, of other rows, columns and lanes.

    ``lanes``: the two that sizes are read off at; None: those of the product, and twice as many.

    Raises
    ------
    InputError
        If the platform's library has no sizes of products, or lanes do not divide the block.
    """
    lanes = lanes or (product.lanes, 2 * product.lanes)
    sizes = {name: sizes_from(product, _size(platform, name), lanes) for name in unit_sizes(product, platform)}
    outside = platform.main_memory
    outside_energy = 0.0 if outside is None or outside.energy is None else outside.energy.value
    cycle = 1 / (platform.clock.value * _PICO)  # pJ a cycle of a watt
    if isinstance(platform, AsicPlatform):
        density, logic, sram = platform.logic_density, platform.static.logic, platform.memory.sram
        return GemmPrices(
            {"area": sizes["area"]},
            lambda memory: _sram(memory, platform) if is_tensor(memory.capacity) else _amounts(memory, platform),
            None if sram.read is None else lambda memory: _accesses(memory, platform),
            None if density is None else {"area": density},
            {} if logic is None else {"area": logic.value * cycle},
            0.0 if sram.leakage is None else sram.leakage.value * cycle,
            outside_energy,
        )
    assert isinstance(platform, FpgaPlatform)
    energies = {name: each.value for name in sizes if (each := getattr(platform.energy, name)) is not None}
    known = energies.keys() == sizes.keys() and platform.memory.block.energy is not None
    return GemmPrices(
        sizes,
        lambda memory: _amounts(memory, platform),
        (lambda memory: _accesses(memory, platform)) if known else None,
        energies if known else None,
        outside_energy=outside_energy,
    )


def _size(platform: Platform, resource: str) -> Callable[[Product], float]:
    return lambda product: unit_sizes(product, platform)[resource]


def _amounts(memory: GemmMemory, platform: Platform) -> Mapping[str, Numbers]:
    if is_tensor(memory.capacity):
        raise InputError(
            f"memories of platform {platform.name!r} come in whole blocks and have no derivatives; use arrays, or an "
            "ASIC platform"
        )
    return memory_amounts(memory.words, memory.bits, platform, constant=memory.constant)


def _accesses(memory: GemmMemory, platform: Platform) -> tuple[Numbers, Numbers]:
    if not is_tensor(memory.capacity):
        return memory_access_energies(memory.words, memory.bits, platform, constant=memory.constant)
    assert isinstance(platform, AsicPlatform)
    sram = platform.memory.sram
    assert sram.read is not None
    columns, width, size = _column(memory, platform)
    read, write = (columns * _access(each, size, width) for each in (sram.read, sram.write or sram.read))
    return read, write


def _access(energy: AccessEnergy, size: Numbers, width: Numbers) -> Numbers:
    each_bit, side_bit, side = energy.coefficients()
    length = (size / 8) ** 0.5
    return width * (each_bit + side_bit * length) + side * length


def _column(memory: GemmMemory, platform: AsicPlatform) -> tuple[Numbers, Numbers, Numbers]:
    """Return the columns of macros of memories, and the bits of a word and of all words of each column."""
    sram = platform.memory.sram
    columns = ceil_divide(maximum(memory.bits, 1.0), sram.widest.value, relaxed=True)
    width = memory.bits / columns
    return columns, width, maximum(memory.words * width, sram.minimum.value)


def _sram(memory: GemmMemory, platform: AsicPlatform) -> Mapping[str, Numbers]:
    sram = platform.memory.sram
    columns, _, size = _column(memory, platform)
    macros = ceil_divide(size, sram.maximum.value, relaxed=True)
    area = columns * (size * sram.bit.value + macros * sram.macro.value)
    return {"area": minimum(memory.capacity * platform.register_area, area)}
