"""Logic of units on a platform: area of an ASIC; LUTs, flip-flops and DSP blocks of an FPGA."""

from mxhw.hardware.sizes import attention, composed, functions, products, streams
from mxhw.hardware.sizes.features import Features, features_of, register_features
from mxhw.hardware.sizes.fitted import extrapolated, register_composition, register_sizes, unit_sizes
from mxhw.hardware.sizes.resources import NOTHING, Resources

__all__ = [
    "NOTHING",
    "Features",
    "Resources",
    "attention",
    "composed",
    "extrapolated",
    "features_of",
    "functions",
    "products",
    "register_composition",
    "register_features",
    "register_sizes",
    "streams",
    "unit_sizes",
]
