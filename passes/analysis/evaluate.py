"""Evaluation of an assignment: quality on text in either arithmetic, true bits, and what it costs on a platform."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mxhw.hardware import Platform
from mxhw.ir import Assignment, Graph
from mxhw.passes.analysis.hardware import HardwareReport, evaluate_hardware
from mxhw.passes.analysis.ledger import Ledger, ledger
from mxhw.passes.analysis.quality import Quality, QualityEvaluator
from mxhw.passes.analysis.units import UnitFactory
from mxhw.passes.base import Pass, PassResult, register_pass
from mxhw.passes.transform.quantize import Arithmetic, Quantize, QuantizeConfig
from mxhw.passes.transform.weights import WeightCache

__all__ = ["Evaluate", "EvaluateConfig", "Evaluation", "design_cost"]


@dataclass(frozen=True)
class Evaluation:
    """What an assignment gives.

    Attributes
    ----------
    quality : Quality
    ledger : Ledger
    quantization : mapping
        Report of the `quantize` pass: arithmetic, and with "hardware" the nodes in hardware and without.
    hardware : HardwareReport or None
        Cycles, area and energy; None without a platform, or if no unit computes any of the GEMMs.
    """

    quality: Quality
    ledger: Ledger
    quantization: Mapping[str, Any]
    hardware: HardwareReport | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "quality": self.quality.to_json(),
            "ledger": self.ledger.to_json(),
            "quantization": dict(self.quantization),
            "hardware": None if self.hardware is None else self.hardware.to_json(),
        }


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Which design, in which arithmetic, on what.

    Attributes
    ----------
    assignment : Assignment
    arithmetic : "float" or "hardware"
    platform : Platform, optional
        What cycles, area and energy are counted on, for one window; nodes without an array get
        :meth:`Assignment.array`, whatever the platform's budget.
    """

    assignment: Assignment
    arithmetic: Arithmetic = "float"
    platform: Platform | None = None


@register_pass
class Evaluate(Pass):
    """Score an assignment: graph → the same graph; the report holds quality, bits and what runs in hardware.

    Parameters
    ----------
    config : EvaluateConfig
    evaluator : QualityEvaluator
        The text, and the float graph that is compared with.
    cache : WeightCache, optional
        Shared between calls, it saves rounding the weights again.
    """

    name = "evaluate"
    description = "score an assignment: perplexity, KL, top-1 agreement, true bits; cycles, area, energy on a platform"
    requires = frozenset({"sites"})
    provides = frozenset({"quality"})

    def __init__(self, config: EvaluateConfig, evaluator: QualityEvaluator, cache: WeightCache | None = None) -> None:
        self.config = config
        self.evaluator = evaluator
        self.cache = cache if cache is not None else WeightCache()

    def __call__(self, graph: Graph) -> PassResult:
        """Return the graph and :meth:`Evaluation.to_json`."""
        return PassResult(graph, self.evaluation(graph).to_json())

    def evaluation(self, graph: Graph) -> Evaluation:
        """Return the evaluation of the assignment on the float graph `graph`.

        Raises
        ------
        InputError
            If the assignment does not fit the graph.
        """
        config = self.config
        settings = QuantizeConfig(assignment=config.assignment, arithmetic=config.arithmetic)
        result = Quantize(settings, self.cache)(graph)
        sequence = self.evaluator.windows.shape[1]
        bits = ledger(graph, config.assignment, sequence=sequence)
        cost = None if config.platform is None else design_cost(graph, config.assignment, config.platform, sequence)
        return Evaluation(self.evaluator(result.graph, progress=True), bits, result.report, cost)


def design_cost(graph: Graph, assignment: Assignment, platform: Platform, sequence: int) -> HardwareReport | None:
    """Return what a design costs for one window; None if no unit computes any of its GEMMs."""
    factory = UnitFactory(graph, sequence)
    if not factory.nodes(assignment.formats).names:
        return None
    complete = replace(assignment, arrays={info.name: assignment.array(info.name) for info in graph.gemms})
    return evaluate_hardware(graph, complete, platform, sequence, factory=factory)
