"""GEMM units over arrays of design points: cycles, traffic, memories, area and energy in closed form.

One expression for a number, a NumPy array or a torch tensor, so that a search costs all its points at once and, with
``relaxed`` points, has derivatives. Cycles equal the RTL's.
"""

from mxhw.hardware.gemm.cost import GemmCosts, gemm_costs
from mxhw.hardware.gemm.cycles import (
    REORDER_LATENCY,
    bounded_cycles,
    gemm_cycles,
    layer_load_cycles,
    product_cycles,
    product_interval,
    product_latency,
    steady_cycles,
    tile_load_cycles,
    tile_loads,
)
from mxhw.hardware.gemm.numbers import Numbers
from mxhw.hardware.gemm.platforms import platform_prices
from mxhw.hardware.gemm.points import CAPTURE_LATENCY, GROUP_SCALE_BITS, SCALE_LATENCY, GemmPoints
from mxhw.hardware.gemm.prices import GemmPrices, GemmSizes, sizes_from
from mxhw.hardware.gemm.systolic import weight_stationary_cycles
from mxhw.hardware.gemm.traffic import GemmMemory, GemmTraffic, gemm_memories, gemm_traffic, weight_bits

__all__ = [
    "CAPTURE_LATENCY",
    "GROUP_SCALE_BITS",
    "REORDER_LATENCY",
    "SCALE_LATENCY",
    "GemmCosts",
    "GemmMemory",
    "GemmPoints",
    "GemmPrices",
    "GemmSizes",
    "GemmTraffic",
    "Numbers",
    "bounded_cycles",
    "gemm_costs",
    "gemm_cycles",
    "gemm_memories",
    "gemm_traffic",
    "layer_load_cycles",
    "platform_prices",
    "product_cycles",
    "product_interval",
    "product_latency",
    "sizes_from",
    "steady_cycles",
    "tile_load_cycles",
    "tile_loads",
    "weight_bits",
    "weight_stationary_cycles",
]
