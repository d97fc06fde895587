"""What a trial costs and is worth: quantize ▸ parallelize ▸ evaluate, as one function from a design to its outcome."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from mxhw.errors import InputError, nearest
from mxhw.hardware import Platform
from mxhw.ir import Assignment, Graph
from mxhw.passes.analysis.hardware import HardwareCosts, HardwareReport
from mxhw.passes.analysis.ledger import Ledger, ledger
from mxhw.passes.analysis.quality import Quality, QualityEvaluator
from mxhw.passes.search.space import Design
from mxhw.passes.transform.quantize import Quantize, QuantizeConfig
from mxhw.passes.transform.weights import WeightCache

__all__ = ["OBJECTIVES", "HardwareObjective", "Outcome", "Planned", "Problem", "QualityMeasure"]

HardwareObjective = Literal["cycles", "area", "energy", "edp", "bits"]
QualityMeasure = Literal["kl", "perplexity"]
OBJECTIVES: tuple[str, ...] = get_args(HardwareObjective)


@dataclass(frozen=True)
class Planned:
    """A design with its arrays, and what it costs; None without hardware."""

    assignment: Assignment
    hardware: HardwareReport | None


@dataclass(frozen=True)
class Outcome:
    """Everything about an evaluated design, so that reports need no further computation."""

    assignment: Assignment
    quality: Quality
    hardware: HardwareReport | None
    ledger: Ledger

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object: assignment, quality, hardware totals (null without hardware), ledger."""
        return {
            "assignment": self.assignment.to_json(),
            "quality": self.quality.to_json(),
            "hardware": None if self.hardware is None else self.hardware.totals(),
            "ledger": self.ledger.to_json(),
        }


@dataclass
class Problem:
    """A model, a platform and the two objectives, both to be minimized.

    Attributes
    ----------
    graph : Graph
        The float graph.
    evaluator : QualityEvaluator
        On the search text.
    platform : Platform
    sequence : int
        Tokens of the prefill that cycles and energy are counted for.
    objective : "cycles", "area", "energy", "edp" or "bits"
        cycles: of the slowest unit; area: um2 or LUTs; energy: pJ per sequence; bits: per weight.
    quality : "kl" or "perplexity"
    """

    graph: Graph
    evaluator: QualityEvaluator
    platform: Platform
    sequence: int
    objective: HardwareObjective = "cycles"
    quality: QualityMeasure = "kl"
    cache: WeightCache = field(default_factory=WeightCache)
    costs: HardwareCosts = field(init=False)

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise InputError(
                f"objective must be one of {', '.join(OBJECTIVES)}, not {self.objective!r}"
                + nearest(self.objective, OBJECTIVES)
            )
        if self.quality not in get_args(QualityMeasure):
            raise InputError(f"quality must be 'kl' or 'perplexity', not {self.quality!r}")
        if self.objective in ("energy", "edp") and not self.platform.has_energy:
            raise InputError(
                f"objective {self.objective!r} needs the energy of platform {self.platform.name!r}, which is unknown; "
                "choose cycles, area or bits, or an ASIC platform"
            )
        self.costs = HardwareCosts(self.graph, self.platform, self.sequence)

    def plan(self, design: Design) -> Planned:
        """Return the design with its arrays, and what it costs; no forward pass is needed for that.

        Raises
        ------
        InputError
            If the platform is too small for it, or it has no hardware and the objective is of hardware.
        """
        model, formats = self.graph.signature.model, dict(design.formats)
        if design.rows is None or design.share is None:
            if self.objective != "bits":
                raise InputError(
                    f"family {design.family!r} has no hardware unit, so objective {self.objective!r} cannot be "
                    "computed for it; use objective 'bits'"
                )
            return Planned(Assignment(model, formats, {}, {"family": design.family}), None)
        planned = self.costs.plan(formats, design.rows, design.share)
        notes = {"family": design.family, "rows": design.rows, "share": design.share}
        assignment = Assignment(model, formats, planned.arrays, notes, lanes=planned.lanes)
        return Planned(assignment, planned.report)

    def evaluate(self, planned: Planned) -> Outcome:
        """Return the outcome of a planned design: its quality on the text, and its bits."""
        quantized = Quantize(QuantizeConfig(assignment=planned.assignment), self.cache)(self.graph).graph
        bits = ledger(self.graph, planned.assignment, sequence=self.sequence)
        return Outcome(planned.assignment, self.evaluator(quantized), planned.hardware, bits)

    def values(self, outcome: Mapping[str, Any]) -> tuple[float, float]:
        """Return (quality, hardware) of the JSON of an outcome: the pair that a search minimizes."""
        hardware, objective = outcome["hardware"], self.objective
        if objective == "bits":
            cost = outcome["ledger"]["bits_per_weight"]
        elif objective == "area":
            cost = hardware["resources"]["area" if self.platform.kind == "asic" else "lut"]
        else:
            cost = hardware["interval" if objective == "cycles" else objective]
        return float(outcome["quality"][self.quality]), float(cost)
