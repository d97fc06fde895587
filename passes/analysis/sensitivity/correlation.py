"""How far a table of sensitivities can be trusted: its predictions of drawn assignments against their true loss.

The prediction is the sum over units; the truth is the KL of the logits with all units rounded at once. Rank correlation
is what matters to an allocation, which only compares: Spearman's rho and Kendall's tau-b.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mxhw.errors import InputError
from mxhw.ir import Graph
from mxhw.passes.analysis.quality import QualityEvaluator
from mxhw.passes.analysis.sensitivity.frontier import Rounded
from mxhw.passes.analysis.sensitivity.rounding import Rounding
from mxhw.passes.analysis.sensitivity.table import SensitivityTable
from mxhw.passes.analysis.sensitivity.units import check_apart, check_units
from mxhw.passes.transform.weights import WeightCache
from mxhw.progress import Progress, SilentProgress

__all__ = ["RankCorrelation", "rank_correlation"]


@dataclass(frozen=True)
class RankCorrelation:
    """Predictions against measurements of the same assignments.

    Attributes
    ----------
    metric : str
        Of the table.
    spearman, kendall : float
        In [-1, 1]; 1 if the order is the same.
    predicted : tuple of float
        Sums of the table, in its unit.
    measured : tuple of float
        KL [nats/token].
    choices : tuple of mapping of unit name to candidate
        What was drawn.
    """

    metric: str
    spearman: float
    kendall: float
    predicted: tuple[float, ...]
    measured: tuple[float, ...]
    choices: tuple[Mapping[str, str], ...]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON object."""
        return {
            "metric": self.metric,
            "spearman": self.spearman,
            "kendall": self.kendall,
            "predicted": list(self.predicted),
            "measured": list(self.measured),
            "choices": [dict(choice) for choice in self.choices],
        }

    def of(self, table: SensitivityTable) -> "RankCorrelation":
        """Return the correlation of another table of the same units with the same measurements."""
        return _correlated(table, self.choices, self.measured)


def rank_correlation(
    table: SensitivityTable,
    graph: Graph,
    evaluator: QualityEvaluator,
    *,
    draws: int = 16,
    seed: int = 0,
    weights: WeightCache | None = None,
    progress: Progress | None = None,
) -> RankCorrelation:
    """Draw assignments, each unit's candidate uniformly and by itself, and compare the table's sums with their KL.

    Assignments are different ones as far as there are that many; a run over the windows is needed for each.

    Raises
    ------
    InputError
        If there are fewer than 2 draws or all predictions are equal, or units of the table share a place.
    """
    if draws < 2:
        raise InputError(f"a rank correlation needs at least 2 draws, not {draws}")
    check_units(graph, table.units)
    check_apart(table.units)
    choices = _drawn(table, draws, seed)
    measured = []
    with (progress or SilentProgress()).task("rank correlation", len(choices)) as task:
        for choice in choices:
            rounding = Rounding([(unit, choice[unit.name]) for unit in table.units], weights)
            measured.append(evaluator(Rounded(graph, rounding)).kl)
            task.advance()
    return _correlated(table, choices, tuple(measured))


def _drawn(table: SensitivityTable, draws: int, seed: int) -> tuple[Mapping[str, str], ...]:
    generator = random.Random(seed)
    found: dict[tuple[str, ...], Mapping[str, str]] = {}
    for _ in range(16 * draws):  # a small space may not have that many
        choice = {unit.name: generator.choice(unit.candidates) for unit in table.units}
        found.setdefault(tuple(choice.values()), choice)
        if len(found) == draws:
            break
    return tuple(found.values())


def _correlated(
    table: SensitivityTable, choices: tuple[Mapping[str, str], ...], measured: tuple[float, ...]
) -> RankCorrelation:
    from scipy.stats import kendalltau, spearmanr

    predicted = tuple(table.predict(choice) for choice in choices)
    if len(set(predicted)) < 2 or len(set(measured)) < 2:
        raise InputError(
            f"all {len(choices)} drawn assignments have the same loss, predicted or measured: their order says "
            "nothing; give the units more candidates"
        )
    rho, tau = spearmanr(predicted, measured).statistic, kendalltau(predicted, measured).statistic
    return RankCorrelation(table.metric, float(rho), float(tau), predicted, measured, choices)
