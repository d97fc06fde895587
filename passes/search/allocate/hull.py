"""The Lagrangian sweep: the convex hull of the trade-off between loss and one cost, all of it in one pass.

The upgrades along the lower convex hull of every unit (cost across, loss up), sorted by gain per cost, give the optimum
of the linear relaxation for every budget (Sinha and Zoltners, Operations Research 27, 1979; Kellerer, Pferschy and
Pisinger, Knapsack Problems, 2004, section 11.2). After every whole upgrade the relaxation's optimum is an assignment,
so it is the best one at this budget, too. Between two of them the straight line is a lower bound.
"""

import math
from dataclasses import dataclass

import numpy as np

from mxhw.passes.search.allocate.problem import Floats, Indices

__all__ = ["Sweep", "running_sums", "sweep"]


@dataclass(frozen=True, eq=False)
class Sweep:
    """Upgrades by falling gain per cost; of equal ones the one of the first unit comes first.

    Attributes
    ----------
    start : [units]
        The cheapest candidate of every unit, of equally cheap ones that of least loss, of these the first.
    unit, before, candidate : [upgrades]
        Which unit goes from which candidate to which.
    slope : [upgrades]
        Gain per cost; never rises.
    cost, loss : [upgrades + 1]
        Sums over all units after that many upgrades.
    """

    start: Indices
    unit: Indices
    before: Indices
    candidate: Indices
    slope: Floats
    cost: Floats
    loss: Floats

    def choice(self, upgrades: int) -> Indices:
        """Return the assignment after so many upgrades, `[units]`."""
        choice = self.start.copy()
        choice[self.unit[:upgrades]] = self.candidate[:upgrades]  # the last of repeated units stays
        return choice

    def last_within(self, budget: float) -> int:
        """Return the number of upgrades that fit a budget; -1 if not even the start fits."""
        return int(np.searchsorted(self.cost, budget, side="right")) - 1

    def bound(self, budget: float) -> float:
        """Return the optimum of the linear relaxation at a budget; infinite if there is none."""
        done = self.last_within(budget)
        if done < 0:
            return math.inf
        if done == len(self.slope):
            return float(self.loss[-1])
        return float(self.loss[done] - self.slope[done] * (budget - self.cost[done]))

    def multiplier(self, budget: float) -> float:
        """Return the gain per cost of the upgrade that does not fit whole, 0 if all fit."""
        done = self.last_within(budget)
        return float(self.slope[done]) if 0 <= done < len(self.slope) else 0.0


def sweep(loss: Floats, cost: Floats) -> Sweep:
    """Return the sweep of a table `[units, candidates]`; infinite where a candidate is not to be taken.

    Every unit must have a candidate. Points on the hull's edges count as its vertices.
    """
    here = np.isfinite(loss) & np.isfinite(cost)
    loss, cost = np.where(here, loss, math.inf), np.where(here, cost, math.inf)
    rows = np.arange(len(loss))
    start = np.where(cost == cost.min(axis=1, keepdims=True), loss, math.inf).argmin(axis=1)
    current, steepest = start.copy(), np.full(len(loss), math.inf)
    steps: list[tuple[Indices, Indices, Indices, Floats]] = []  # unit, its candidate before and after, slope
    while True:
        gain = np.where(here, loss[rows, current][:, None] - loss, 0.0)
        more = np.where(here, cost - cost[rows, current][:, None], 0.0)
        slope = np.divide(gain, more, out=np.zeros_like(gain), where=(gain > 0) & (more > 0))
        best = slope.max(axis=1)
        going = np.flatnonzero(best > 0)
        if not len(going):
            return _sorted(loss, cost, start, steps)
        near = np.where(slope == best[:, None], more, math.inf).argmin(axis=1)
        steepest = np.minimum(steepest, best)  # rounding must not turn two upgrades of a unit round
        steps.append((going, current[going], near[going], steepest[going]))
        current[going] = near[going]


def _sorted(loss: Floats, cost: Floats, start: Indices, steps: list[tuple[Indices, Indices, Indices, Floats]]) -> Sweep:
    none = np.empty(0, dtype=np.int64)
    unit, before, after = (np.concatenate([none, *(step[k] for step in steps)]) for k in range(3))
    slope = np.concatenate([np.empty(0), *(step[3] for step in steps)])
    order = np.lexsort((np.arange(len(unit)), unit, -slope))  # a unit's upgrades stay in their order

    unit, before, after, slope = unit[order], before[order], after[order], slope[order]
    cost_sums, loss_sums = (running_sums(table, start, unit, before, after) for table in (cost, loss))
    return Sweep(start, unit, before, after, slope, cost_sums, loss_sums)


def running_sums(table: Floats, start: Indices, unit: Indices, before: Indices, after: Indices) -> Floats:
    """Return the sum of a table `[units, candidates]` over all units, at the start and after every upgrade."""
    moves = table[unit, after] - table[unit, before]
    return math.fsum(table[np.arange(len(table)), start].tolist()) + np.concatenate([[0.0], np.cumsum(moves)])
