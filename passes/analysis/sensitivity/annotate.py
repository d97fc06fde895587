"""The pass that writes into the graph how sensitive each weight is: KL when it alone takes a narrow format."""

from dataclasses import dataclass, replace
from pathlib import Path

from mxhw.formats import parse_format
from mxhw.ir import Graph
from mxhw.passes.analysis.quality import QualityEvaluator
from mxhw.passes.analysis.sensitivity.measure import measure_sensitivity
from mxhw.passes.analysis.sensitivity.units import units_of
from mxhw.passes.base import Pass, PassResult, register_pass
from mxhw.passes.transform.weights import WeightCache
from mxhw.progress import Progress, SilentProgress

__all__ = ["STATISTIC", "Sensitivity", "SensitivityConfig", "sensitivities"]

STATISTIC = "sensitivity_kl"  # in the statistics of a weight's site [nats/token]


@dataclass(frozen=True, kw_only=True)
class SensitivityConfig:
    """What to try.

    Attributes
    ----------
    format : format name
        That each weight takes alone.
    """

    format: str

    def __post_init__(self) -> None:
        parse_format(self.format)


@register_pass
class Sensitivity(Pass):
    """Measure each weight's sensitivity: graph → the same graph with `Site.statistics["sensitivity_kl"]`.

    The experts of a layer are one weight. `folder` keeps entries on disk (:func:`measure_sensitivity`).
    """

    name = "sensitivity"
    description = "measure how much worse the model gets when one layer's weight alone takes a narrow format"
    requires = frozenset({"sites"})
    provides = frozenset({"sensitivity"})

    def __init__(
        self,
        config: SensitivityConfig,
        evaluator: QualityEvaluator,
        cache: WeightCache | None = None,
        progress: Progress | None = None,
        folder: Path | None = None,
    ) -> None:
        self.config = config
        self.evaluator = evaluator
        self.cache = cache if cache is not None else WeightCache()
        self.progress = progress or SilentProgress()
        self.folder = folder

    def __call__(self, graph: Graph) -> PassResult:
        """Return the graph with statistics; the report maps node to KL [nats/token]."""
        units = units_of(graph, (self.config.format,))
        table = measure_sensitivity(
            graph, self.evaluator, units, cache=self.folder, weights=self.cache, progress=self.progress
        )
        sites = graph.sites
        found, changed = {}, {}
        for unit in units:
            site = sites[unit.sites[0]]
            found[site.node] = table.loss(unit.name, self.config.format)
            changed[site.key] = replace(site, statistics={**site.statistics, STATISTIC: found[site.node]})
        return PassResult(graph.with_sites(changed), {"format": self.config.format, "kl": found})


def sensitivities(graph: Graph) -> dict[str, float]:
    """Return node to measured sensitivity, of the nodes that have one."""
    return {site.node: site.statistics[STATISTIC] for site in graph.sites.values() if STATISTIC in site.statistics}
