"""Evaluation of an assignment: quality on text in either arithmetic, the ledger of bits, what runs in hardware."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mxhw.ir import Assignment, Graph
from mxhw.passes.analysis.ledger import Ledger, ledger
from mxhw.passes.analysis.quality import Quality, QualityEvaluator
from mxhw.passes.base import Pass, PassResult, register_pass
from mxhw.passes.transform.quantize import Arithmetic, Quantize, QuantizeConfig
from mxhw.passes.transform.weights import WeightCache

__all__ = ["Evaluate", "EvaluateConfig", "Evaluation"]


@dataclass(frozen=True)
class Evaluation:
    """What an assignment gives.

    Attributes
    ----------
    quality : Quality
    ledger : Ledger
    quantization : mapping
        Report of the `quantize` pass: arithmetic, and with "hardware" the nodes in hardware and without.
    """

    quality: Quality
    ledger: Ledger
    quantization: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "quality": self.quality.to_json(),
            "ledger": self.ledger.to_json(),
            "quantization": dict(self.quantization),
        }


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Which design, and in which arithmetic."""

    assignment: Assignment
    arithmetic: Arithmetic = "float"


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
    description = "score perplexity, KL to float and top-1 agreement of an assignment, and count its true bits"
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
        bits = ledger(graph, config.assignment, sequence=self.evaluator.windows.shape[1])
        return Evaluation(self.evaluator(result.graph, progress=True), bits, result.report)
