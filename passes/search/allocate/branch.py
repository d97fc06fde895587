"""Branch and bound by HiGHS on what is left of the problem, with bounds and checks that do not trust its tolerances.

1. Candidates that no optimum needs are left out (`reduce.competitive`).
2. The linear relaxation gives multipliers; their Lagrangian bound holds whatever they are. With one budget the sweep
   along the convex hulls is the relaxation's optimum; with several HiGHS solves it.
3. Greedy, the rounded relaxation, and HiGHS on the few candidates that cost the relaxation least (the core; Pisinger,
   A minimal algorithm for the multiple-choice knapsack problem, European Journal of Operational Research 83, 1995) give
   an incumbent. As soon as one is within the gap of the bound, it is the answer.
4. A candidate with which the Lagrangian bound exceeds the incumbent is in no better assignment (reduced-cost fixing;
   Kellerer, Pferschy and Pisinger, Knapsack Problems, 2004, chapter 11).
5. HiGHS solves what is left. If what it returns exceeds a budget by its tolerance, it is repaired, the cover that it
   proves is added as a cut, and HiGHS starts again.

HiGHS runs on one thread with a fixed seed, so the same problem gives the same answer unless time ends it. Of candidates
of one unit that are equal the first is taken; of different assignments of equal loss the one that is found first.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mxhw.passes.search.allocate.heuristic import greedy, repair
from mxhw.passes.search.allocate.highs import Cut, Model
from mxhw.passes.search.allocate.hull import sweep
from mxhw.passes.search.allocate.problem import AllocationProblem, Floats, Indices, UndecidedError
from mxhw.passes.search.allocate.reduce import Row, competitive, lagrangian, rows

__all__ = ["Allocation", "branch", "linear_bound"]

_EXACT = 1e-9  # a gap below this share of the loss (above each unit's least) is below HiGHS' own tolerance: none
CORES = (100, 400)  # candidates above one a unit, in searches for a good incumbent
CORE_NODES = 1000  # of HiGHS' tree in these: a limit of time would make answers differ
_ATTEMPTS = 100  # runs of HiGHS, each with one cut more


@dataclass(frozen=True)
class Allocation:
    """An assignment that keeps all budgets, and how good it can be at best.

    Attributes
    ----------
    choice : tuple of int
        Candidate by unit.
    loss : float
        Its loss.
    bound : float
        No feasible assignment has less loss than this.
    gap : float
        `loss - bound` as a share of the loss; 0 if there is none.
    finished : bool
        Whether the wanted gap was reached; if not, time was up.
    """

    choice: tuple[int, ...]
    loss: float
    bound: float
    gap: float
    finished: bool


def branch(problem: AllocationProblem, gap: float, seconds: float | None = None) -> Allocation | None:
    """Return an assignment within a gap (share of its loss) of the optimum, or None if there is no feasible one.

    Every unit must have an allowed candidate, and every budget must be possible alone (`reduce.check_alone`).

    Raises
    ------
    UndecidedError
        If time is up and neither is known.
    """
    search = _Branch(problem, gap, math.inf if seconds is None else time.monotonic() + seconds)
    if not search.relax():
        return None
    return search.run()


def linear_bound(problem: AllocationProblem) -> float:
    """Return the lower bound on the loss that the linear relaxation's multipliers prove; infinite if infeasible."""
    search = _Branch(problem, 0.0, math.inf)
    return search.bound if search.relax() else math.inf


class _Branch:
    def __init__(self, problem: AllocationProblem, gap: float, deadline: float) -> None:
        self.problem, self.gap, self.deadline = problem, gap, deadline
        self.keep = competitive(problem)
        self.best: tuple[float, tuple[int, ...]] | None = None
        self.bound, self.base = -math.inf, 0.0
        self.multipliers: Mapping[str, float] = {}

    def relax(self) -> bool:
        """Find multipliers, the bound and incumbents; False if even the relaxation is infeasible."""
        if not self.keep.any(axis=1).all():
            return False
        for resource in self.problem.limits:
            costs = np.where(self.keep, self.problem.cost_tables[resource], math.inf)
            if self.problem.spend(resource, costs.argmin(axis=1)) > self.problem.budgets[resource]:
                return False
        budgets = rows(self.problem, self.keep)
        solved = _relaxed(self.problem, self.keep, budgets)
        if solved is None:
            return False
        point, self.multipliers = solved
        zero = dict.fromkeys(budgets, 0.0)
        self.base = lagrangian(self.problem, self.keep, zero)[0]
        self.bound = max(self.base, lagrangian(self.problem, self.keep, self.multipliers)[0])
        self._offer(greedy(self.problem, self.keep, self.multipliers))
        if len(budgets) > 1:
            self._offer(repair(self.problem, self.keep, point.argmax(axis=1)))
        return True

    def run(self) -> Allocation | None:
        """Run HiGHS until the gap is reached."""
        cuts: list[Cut] = []
        for size in CORES:
            if not self._reached() and time.monotonic() < self.deadline:
                self._solve_core(size)
        keep, infeasible = self.keep, False
        for _ in range(_ATTEMPTS):
            if self._reached() or infeasible or time.monotonic() >= self.deadline:
                break
            keep = keep & self._needed()
            model = Model(self.problem, keep, rows(self.problem, keep))
            left = None if math.isinf(self.deadline) else self.deadline - time.monotonic()
            incumbent = None if self.best is None else self.best[0]
            allowed = 0.0 if self.best is None else self.gap * abs(self.best[0])
            found = model.solve(incumbent, allowed, left, cuts)
            infeasible = found.infeasible
            # What was left out is worse than the incumbent, so that the core's bound is everyone's up to there.
            top = math.inf if self.best is None else self.best[0]
            self.bound = max(self.bound, min(found.bound, top))
            if found.choice is None:
                continue
            if self.problem.fits(found.choice):
                self._offer(tuple(int(candidate) for candidate in found.choice))
            else:
                cuts.append(_cover(self.problem, keep, found.choice))
                self._offer(repair(self.problem, keep, found.choice))
        if self.best is None:
            if infeasible:
                return None
            raise UndecidedError(
                "no assignment that fits the budgets was found, and none was proven impossible; allow more seconds"
            )
        return self._allocation()

    def _solve_core(self, size: int) -> None:
        """Look for a better incumbent among the candidates that cost the relaxation least, and the incumbent's."""
        _, regret, _ = lagrangian(self.problem, self.keep, self.multipliers)
        finite = np.sort(regret[np.isfinite(regret)])
        core = regret <= finite[min(len(finite), len(regret) + size) - 1]
        if self.best is not None:
            core[np.arange(len(core)), self.best[1]] = True
        if int((core.sum(axis=1) > 1).sum()) >= int((self._needed().sum(axis=1) > 1).sum()):
            return  # no smaller than what is to be searched anyway
        left = None if math.isinf(self.deadline) else self.deadline - time.monotonic()
        model = Model(self.problem, core, rows(self.problem, core))
        incumbent, allowed = (None, 0.0) if self.best is None else (self.best[0], self.gap / 2 * abs(self.best[0]))
        found = model.solve(incumbent, allowed, left, (), CORE_NODES)
        if found.choice is not None:
            fits = self.problem.fits(found.choice)
            self._offer(tuple(found.choice.tolist()) if fits else repair(self.problem, self.keep, found.choice))

    def _offer(self, choice: tuple[int, ...] | None) -> None:
        if choice is not None and self.problem.fits(choice):
            self.best = min(self.best or (math.inf, choice), (self.problem.loss(choice), choice))

    def _distance(self) -> float:
        """Return how far the incumbent is above the bound, without what is below all tolerances."""
        if self.best is None:
            return math.inf
        loss, distance = self.best[0], self.best[0] - self.bound
        return 0.0 if distance <= _EXACT * max(loss - self.base, abs(loss) * 1e-3) else distance

    def _reached(self) -> bool:
        return self.best is not None and self._distance() <= self.gap * abs(self.best[0])

    def _needed(self) -> NDArray[np.bool_]:
        """Return the candidates that an assignment better than the incumbent may have, and the incumbent's."""
        if self.best is None:
            return self.keep
        loss, choice = self.best
        bound, regret, margin = lagrangian(self.problem, self.keep, self.multipliers)
        needed: NDArray[np.bool_] = regret <= loss - bound + 2 * margin
        needed[np.arange(len(needed)), choice] = True
        return needed

    def _allocation(self) -> Allocation:
        assert self.best is not None
        loss, choice = self.best
        distance = self._distance()
        gap = 0.0 if not distance else distance / abs(loss) if loss else math.inf
        return Allocation(choice, loss, loss - distance, gap, self._reached())


def _relaxed(
    problem: AllocationProblem, keep: NDArray[np.bool_], budgets: Mapping[str, Row]
) -> tuple[Floats, Mapping[str, float]] | None:
    """Return a point and multipliers of the linear relaxation; None if it is infeasible."""
    if len(budgets) > 1:
        return Model(problem, keep, budgets).relax()
    loss = np.where(keep, problem.loss_table, math.inf)
    multipliers = {
        r: sweep(loss, np.where(keep, row.more, math.inf)).multiplier(row.room) for r, row in budgets.items()
    }
    return np.where(keep, 1.0, 0.0), multipliers


def _cover(problem: AllocationProblem, keep: NDArray[np.bool_], choice: Indices) -> Cut:
    """Return a cut that an infeasible assignment violates and all feasible ones keep.

    If the candidates of some units exceed a budget, though all other units take their cheapest, then not all of these
    units can take these or dearer candidates (an extended cover inequality).
    """
    resource = next(r for r in problem.limits if problem.spend(r, choice) > problem.budgets[r])
    table = np.where(keep, problem.cost_tables[resource], math.inf)
    units = np.arange(len(choice))
    cheapest, taken = table.argmin(axis=1), table[units, choice]
    mixed = np.array(choice)
    for unit in np.argsort(taken - table.min(axis=1), kind="stable").tolist():
        mixed[unit], kept = cheapest[unit], mixed[unit]
        if problem.spend(resource, mixed) <= problem.budgets[resource]:
            mixed[unit] = kept
    inside = mixed != cheapest
    return keep & inside[:, None] & (table >= taken[:, None]), int(inside.sum()) - 1
