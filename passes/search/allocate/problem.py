"""The allocation problem: every unit takes one of its candidates, so that the losses' sum is least within budgets.

It is the multiple-choice knapsack problem (Kellerer, Pferschy and Pisinger, Knapsack Problems, 2004, chapter 11), with
several resources. A unit is anything that takes one format; what it is, and where losses and costs come from, is not
known here. Losses and costs add over units; what does not (the latency of the slowest of several units) must be brought
into this form by the caller: leave out the candidates that are too slow, by an infinite cost.

Sums are correctly rounded (`math.fsum`), so that they do not depend on the order of the units, and an assignment is
feasible exactly if the rounded sum of every resource is at most its budget. Solvers return only what passes this check.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mxhw.errors import InputError, nearest

__all__ = ["AllocationProblem", "Floats", "Indices", "InfeasibleError", "UndecidedError"]

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


class InfeasibleError(InputError):
    """No assignment fits the budgets.

    Attributes
    ----------
    resource : str
        What cannot be met; of several, the one that is nearest to being met if only together they are impossible, and
        else the one that is furthest. Empty if a unit has no allowed candidate, for several reasons.
    least : float
        The least that the resource can take: alone, or while the other resources of `conflict` keep their budgets.
    budget : float
        Its budget.
    conflict : tuple of str
        Resources whose budgets cannot be met together, though without any one of them they could.
    violation : float
        The least sum, over all resources and assignments, of what exceeds a budget, as a share of this budget (of the
        dearest assignment's, if the budget is zero).
    """

    def __init__(
        self,
        message: str,
        *,
        resource: str = "",
        least: float = math.nan,
        budget: float = math.nan,
        conflict: tuple[str, ...] = (),
        violation: float = math.nan,
    ) -> None:
        super().__init__(message)
        self.resource = resource
        self.least = least
        self.budget = budget
        self.conflict = conflict
        self.violation = violation


class UndecidedError(InputError):
    """Time ran out before an assignment was found, or before it was proven that there is none."""


@dataclass(frozen=True, eq=False)
class AllocationProblem:
    """Units, their candidates, and the budgets. Units may have different numbers of candidates.

    Attributes
    ----------
    losses : [unit][candidate]
        What is minimized; may be negative. Infinity means that the candidate is not allowed.
    costs : resource to [unit][candidate]
        At least 0. Infinity means that the candidate is not allowed, even if the resource has no budget.
    budgets : resource to upper bound
        At least 0; infinity is the same as no budget. A resource without a budget is only reported.
    fixed : resource to what every assignment costs
    names : sequence of str
        Names of the units for messages; "unit 0" and so on, if empty.

    Raises
    ------
    InputError
        If shapes or numbers are wrong.
    """

    losses: Sequence[Sequence[float]]
    costs: Mapping[str, Sequence[Sequence[float]]]
    budgets: Mapping[str, float]
    fixed: Mapping[str, float] = field(default_factory=dict)
    names: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not len(self.losses):
            raise InputError("an allocation needs at least one unit; losses has none")
        if len(self.names) and len(self.names) != len(self.losses):
            raise InputError(f"names must be one for each of the {len(self.losses)} units, not {len(self.names)}")
        for unit, row in enumerate(self.losses):
            if not len(row):
                raise InputError(f"{self.name(unit)} has no candidate")
        for kind, given in (("budget", self.budgets), ("fixed cost", self.fixed)):
            self._check_amounts(kind, given)
        self._check_table("losses", self.losses, lowest=-math.inf)
        for resource, rows in self.costs.items():
            self._check_table(f"costs of {resource!r}", rows, lowest=0.0)

    def _check_amounts(self, kind: str, given: Mapping[str, float]) -> None:
        for resource, value in given.items():
            if resource not in self.costs:
                known = ", ".join(map(repr, self.costs)) or "none"
                hint = nearest(resource, self.costs)
                raise InputError(f"{kind} of {resource!r}: there are no costs of it, only of {known}{hint}")
            if not value >= 0 or (kind != "budget" and math.isinf(value)):
                raise InputError(f"{kind} of {resource!r} must be a number from 0, not {value!r}")

    def _check_table(self, what: str, rows: Sequence[Sequence[float]], *, lowest: float) -> None:
        if len(rows) != len(self.losses):
            raise InputError(f"{what}: {len(rows)} units, but losses has {len(self.losses)}")
        for unit, row in enumerate(rows):
            if len(row) != len(self.losses[unit]):
                raise InputError(
                    f"{what}: {self.name(unit)} has {len(row)} candidates, but losses has {len(self.losses[unit])}"
                )
        values = np.fromiter((value for row in rows for value in row), dtype=np.float64)
        if bad := np.flatnonzero(np.isnan(values) | (values < lowest) | (values == -math.inf)).tolist():
            unit = int(np.searchsorted(np.cumsum(self.counts), bad[0], side="right"))
            allowed = "a number or inf" if lowest < 0 else "a number from 0, or inf"
            raise InputError(f"{what}: {self.name(unit)} has {values[bad[0]]!s}; allowed is {allowed}")

    def name(self, unit: int) -> str:
        """Return the name of a unit for messages."""
        return self.names[unit] if len(self.names) else f"unit {unit}"

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Numbers of candidates, by unit."""
        return tuple(len(row) for row in self.losses)

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        return np.array(self.counts)

    @cached_property
    def limits(self) -> tuple[str, ...]:
        """Resources with a finite budget."""
        return tuple(resource for resource, budget in self.budgets.items() if math.isfinite(budget))

    @cached_property
    def allowed(self) -> NDArray[np.bool_]:
        """Whether a candidate may be taken, `[units, most candidates]`."""
        tables = [self._padded(rows) for rows in (self.losses, *self.costs.values())]
        allowed: NDArray[np.bool_] = np.logical_and.reduce([np.isfinite(table) for table in tables])
        return allowed

    @cached_property
    def loss_table(self) -> Floats:
        """Losses, `[units, most candidates]`, infinite where a candidate is not allowed or not there."""
        return np.where(self.allowed, self._padded(self.losses), math.inf)

    @cached_property
    def cost_tables(self) -> dict[str, Floats]:
        """Costs by resource, as :attr:`loss_table`."""
        return {r: np.where(self.allowed, self._padded(rows), math.inf) for r, rows in self.costs.items()}

    def _padded(self, rows: Sequence[Sequence[float]]) -> Floats:
        table = np.full((len(rows), max(self.counts)), math.inf)
        table[np.arange(table.shape[1]) < np.array(self.counts)[:, None]] = [value for row in rows for value in row]
        return table

    def loss(self, choice: Sequence[int] | Indices) -> float:
        """Return the losses' sum of an assignment (candidate by unit)."""
        return math.fsum(self._taken(self.loss_table, choice))

    def spend(self, resource: str, choice: Sequence[int] | Indices) -> float:
        """Return what an assignment takes of a resource, with what is fixed."""
        taken = self._taken(self.cost_tables[resource], choice)
        return math.fsum([*taken, self.fixed.get(resource, 0.0)])

    def least(self, resource: str) -> float:
        """Return the least that an assignment can take of a resource, if no other one has a budget."""
        return math.fsum([*self.cost_tables[resource].min(axis=1).tolist(), self.fixed.get(resource, 0.0)])

    def fits(self, choice: Sequence[int] | Indices) -> bool:
        """Return whether an assignment has allowed candidates and keeps every budget."""
        if math.isinf(self.loss(choice)):
            return False
        return all(self.spend(resource, choice) <= self.budgets[resource] for resource in self.limits)

    def _taken(self, table: Floats, choice: Sequence[int] | Indices) -> list[float]:
        if len(choice) != len(table):
            raise InputError(f"an assignment has one candidate for each of {len(table)} units, not {len(choice)}")
        index = np.asarray(choice, dtype=np.int64)
        outside = (index < 0) | (index >= self._ends)
        if outside.any():
            unit = int(outside.argmax())
            raise InputError(f"{self.name(unit)} has candidates 0 to {self.counts[unit] - 1}, not {index[unit]}")
        taken: list[float] = table[np.arange(len(table)), index].tolist()
        return taken
