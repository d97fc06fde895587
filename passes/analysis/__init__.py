"""Analyses: statistics of every site, sensitivity, quality on text, hardware cost, the ledger of bits."""

from mxhw.passes.analysis.calibrate import Calibrate, CalibrateConfig, outlier_ratios
from mxhw.passes.analysis.evaluate import Evaluate, EvaluateConfig, Evaluation
from mxhw.passes.analysis.hardware import HardwareReport, evaluate_hardware
from mxhw.passes.analysis.ledger import Ledger, ledger
from mxhw.passes.analysis.quality import Quality, QualityEvaluator
from mxhw.passes.analysis.sensitivity import Sensitivity, SensitivityConfig, sensitivities
from mxhw.passes.analysis.units import UnitFactory, gemm_unit

__all__ = [
    "Calibrate",
    "CalibrateConfig",
    "Evaluate",
    "EvaluateConfig",
    "Evaluation",
    "HardwareReport",
    "Ledger",
    "Quality",
    "QualityEvaluator",
    "Sensitivity",
    "SensitivityConfig",
    "UnitFactory",
    "evaluate_hardware",
    "gemm_unit",
    "ledger",
    "outlier_ratios",
    "sensitivities",
]
