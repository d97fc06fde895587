"""Sensitivity: how much worse a model gets when one unit alone takes a format; a table unit × candidate.

    mse      relative squared error at the outputs of the unit's nodes, Σ‖ŷ − y‖²/Σ‖y‖², summed over nodes
    kl       KL(float || quantized) of the logits: a run of the model from the unit on for every entry [nats/token]
    taylor   first-order estimate |gᵀΔ| of the loss [nats/token]
    fisher   second-order estimate ½ Σ g²Δ² with the diagonal Fisher information [nats/token]
    hessian  error weighted by the inputs, tr(ΔW XXᵀ ΔWᵀ) a token, summed over nodes; weights only

Exact definitions and sources: :mod:`.outputs`, :mod:`.divergence`, :mod:`.gradients`. All take the windows of a
:class:`QualityEvaluator`. Which of them to trust, :func:`rank_correlation` says for a given model.

Not here: interactions of units (a table is additive by construction), and methods that compensate errors.
"""

from mxhw.passes.analysis.sensitivity.annotate import STATISTIC, Sensitivity, SensitivityConfig, sensitivities
from mxhw.passes.analysis.sensitivity.correlation import RankCorrelation, rank_correlation
from mxhw.passes.analysis.sensitivity.measure import measure_sensitivity
from mxhw.passes.analysis.sensitivity.table import METRICS, SensitivityTable
from mxhw.passes.analysis.sensitivity.units import Unit, split_channels, units_of

__all__ = [
    "METRICS",
    "STATISTIC",
    "RankCorrelation",
    "Sensitivity",
    "SensitivityConfig",
    "SensitivityTable",
    "Unit",
    "measure_sensitivity",
    "rank_correlation",
    "sensitivities",
    "split_channels",
    "units_of",
]
