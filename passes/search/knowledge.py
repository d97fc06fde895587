"""What is known of a space before its first trial: losses of units by sensitivity, and what each choice costs.

Losses come from one table of sensitivities, measured once and good for any budget and platform. Costs are those of the
planned hardware itself, one choice changed at a time from the design with the narrowest formats: metadata, padding,
arrays and memories are in them, since they are differences of whole designs. Sums of differences are no exact costs of
combinations (a budget that narrower formats leave free is used by other units); so what an allocation gives is planned
again before it is tried.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from mxhw.errors import InputError
from mxhw.formats import parse_format
from mxhw.passes.analysis.sensitivity.table import SensitivityTable
from mxhw.passes.analysis.sensitivity.units import Unit
from mxhw.passes.search.allocate import AllocationProblem
from mxhw.passes.search.figures import figure_of
from mxhw.passes.search.objective import Planned, Problem
from mxhw.passes.search.space import EMULATED, Design, SearchSpace

__all__ = ["FamilyKnowledge", "Knowledge", "as_cost", "best_plan", "learn", "searched_units"]

_GROUP = (128, 128)  # shape at which formats are ordered by their bits


@dataclass(frozen=True)
class FamilyKnowledge:
    """Of the units of a family that have a choice.

    Attributes
    ----------
    units : tuple of Unit
    losses : [unit][candidate]
        Increase of the loss [nats/token].
    costs : figure → [unit][candidate]
        Differences to `base`, positive or not.
    base : figure → float
        Of the narrowest design.

    Of figures to be maximized both are of their reciprocals.
    """

    family: str
    units: tuple[Unit, ...]
    losses: tuple[tuple[float, ...], ...]
    costs: Mapping[str, tuple[tuple[float, ...], ...]]
    base: Mapping[str, float]

    def problem(self, losses: Sequence[Sequence[float]], budgets: Mapping[str, float]) -> AllocationProblem:
        """Return the problem of the smallest loss under bounds of figures, with these losses.

        Differences may be negative, costs of an allocation not: each unit's least one goes into what is fixed.
        """
        least = {name: [min(row) for row in rows] for name, rows in self.costs.items()}
        costs = {
            name: [tuple(cost - low for cost in row) for row, low in zip(rows, least[name], strict=True)]
            for name, rows in self.costs.items()
        }
        fixed = {name: self.base[name] + sum(least[name]) for name in costs}
        limits = {name: limit - min(0.0, fixed[name]) for name, limit in budgets.items()}
        return AllocationProblem(losses, costs, limits, {name: max(0.0, value) for name, value in fixed.items()})

    def choice(self, numbers: Sequence[int]) -> dict[str, str]:
        """Return formats by unit of a solution."""
        return {unit.name: unit.candidates[n] for unit, n in zip(self.units, numbers, strict=True)}

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; units by name."""
        return {
            "family": self.family,
            "units": [unit.name for unit in self.units],
            "losses": self.losses,
            "costs": dict(self.costs),
            "base": dict(self.base),
        }


@dataclass(frozen=True)
class Knowledge:
    """Of a whole space, by family; families that do not fit the platform are absent."""

    families: Mapping[str, FamilyKnowledge] = field(default_factory=dict)

    def to_json(self) -> list[dict[str, Any]]:
        """Return a JSON array, of :meth:`FamilyKnowledge.to_json`."""
        return [each.to_json() for each in self.families.values()]

    @classmethod
    def from_json(cls, data: Sequence[Mapping[str, Any]], space: SearchSpace) -> "Knowledge":
        """Return what :meth:`to_json` wrote, for the same space."""
        families = {}
        for each in data:
            units = {unit.name: unit for unit in space.units(each["family"])}
            families[each["family"]] = FamilyKnowledge(
                each["family"],
                tuple(units[name] for name in each["units"]),
                tuple(tuple(row) for row in each["losses"]),
                {name: tuple(tuple(row) for row in rows) for name, rows in each["costs"].items()},
                each["base"],
            )
        return cls(families)


def searched_units(space: SearchSpace) -> list[Unit]:
    """Return the units of all families that have a choice, one for those of the same sites and channels.

    Of units that several families have, the candidates of all of them: what a table of sensitivities has to measure.
    """
    found: dict[tuple[Any, ...], Unit] = {}
    for family in space.config.families:
        for unit in space.units(family):
            if len(unit.candidates) > 1:
                key = (unit.sites, unit.channels)
                before = found[key].candidates if key in found else ()
                names = tuple(dict.fromkeys((*before, *unit.candidates)))
                found[key] = Unit(unit.name, unit.sites, names, unit.channels)
    return list(found.values())


def learn(problem: Problem, space: SearchSpace, table: SensitivityTable) -> Knowledge:
    """Return what is known of a space: `table` has the units of :func:`searched_units`."""
    by_sites = {(unit.sites, unit.channels): unit.name for unit in table.units}
    families: dict[str, FamilyKnowledge] = {}
    for family in space.config.families:
        units = tuple(unit for unit in space.units(family) if len(unit.candidates) > 1)
        narrow = {unit.name: min(unit.candidates, key=_width) for unit in units}
        base = best_plan(problem, space, family, narrow)
        if base is None:
            continue
        design, planned = base
        names = [
            n for n in problem.wanted if figure_of(n).stage in ("plan", "ledger", "speed") and n in planned.figures
        ]
        losses: list[tuple[float, ...]] = []
        costs: dict[str, list[tuple[float, ...]]] = {name: [] for name in names}
        for unit in units:
            stored = by_sites[unit.sites, unit.channels]
            losses.append(tuple(table.loss(stored, candidate) for candidate in unit.candidates))
            rows = [_changed(problem, space, design, {**narrow, unit.name: each}) for each in unit.candidates]
            for name in names:
                start = as_cost(name, planned.figures[name])
                costs[name].append(
                    tuple(float("inf") if row is None else as_cost(name, row[name]) - start for row in rows)
                )
        tables = {name: tuple(rows) for name, rows in costs.items()}
        known = {name: as_cost(name, planned.figures[name]) for name in names}
        families[family] = FamilyKnowledge(family, units, tuple(losses), tables, known)
    return Knowledge(families)


def as_cost(name: str, value: float) -> float:
    """Return the value of a figure as a positive number to be small: of throughput, the time that it is the rate of."""
    return 1 / value if figure_of(name).maximize else value


def best_plan(
    problem: Problem, space: SearchSpace, family: str, choice: Mapping[str, str]
) -> tuple[Design, Planned] | None:
    """Return the design of these formats with the rows and share that are best for the costs, or None if none fits.

    Best is the smallest product of all objectives that are known without running the model.
    """
    found: list[tuple[float, Design, Planned]] = []
    config = space.config
    hardware: Iterable[tuple[Any, ...]] = product(config.rows, config.shares, config.folding)
    for rows, share, folded in [(None, None, None)] if family == EMULATED else hardware:
        design = space.design(space.all_parameters(family, rows, share, choice, folded))
        try:
            planned = problem.plan(design)
        except InputError:
            continue
        score = 1.0
        for figure in problem.figures:
            if figure.name in planned.figures:
                value = planned.figures[figure.name]
                score *= 1 / value if figure.maximize else value
        # A design that keeps every bound comes before one that breaks any.
        found.append((score * (1 + 1e6 * sum(problem.broken(planned.figures).values())), design, planned))
    if not found:
        return None
    _, design, planned = min(found, key=lambda each: each[0])
    return design, planned


def _changed(
    problem: Problem, space: SearchSpace, design: Design, choice: Mapping[str, str]
) -> Mapping[str, float] | None:
    """Return the figures of a design with other formats, None if it does not fit."""
    changed = space.design(space.all_parameters(design.family, design.rows, design.share, choice, design.folded))
    try:
        return problem.plan(changed).figures
    except InputError:
        return None


def _width(name: str) -> float:
    fmt = parse_format(name)
    return fmt.bits(_GROUP)
