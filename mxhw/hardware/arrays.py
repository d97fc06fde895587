"""Array sizes under a budget: the smallest bottleneck that fits, and no unit larger than that bottleneck needs.

All GEMM nodes of a design work at the same time on successive inputs, so the slowest one sets the initiation interval.
Rows are given; columns are powers of two. For a bound on the cycles, every node takes its cheapest option within the
bound; the smallest bound whose total fits the budget is found by bisection over the cycles that occur. With one
resource (ASIC area) that is the optimum; with several (LUTs and block memories) an option's price is the sum of its
shares of each budget, or mostly that of one of them, whichever ends better.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mxhw.errors import InputError
from mxhw.hardware.cost import GemmCosts, gemm_costs
from mxhw.hardware.platform import Platform
from mxhw.hardware.units import GemmBatch

__all__ = ["MOST_COLUMNS", "ArrayPlan", "cost_arrays", "plan_arrays"]

MOST_COLUMNS = 64
_NEVER = np.iinfo(np.int64).max
_MINOR = 1e-3  # weight of the other resources where one decides


@dataclass(frozen=True)
class ArrayPlan:
    """Arrays of all nodes and what they cost.

    Attributes
    ----------
    names : tuple of str
    rows, columns : int arrays [nodes]
    costs : GemmCosts with arrays of shape [nodes, 1]
    """

    names: tuple[str, ...]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    costs: GemmCosts

    @property
    def interval(self) -> int:
        """Cycles between inputs: those of the slowest node."""
        return int(self.costs.cycles.max())

    def arrays(self) -> dict[str, tuple[int, int]]:
        """Return node name to (rows, columns)."""
        return {name: (int(r), int(c)) for name, r, c in zip(self.names, self.rows, self.columns, strict=True)}


def plan_arrays(
    names: Sequence[str],
    batch: GemmBatch,
    platform: Platform,
    rows: int,
    *,
    share: float = 1.0,
    most_columns: int = MOST_COLUMNS,
) -> ArrayPlan:
    """Return the arrays with the smallest bottleneck that fit `share` of the platform's budget.

    Raises
    ------
    InputError
        If even the smallest arrays do not fit; the message gives the smallest need and the budget.
    """
    if rows < 1 or not 0 < share <= 1:
        raise InputError(f"arrays need rows of at least 1 and a share of the budget in (0, 1], not {rows} and {share}")
    if not names:
        raise InputError("no GEMM node has hardware: give formats that a unit supports")
    options = 2 ** np.arange(int(most_columns).bit_length(), dtype=np.int64)
    costs = gemm_costs(batch, rows, np.broadcast_to(options, (len(names), len(options))), platform)
    useful = options[None, :] < 2 * batch.n  # the first power of two that holds all columns, and those below it
    cycles = np.where(useful, costs.cycles, _NEVER)
    shares = {r: costs.resource(r) / (amount.value * share) for r, amount in platform.budget.items()}
    found = [choice for price in _prices(shares) if (choice := _smallest_bottleneck(cycles, price, shares)) is not None]
    if not found:
        raise _too_small(platform, share, {r: float(part.min(axis=1).sum()) for r, part in shares.items()})
    best = min(found, key=lambda choice: int(_take(cycles, choice).max()))
    return cost_arrays(names, batch, platform, np.full(len(names), rows), options[best])


def _prices(shares: Mapping[str, NDArray[np.float64]]) -> Iterator[NDArray[np.float64]]:
    """Yield what an option costs: the sum of its shares of the budgets; then mostly its share of one of them."""
    total = reduce(np.add, shares.values())
    yield total
    used = [part for part in shares.values() if part.any()]
    if len(used) > 1:
        yield from (part + _MINOR * total for part in used)


def _smallest_bottleneck(
    cycles: NDArray[np.int64], price: NDArray[np.float64], shares: Mapping[str, NDArray[np.float64]]
) -> NDArray[np.int64] | None:
    """Return the option of every node: cheapest within the smallest bound on cycles that fits; None if none does."""

    def choose(bound: int) -> NDArray[np.int64]:
        return np.asarray(np.argmin(np.where(cycles <= bound, price, np.inf), axis=1), dtype=np.int64)

    def fits(bound: int) -> bool:
        choice = choose(bound)
        return all(float(_take(part, choice).sum()) <= 1 for part in shares.values())

    bounds = np.unique(cycles[cycles < _NEVER])
    bounds = bounds[bounds >= cycles.min(axis=1).max()]  # below it some node has no option
    low, high = 0, len(bounds) - 1
    if not fits(int(bounds[high])):
        return None
    while low < high:
        middle = (low + high) // 2
        if fits(int(bounds[middle])):
            high = middle
        else:
            low = middle + 1
    return choose(int(bounds[high]))


def _take(values: NDArray[Any], choice: NDArray[np.int64]) -> NDArray[Any]:
    return np.asarray(np.take_along_axis(values, choice[:, None], axis=1))


def cost_arrays(
    names: Sequence[str],
    batch: GemmBatch,
    platform: Platform,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
) -> ArrayPlan:
    """Return the plan of given arrays, whether or not they fit."""
    costs = gemm_costs(batch, rows[:, None], columns[:, None], platform)
    return ArrayPlan(tuple(names), rows, columns, costs)


def _too_small(platform: Platform, share: float, least: Mapping[str, float]) -> InputError:
    """Return the error; `least` is the smallest need of each resource as a ratio to what may be used."""
    over = {r: need for r, need in least.items() if need > 1} or least
    wants = [
        f"{need * platform.budget[r].value * share:,.0f} {platform.budget[r].unit} of "
        f"{platform.budget[r].value * share:,.0f}"
        for r, need in over.items()
        if need > 0
    ]
    return InputError(
        f"platform {platform.name!r} is too small: the smallest arrays need {', '.join(wants)} (budget times a share "
        f"of {share:g}); give a larger budget or platform, fewer rows, or narrower weight formats"
    )
