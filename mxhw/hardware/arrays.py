"""Array sizes under a budget: the smallest bottleneck that fits, and no unit larger than that bottleneck needs.

All GEMM nodes of a design work at the same time on successive inputs, so the slowest one sets the initiation interval.
Rows are given; columns are powers of two. For a bound on the cycles, every node takes its cheapest option within the
bound; the smallest bound whose total fits the budget is found by bisection over the cycles that occur. With one
resource (ASIC area) that is the optimum; with several (LUTs and block memories) an option's price is the sum of its
shares of each budget.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mxhw.errors import InputError
from mxhw.hardware.cost import GemmCosts, gemm_costs
from mxhw.hardware.platform import Platform
from mxhw.hardware.units import GemmBatch

__all__ = ["MOST_COLUMNS", "ArrayPlan", "cost_arrays", "plan_arrays"]

MOST_COLUMNS = 64


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
    budget = {name: quantity.value * share for name, quantity in platform.budget.items()}
    needs = {name: costs.resource(name) for name in budget}
    price = sum(need / budget[name] for name, need in needs.items())
    cycles = np.where(useful, costs.cycles, np.iinfo(np.int64).max)

    def choose(bound: int) -> NDArray[np.int64]:
        return np.asarray(np.argmin(np.where(cycles <= bound, price, np.inf), axis=1), dtype=np.int64)

    def fits(choice: NDArray[np.int64]) -> bool:
        return all(_total(need, choice) <= budget[name] for name, need in needs.items())

    bounds = np.unique(cycles[useful])
    bounds = bounds[bounds >= cycles.min(axis=1).max()]  # below it some node has no option
    if not fits(choose(int(bounds[-1]))):
        raise _too_small(platform, share, needs, choose(int(bounds[-1])))
    low, high = 0, len(bounds) - 1  # bounds[high] fits
    while low < high:
        middle = (low + high) // 2
        if fits(choose(int(bounds[middle]))):
            high = middle
        else:
            low = middle + 1
    columns = options[choose(int(bounds[high]))]
    return cost_arrays(names, batch, platform, np.full(len(names), rows), columns)


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


def _total(need: NDArray[np.float64], choice: NDArray[np.int64]) -> float:
    return float(np.take_along_axis(need, choice[:, None], axis=1).sum())


def _too_small(
    platform: Platform, share: float, needs: Mapping[str, NDArray[np.float64]], choice: NDArray[np.int64]
) -> InputError:
    wants = [
        f"{_total(need, choice):,.0f} {platform.budget[name].unit} of {platform.budget[name].value * share:,.0f}"
        for name, need in needs.items()
        if _total(need, choice) > platform.budget[name].value * share
    ]
    return InputError(
        f"platform {platform.name!r} is too small: the smallest arrays need {', '.join(wants)} (budget times a share "
        f"of {share:g}); give a larger budget or platform, fewer rows, or narrower weight formats"
    )
