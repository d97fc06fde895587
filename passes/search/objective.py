"""What a trial costs and is worth: quantize ▸ parallelize ▸ evaluate, as one function from a design to its outcome."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mxhw.errors import InputError
from mxhw.hardware import Platform
from mxhw.ir import Assignment, Graph
from mxhw.passes.analysis.hardware import HardwareCosts
from mxhw.passes.analysis.ledger import Ledger, ledger
from mxhw.passes.analysis.quality import Partial, Quality, QualityEvaluator
from mxhw.passes.search.figures import ACCURACY, Figure, check_bounds, figure_of, plan_figures, violations
from mxhw.passes.search.folded import FoldedPlan, folded_plan
from mxhw.passes.search.space import Design
from mxhw.passes.transform.quantize import Quantize, QuantizeConfig
from mxhw.passes.transform.weights import WeightCache

__all__ = ["Outcome", "Planned", "Problem", "TaskScore"]

TaskScore = Callable[[Graph], float]


@dataclass(frozen=True)
class Planned:
    """A design with its arrays, and what is known of it without running the model.

    Attributes
    ----------
    assignment : Assignment
    hardware : totals of its :class:`.HardwareReport`, or None without hardware.
    ledger : Ledger
    figures : see :data:`.FIGURES`.
    """

    assignment: Assignment
    hardware: Mapping[str, Any] | None
    ledger: Ledger
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Outcome:
    """Everything about an evaluated design, so that reports need no further computation."""

    planned: Planned
    quality: Quality
    windows: tuple[tuple[float, float], ...]
    figures: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object: assignment, quality, hardware totals (null without hardware), ledger, figures, windows.

        Windows are (loss, KL) of each window of the text [nats/token], in order.
        """
        hardware = self.planned.hardware
        return {
            "assignment": self.planned.assignment.to_json(),
            "quality": self.quality.to_json(),
            "hardware": None if hardware is None else dict(hardware),
            "ledger": self.planned.ledger.to_json(),
            "figures": dict(self.figures),
            "windows": [list(each) for each in self.windows],
        }


@dataclass
class Problem:
    """A model, a platform, objectives and bounds.

    Attributes
    ----------
    graph : Graph
        The float graph.
    evaluator : QualityEvaluator
        On the search text.
    platform : Platform
    sequence : int
        Tokens of the prompt that cycles and energy are counted for.
    objectives : names of :data:`.FIGURES`, any number
        A quality and a cost of hardware by default.
    constraints : mapping of figure to its bound
        The most that it may be; of figures to be maximized, the least. Hard: what breaks one is never chosen.
    decode : int
        Tokens after the prompt, of the figures of speed.
    tasks : mapping of "accuracy:TASK" to what scores a quantized graph
    """

    graph: Graph
    evaluator: QualityEvaluator
    platform: Platform
    sequence: int
    objectives: tuple[str, ...] = ("kl", "cycles")
    constraints: Mapping[str, float] = field(default_factory=dict)
    decode: int = 128
    tasks: Mapping[str, TaskScore] = field(default_factory=dict)
    cache: WeightCache = field(default_factory=WeightCache)
    costs: HardwareCosts = field(init=False)
    _folded_plans: dict[object, FoldedPlan] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        check_bounds(self.objectives, self.constraints, self.platform)
        for name in self.wanted:
            if name.startswith(ACCURACY) and name not in self.tasks:
                raise InputError(f"{name!r} needs its task, which was not loaded; name it in [data] tasks")
        self.costs = HardwareCosts(self.graph, self.platform, self.sequence)

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Of the objectives, in order."""
        return tuple(figure_of(name) for name in self.objectives)

    @property
    def wanted(self) -> tuple[str, ...]:
        """Names of all figures that are needed."""
        return tuple(dict.fromkeys((*self.objectives, *self.constraints)))

    def plan(self, design: Design) -> Planned:
        """Return the design with its arrays, and what it costs; no forward pass is needed for that.

        Raises
        ------
        InputError
            If the platform is too small for it, or it has no hardware and a figure of hardware is needed.
        """
        model, formats = self.graph.signature.model, dict(design.formats)
        if design.rows is None or design.share is None:
            for name in self.wanted:
                if figure_of(name).stage in ("plan", "speed"):
                    raise InputError(
                        f"family {design.family!r} has no hardware unit, so objective {name!r} cannot be "
                        "computed for it; use objective 'bits'"
                    )
            assignment = Assignment(model, formats, {}, {"family": design.family})
            return self._planned(assignment, None)
        if design.folded:
            return self._folded(design, formats)
        planned = self.costs.plan(formats, design.rows, design.share)
        notes = {"family": design.family, "rows": design.rows, "share": design.share}
        assignment = Assignment(model, formats, planned.arrays, notes, lanes=planned.lanes)
        if not design.widths:
            return self._planned(assignment, planned.report.totals())
        return self._widened(assignment, design)

    def _folded(self, design: Design, formats: dict[str, str]) -> Planned:
        assert design.rows is not None and design.share is not None
        key = (frozenset(formats.items()), design.rows, design.share)
        if key not in self._folded_plans:
            self._folded_plans[key] = folded_plan(
                self.graph,
                formats,
                self.platform,
                rows=design.rows,
                share=design.share,
                prefill=self.sequence,
                decode=self.decode,
            )
        found = self._folded_plans[key]
        notes = {"family": design.family, "rows": design.rows, "share": design.share, "folded": True}
        assignment = Assignment(self.graph.signature.model, formats, found.arrays, notes, lanes=found.lanes)
        bits = ledger(self.graph, assignment, sequence=self.sequence)
        return Planned(assignment, found.totals, bits, {**plan_figures(found.totals, bits.to_json()), **found.speed})

    def _widened(self, assignment: Assignment, design: Design) -> Planned:
        """Return the plan with arrays wider or narrower than balanced ones, if that still fits the budget's share."""
        arrays = dict(assignment.arrays)
        for node, width in design.widths.items():
            rows, columns = arrays[node]
            outputs = self.graph.nodes[node].output_shape[-1]
            arrays[node] = rows, _columns(columns * width, outputs if isinstance(outputs, int) else columns)
        assignment = replace(assignment, arrays=arrays)
        totals = self.costs.report(assignment).totals()
        for name, room in self.platform.budget.items():
            taken, limit = totals["resources"].get(name, 0.0), room.value * (design.share or 1.0)
            if taken > limit:
                raise InputError(
                    f"platform {self.platform.name!r} is too small: with these widths the design takes {taken:,.0f} of "
                    f"{limit:,.0f} {name}"
                )
        return self._planned(assignment, totals)

    def _planned(self, assignment: Assignment, hardware: Mapping[str, Any] | None) -> Planned:
        bits = ledger(self.graph, assignment, sequence=self.sequence)
        figures = plan_figures(hardware, bits.to_json())
        if hardware is not None and any(figure_of(name).stage == "speed" for name in self.wanted):
            figures |= self._speed(assignment)
        return Planned(assignment, hardware, bits, figures)

    def _speed(self, assignment: Assignment) -> dict[str, float]:
        speed = self.costs.speed(assignment, prefill=self.sequence, decode=self.decode)
        figures = {
            "prefill": speed.prefill_seconds,
            "decode": speed.decode_seconds,
            "throughput": speed.tokens_per_second,
            "energy_per_token": speed.energy_per_token,
            "bytes_per_token": speed.bytes_per_token,
        }
        return {name: float(value) for name, value in figures.items() if value is not None}

    def broken(self, figures: Mapping[str, float]) -> dict[str, float]:
        """Return the bounds that these figures break, and by how much relative to each."""
        return violations(figures, self.constraints)

    def grow(self, planned: Planned) -> Iterator[Partial]:
        """Yield the quality of a planned design on more and more of the text; the last one is of all of it."""
        quantized = Quantize(QuantizeConfig(assignment=planned.assignment), self.cache)(self.graph).graph
        yield from self.evaluator.grow(quantized)

    def evaluate(self, planned: Planned) -> Outcome:
        """Return the outcome of a planned design: its quality on the text, tasks, and its bits."""
        *_, last = self.grow(planned)
        return self.outcome(planned, last)

    def outcome(self, planned: Planned, seen: Partial) -> Outcome:
        """Return the outcome of what was seen of the text; tasks are scored only if that is all."""
        quality = seen.quality
        figures = {
            **planned.figures,
            "kl": quality.kl,
            "perplexity": quality.perplexity,
            "agreement": quality.agreement,
        }
        needed = [name for name in self.wanted if name.startswith(ACCURACY)]
        if needed and seen.complete:
            quantized = Quantize(QuantizeConfig(assignment=planned.assignment), self.cache)(self.graph).graph
            figures |= {name: self.tasks[name](quantized) for name in needed}
        return Outcome(planned, quality, seen.windows, figures)

    def values(self, outcome: Mapping[str, Any]) -> tuple[float, ...]:
        """Return the objectives of the JSON of an outcome, in order."""
        return tuple(float(outcome["figures"][name]) for name in self.objectives)

    def losses(self, values: tuple[float, ...]) -> tuple[float, ...]:
        """Return values of objectives as numbers to be small: those to be maximized with their sign changed."""
        return tuple(-v if f.maximize else v for v, f in zip(values, self.figures, strict=True))


def _columns(wanted: float, outputs: int) -> int:
    """Return the divisor of the outputs that is nearest to a number of columns, the smaller one of two."""
    return min((c for c in range(1, outputs + 1) if outputs % c == 0), key=lambda c: (abs(c - wanted), c))
