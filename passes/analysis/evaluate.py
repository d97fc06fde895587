"""Evaluation of an assignment: quality on text in any arithmetic, true bits, and what it costs on a platform."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import gcd
from typing import Any, Literal

from mxhw.errors import InputError
from mxhw.hardware import Platform
from mxhw.ir import Assignment, Graph, NodeInfo
from mxhw.passes.analysis.hardware import HardwareReport, NoHardwareError, evaluate_hardware
from mxhw.passes.analysis.ledger import Ledger, ledger
from mxhw.passes.analysis.quality import Quality, QualityEvaluator
from mxhw.passes.base import Pass, PassResult, register_pass
from mxhw.passes.transform.lower import IntegerModel, lower_graph
from mxhw.passes.transform.quantize import Quantize, QuantizeConfig
from mxhw.passes.transform.weights import WeightCache

__all__ = ["AnyArithmetic", "Evaluate", "EvaluateConfig", "Evaluation", "design_cost"]

AnyArithmetic = Literal["float", "hardware", "integer"]


@dataclass(frozen=True)
class Evaluation:
    """What an assignment gives.

    Attributes
    ----------
    quality : Quality
    ledger : Ledger
    quantization : mapping
        Report of the `quantize` pass: arithmetic, and with "hardware" the nodes in hardware and without. With "integer"
        that of :class:`mxhw.passes.transform.lower.IntegerModel`: steps, and elements that saturated.
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
    arithmetic : "float", "hardware" or "integer"
        "integer" is the whole model in integers, every operation of it, as an emitted design computes it.
    ranges : mapping of str to float, optional
        Of :func:`mxhw.passes.transform.lower.calibrate`; "integer" needs them.
    platform : Platform, optional
        What cycles, area and energy are counted on, for one window; nodes without an array get
        :meth:`Assignment.array`, whatever the platform's budget.
    """

    assignment: Assignment
    arithmetic: AnyArithmetic = "float"
    ranges: Mapping[str, float] | None = None
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
            If the assignment does not fit the graph, or a node has no integers.
        """
        config = self.config
        quality, report = self._quality(graph)
        sequence = self.evaluator.windows.shape[1]
        bits = ledger(graph, config.assignment, sequence=sequence)
        cost = None if config.platform is None else design_cost(graph, config.assignment, config.platform, sequence)
        return Evaluation(quality, bits, report, cost)

    def _quality(self, graph: Graph) -> tuple[Quality, Mapping[str, Any]]:
        config = self.config
        if config.arithmetic != "integer":
            settings = QuantizeConfig(assignment=config.assignment, arithmetic=config.arithmetic)
            result = Quantize(settings, self.cache)(graph)
            return self.evaluator(result.graph, progress=True), result.report
        if config.ranges is None:
            raise InputError("integer arithmetic needs ranges: calibrate the graph on held-in text")
        keys = self.evaluator.windows.shape[1]
        model = IntegerModel(lower_graph(graph, config.assignment, config.ranges, keys=keys))
        return self.evaluator(model, progress=True), model.report()


def design_cost(graph: Graph, assignment: Assignment, platform: Platform, sequence: int) -> HardwareReport | None:
    """Return what a design costs for one window; None if no unit computes any of its GEMMs."""
    arrays = {info.name: _array(assignment, info) for info in graph.gemms}
    try:
        return evaluate_hardware(graph, replace(assignment, arrays=arrays), platform, sequence)
    except NoHardwareError:
        return None


def _array(assignment: Assignment, info: NodeInfo) -> tuple[int, int]:
    """Return the array of a node; where the assignment has none, the default, whose columns divide the outputs."""
    rows, columns = assignment.array(info.name)
    outputs = info.output_shape[-1]
    if info.name in assignment.arrays or not isinstance(outputs, int):
        return rows, columns
    return rows, gcd(columns, outputs)
