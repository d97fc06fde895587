"""Published cost models and figures, reproduced to compare with; no part of how mxhw costs its own designs."""

from mxhw.hardware.published.bitmod_accelerators import ACCELERATORS, ANT, FP16, LOSSLESS, LOSSY, OLIVE, Accelerator
from mxhw.hardware.published.bitmod_comparison import correction_rows, energy_rows, mean_rows, total_rows
from mxhw.hardware.published.bitmod_corrections import ALL_CORRECTIONS, CORRECTIONS, Corrections
from mxhw.hardware.published.bitmod_simulator import Cost, decode_cost, generative_cost, prefill_cost
from mxhw.hardware.published.bitmod_stricter import StricterCosts, stricter_costs
from mxhw.hardware.published.blockdialect import (
    DIALECT,
    TABLE_5,
    AreaRatio,
    PublishedMac,
    area_ratios,
    measured_ratios,
    units_compared,
)
from mxhw.hardware.published.models import MODELS, ModelShape, model_named

__all__ = [
    "ACCELERATORS",
    "ALL_CORRECTIONS",
    "ANT",
    "CORRECTIONS",
    "DIALECT",
    "FP16",
    "LOSSLESS",
    "LOSSY",
    "MODELS",
    "OLIVE",
    "TABLE_5",
    "Accelerator",
    "AreaRatio",
    "Corrections",
    "Cost",
    "ModelShape",
    "PublishedMac",
    "StricterCosts",
    "area_ratios",
    "correction_rows",
    "decode_cost",
    "energy_rows",
    "generative_cost",
    "mean_rows",
    "measured_ratios",
    "model_named",
    "prefill_cost",
    "stricter_costs",
    "total_rows",
    "units_compared",
]
