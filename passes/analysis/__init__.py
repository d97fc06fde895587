"""Analyses: statistics of every site, sensitivity, quality on text, hardware cost, the ledger of bits."""

from mxhw.passes.analysis.calibrate import Calibrate, CalibrateConfig, outlier_ratios
from mxhw.passes.analysis.deviation import Deviation
from mxhw.passes.analysis.evaluate import Evaluate, EvaluateConfig, Evaluation, design_cost
from mxhw.passes.analysis.hardware import HardwareCosts, HardwareReport, NoHardwareError, evaluate_hardware
from mxhw.passes.analysis.ledger import Ledger, ledger
from mxhw.passes.analysis.per_node import Comparison, NodeError, PerNode, PerNodeConfig, compare_nodes
from mxhw.passes.analysis.quality import Quality, QualityEvaluator
from mxhw.passes.analysis.sensitivity import Sensitivity, SensitivityConfig, sensitivities
from mxhw.passes.analysis.streamed import StreamedQualities, streamed_calibration, streamed_quality

__all__ = [
    "Calibrate",
    "CalibrateConfig",
    "Comparison",
    "Deviation",
    "Evaluate",
    "EvaluateConfig",
    "Evaluation",
    "HardwareCosts",
    "HardwareReport",
    "Ledger",
    "NoHardwareError",
    "NodeError",
    "PerNode",
    "PerNodeConfig",
    "Quality",
    "QualityEvaluator",
    "Sensitivity",
    "SensitivityConfig",
    "StreamedQualities",
    "compare_nodes",
    "design_cost",
    "evaluate_hardware",
    "ledger",
    "outlier_ratios",
    "sensitivities",
    "streamed_calibration",
    "streamed_quality",
]
