"""Sensitivity: how much worse the model gets when one layer's weight alone takes a narrow format.

Measured, not estimated: one forward pass over the windows per weight, KL against the float graph. The experts of a
layer are one weight.
"""

from dataclasses import dataclass, replace

from mxhw.formats import parse_format
from mxhw.ir import Assignment, Graph, site_key
from mxhw.passes.analysis.quality import QualityEvaluator
from mxhw.passes.base import Pass, PassResult, register_pass
from mxhw.passes.transform.quantize import Quantize, QuantizeConfig
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
    """Measure each weight's sensitivity: graph → the same graph with `Site.statistics["sensitivity_kl"]`."""

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
    ) -> None:
        self.config = config
        self.evaluator = evaluator
        self.cache = cache if cache is not None else WeightCache()
        self.progress = progress or SilentProgress()

    def __call__(self, graph: Graph) -> PassResult:
        """Return the graph with statistics; the report maps node to KL [nats/token]."""
        found = {}
        names = [info.name for info in graph.weighted]
        with self.progress.task("sensitivity", len(names)) as task:
            for name in names:
                assignment = Assignment(graph.signature.model, {site_key(name, "weight"): self.config.format})
                quantized = Quantize(QuantizeConfig(assignment=assignment), self.cache)(graph).graph
                found[name] = self.evaluator(quantized).kl
                task.advance()
        sites = graph.sites
        changed = {}
        for name, kl in found.items():
            site = sites[site_key(name, "weight")]
            changed[site.key] = replace(site, statistics={**site.statistics, STATISTIC: kl})
        return PassResult(graph.with_sites(changed), {"format": self.config.format, "kl": found})


def sensitivities(graph: Graph) -> dict[str, float]:
    """Return node to measured sensitivity, of the nodes that have one."""
    return {site.node: site.statistics[STATISTIC] for site in graph.sites.values() if STATISTIC in site.statistics}
