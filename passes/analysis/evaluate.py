"""Evaluation of an assignment: quality on text in either arithmetic, the ledger of bits, what runs in hardware."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mxhw.ir import Assignment
from mxhw.passes.analysis.ledger import Ledger, ledger
from mxhw.passes.analysis.quality import Quality, QualityEvaluator
from mxhw.passes.transform.quantize import Arithmetic, Quantize, QuantizeConfig
from mxhw.passes.transform.weights import WeightCache

__all__ = ["Evaluation", "evaluate"]


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


def evaluate(
    assignment: Assignment,
    evaluator: QualityEvaluator,
    *,
    arithmetic: Arithmetic = "float",
    cache: WeightCache | None = None,
) -> Evaluation:
    """Return the evaluation of an assignment on the float graph and the windows of `evaluator`.

    Raises
    ------
    InputError
        If the assignment does not fit the graph.
    """
    graph = evaluator.graph
    result = Quantize(QuantizeConfig(assignment=assignment, arithmetic=arithmetic), cache)(graph)
    bits = ledger(graph, assignment, sequence=evaluator.windows.shape[1])
    return Evaluation(evaluator(result.graph, progress=True), bits, result.report)
