"""Greedy allocation: upgrades of the most gain per cost first, then whatever still fits.

With one budget the cost is that resource. With several, costs are weighed: as a share of what is free of each budget,
with more weight on what becomes scarce (weights multiplied by use, as in multiplicative-weights methods for packing;
Arora, Hazan and Kale, Theory of Computing 8, 2012). Every round is one sweep; the best round's assignment is returned.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mxhw.passes.search.allocate.hull import running_sums, sweep
from mxhw.passes.search.allocate.problem import AllocationProblem, Floats, Indices
from mxhw.passes.search.allocate.reduce import Row, rows

__all__ = ["fill", "greedy", "repair"]

ROUNDS = 24
STARTED_ROUNDS = 4
FILLED = 4  # best rounds that are filled up
REPAIRS = 50
_FIRST_POWER = 8.0  # of the use in a new weight, in the first round; it falls, so that weights settle
_LEAST_SHARE = 1e-6  # of a resource whose multiplier is 0
_LEAST_USE = 0.05  # a resource that is hardly used keeps some weight


def greedy(
    problem: AllocationProblem, keep: NDArray[np.bool_], multipliers: Mapping[str, float] | None = None
) -> tuple[int, ...] | None:
    """Return a feasible assignment of small loss, or None if no round came upon one; kept candidates only.

    With the multipliers of the linear relaxation as a start, fewer rounds are needed.
    """
    loss = np.where(keep, problem.loss_table, math.inf)
    budgets = rows(problem, keep)
    if not budgets:
        return tuple(int(candidate) for candidate in loss.argmin(axis=1))
    weights = np.full(len(budgets), 1.0 / len(budgets))
    rounds = 1 if len(budgets) == 1 else ROUNDS
    if multipliers is not None and rounds > 1:
        shares = np.array([multipliers[resource] * row.room for resource, row in budgets.items()])
        weights = shares + _LEAST_SHARE * (shares.sum() or 1.0)
        weights, rounds = weights / weights.sum(), STARTED_ROUNDS
    found: set[tuple[float, tuple[int, ...]]] = set()
    for done in range(rounds):
        choice, use = _round(problem, keep, loss, budgets, weights)
        if choice is not None:
            found.add((problem.loss(choice), tuple(choice.tolist())))
        weights = weights * np.maximum(use, _LEAST_USE) ** (_FIRST_POWER / (1.0 + done / 4.0))
        weights /= weights.sum()
    filled = [fill(problem, keep, np.array(choice)) for _, choice in sorted(found)[:FILLED]]
    return min(filled, key=lambda choice: (problem.loss(choice), choice), default=None)


def _round(
    problem: AllocationProblem, keep: NDArray[np.bool_], loss: Floats, budgets: Mapping[str, Row], weights: Floats
) -> tuple[Indices | None, Floats]:
    """Return the furthest feasible assignment of a sweep over weighed costs, and the use of each budget there."""
    shares = [row.more / (row.room or 1.0) for row in budgets.values()]
    price = np.where(keep, sum(w * share for w, share in zip(weights, shares, strict=True)), math.inf)
    upgrades = sweep(loss, price)
    moves = (upgrades.start, upgrades.unit, upgrades.before, upgrades.candidate)
    use = np.stack([running_sums(share, *moves) for share in shares])
    inside = np.flatnonzero((use <= 1.0).all(axis=0))
    for last in inside[::-1][:3].tolist():  # sums of many terms: the exact check may want one upgrade less
        if problem.fits(choice := upgrades.choice(last)):
            return choice, use[:, last]
    return None, use[:, 0]


def fill(problem: AllocationProblem, keep: NDArray[np.bool_], choice: Indices) -> tuple[int, ...]:
    """Take further upgrades that fit, of the most gain per share of the scarcest free budget, until none fits.

    Of equal ones the first unit's first candidate is taken. `choice` must be feasible.
    """
    choice, keep = np.array(choice), keep.copy()
    units = np.arange(len(choice))
    budgets = rows(problem, keep)
    loss = np.where(keep, problem.loss_table, math.inf)
    while True:
        gain = loss[units, choice][:, None] - loss
        share = np.zeros_like(loss)
        for row in budgets.values():
            here = row.more[units, choice]
            free = row.room - math.fsum(here.tolist())
            more = row.more - here[:, None]
            share = np.maximum(share, np.where(more > 0, more / free if free > 0 else math.inf, 0.0))
        worth = np.divide(gain, share, out=np.full_like(gain, math.inf), where=share > 0)
        worth = np.where(keep & (gain > 0) & (share <= 1.0), worth, -math.inf)
        unit, candidate = divmod(int(worth.argmax()), worth.shape[1])
        if worth[unit, candidate] == -math.inf:
            return tuple(int(c) for c in choice)
        before, choice[unit] = choice[unit], candidate
        if not problem.fits(choice):
            choice[unit] = before
            keep[unit, candidate] = False
            loss[unit, candidate] = math.inf


def repair(problem: AllocationProblem, keep: NDArray[np.bool_], choice: Indices) -> tuple[int, ...] | None:
    """Move units until no budget is exceeded, least loss per excess taken away first.

    Return None if no move helps, or `REPAIRS` moves do not: what is repaired here is off by a few units.
    """
    choice = np.array(choice)
    units = np.arange(len(choice))
    budgets = rows(problem, keep)
    loss = np.where(keep, problem.loss_table, math.inf)
    for _ in range(REPAIRS + 1):
        if problem.fits(choice):
            return fill(problem, keep, choice)
        relief = np.zeros_like(loss)
        for row in budgets.values():
            here = row.more[units, choice]
            over = math.fsum([*here.tolist(), -row.room])
            after = over + row.more - here[:, None]
            relief += (max(over, 0.0) - np.maximum(after, 0.0)) / (row.room or 1.0)
        lost = np.where(keep, loss - loss[units, choice][:, None], math.inf)
        # A move that loses nothing is the better the more it relieves; else the loss counts per relief.
        with np.errstate(divide="ignore", invalid="ignore"):
            worth = np.where(lost > 0, relief / lost, math.inf)
        worth = np.where(keep & (relief > 0), worth, -math.inf)
        unit, candidate = divmod(int(worth.argmax()), worth.shape[1])
        if worth[unit, candidate] == -math.inf:
            return None
        choice[unit] = candidate
    return None
