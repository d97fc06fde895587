"""Platforms: an ASIC process or an FPGA part as data, every number with its unit and source.

A platform is a TOML file; `data/platforms/` ships some, and any path to a file of the same shape is accepted
(`examples/platform.toml` says what each key means).
"""

from mxhw.hardware.platform.load import known_platforms, load_platform, platform_numbers
from mxhw.hardware.platform.platform import AsicPlatform, FpgaPlatform, Platform
from mxhw.hardware.platform.quantity import AccessEnergy, Quantity
from mxhw.hardware.platform.records import OffChipMemory
from mxhw.hardware.platform.storage import (
    memory_access_energies,
    memory_access_energy,
    memory_amounts,
    memory_kind,
    memory_leakage,
    memory_sizes,
    onchip_bits,
)

__all__ = [
    "AccessEnergy",
    "AsicPlatform",
    "FpgaPlatform",
    "OffChipMemory",
    "Platform",
    "Quantity",
    "known_platforms",
    "load_platform",
    "memory_access_energies",
    "memory_access_energy",
    "memory_amounts",
    "memory_kind",
    "memory_leakage",
    "memory_sizes",
    "onchip_bits",
    "platform_numbers",
]
