"""Calibration: what every quantization site sees on real text, measured while the float graph runs.

The numbers stand in `Site.statistics` afterwards (moments, largest magnitude, 99.9th percentile, kurtosis, outlier
ratio; :mod:`mxhw.passes.analysis.statistics`), where search and reports read them. Weights are measured too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx

from mxhw.errors import InputError
from mxhw.ir import Graph, NodeInfo, SiteKey
from mxhw.ir.dialect import operand_position
from mxhw.passes.analysis.statistics import RunningStatistics
from mxhw.passes.base import Pass, PassResult, register_pass
from mxhw.progress import Progress, SilentProgress

__all__ = ["Calibrate", "CalibrateConfig", "SiteRecorder", "calibrated", "outlier_ratios"]


@dataclass(frozen=True, kw_only=True, eq=False)
class CalibrateConfig:
    """What to run.

    Attributes
    ----------
    windows : int64 tensor [windows, tokens]
        Token windows of held-in text: never those that a result is reported on.
    """

    windows: Tensor

    def __post_init__(self) -> None:
        if self.windows.dim() != 2 or self.windows.numel() == 0:
            raise InputError(f"calibration windows must be [windows, tokens], not {list(self.windows.shape)}")


@register_pass
class Calibrate(Pass):
    """Measure every site: graph → the same graph with `Site.statistics`."""

    name = "calibrate"
    description = "measure magnitudes and outliers of weights, inputs and attention operands on real text"
    requires = frozenset({"sites"})
    provides = frozenset({"statistics"})

    def __init__(self, config: CalibrateConfig, progress: Progress | None = None) -> None:
        self.config = config
        self.progress = progress or SilentProgress()

    def __call__(self, graph: Graph) -> PassResult:
        """Return the graph with statistics; one window runs at a time.

        Raises
        ------
        InputError
            If a site sees a value that is not finite; the message names it.
        """
        recorder = SiteRecorder(graph.module)
        windows = self.config.windows
        with torch.no_grad(), self.progress.task("calibrate", len(windows)) as task:
            for window in windows:
                recorder.run(window[None])
                recorder.weights_done = True
                task.advance()
        return calibrated(graph, windows, recorder.summaries())


def calibrated(graph: Graph, windows: Tensor, summaries: Mapping[SiteKey, Mapping[str, float]]) -> PassResult:
    """Return `graph` with the statistics of its sites on `windows`, and the report of the pass."""
    sites = {
        key: replace(site, statistics={**site.statistics, **summaries.get(key, {})})
        for key, site in graph.sites.items()
    }
    worst = max(summaries, key=lambda key: summaries[key]["outlier_ratio"], default=None)
    report: dict[str, Any] = {
        "windows": len(windows),
        "tokens": windows.numel(),
        "sites": len(summaries),
        "worst_outlier_site": worst,
        "worst_outlier_ratio": summaries[worst]["outlier_ratio"] if worst is not None else None,
    }
    return PassResult(graph.with_sites(sites), report)


def outlier_ratios(graph: Graph) -> dict[str, float]:
    """Return node to the largest outlier ratio of its measured operands, weights not counted."""
    found: dict[str, float] = {}
    for site in graph.sites.values():
        if site.operand != "weight" and "outlier_ratio" in site.statistics:
            found[site.node] = max(found.get(site.node, 0.0), site.statistics["outlier_ratio"])
    return found


class SiteRecorder(fx.Interpreter):
    """Runs a graph and adds every operand that has a site to its statistics."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.seen: dict[str, RunningStatistics] = {}
        self.weights_done = False

    def summaries(self) -> dict[SiteKey, dict[str, float]]:
        """Return the statistics of every site that was seen."""
        return {key: statistics.summary() for key, statistics in self.seen.items()}

    def run_node(self, n: fx.Node) -> Any:
        info = n.meta.get("mxhw")
        if isinstance(info, NodeInfo) and info.sites:
            arguments, _ = self.fetch_args_kwargs_from_env(n)
            for site in info.sites:
                if not (site.operand == "weight" and self.weights_done):
                    self._record(site.key, arguments[operand_position(n.target, site.operand)])
        return super().run_node(n)

    def _record(self, key: str, value: Tensor) -> None:
        if not bool(torch.isfinite(value).all()):
            raise InputError(f"site {key!r} sees a value that is not finite; the model or its input is broken")
        self.seen.setdefault(key, RunningStatistics()).add(value)
