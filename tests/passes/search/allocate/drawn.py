"""Drawn allocation problems: small awkward ones for the oracle, and tables that look like a model's."""

import math

import numpy as np

from mxhw.passes.search.allocate import AllocationProblem

BITS = (2.0, 3.0, 4.0, 8.0)


def drawn_small(seed: int, *, allowed: float = 0.95) -> AllocationProblem:
    """Up to 6 units with 1 to 4 candidates and 0 to 3 resources: many equal numbers, or few digits, or wide ranges.

    In most units what costs more of the first resource loses less. Of each cost and loss a share of 1 - `allowed` is
    infinite. A third of the budgets is what some assignment takes to the last bit.
    """
    draw = np.random.default_rng(seed)
    units, resources, kind = int(draw.integers(1, 7)), int(draw.integers(0, 4)), int(draw.integers(3))

    def value() -> float:
        drawn = (draw.integers(0, 6), np.round(draw.random(), 1), draw.lognormal(0, 2))
        return float(drawn[kind])

    def some_infinite(row: list[float]) -> list[float]:
        return [x if draw.random() < allowed else math.inf for x in row]

    counts = draw.integers(1, 5, units)
    losses = [[value() - (2 if kind == 1 else 0) for _ in range(count)] for count in counts]
    costs = {f"r{r}": [[value() for _ in range(count)] for count in counts] for r in range(resources)}
    for unit in range(units):
        if costs and draw.random() < 0.8:
            losses[unit].sort(reverse=True)
            costs["r0"][unit].sort()
    losses = [some_infinite(row) for row in losses]
    costs = {r: [some_infinite(row) for row in rows] for r, rows in costs.items()}
    fixed = {r: float(draw.integers(0, 3)) for r in costs if draw.random() < 0.3}
    budgets = {}
    for r, table in costs.items():
        finite = [[cost for cost in row if cost < math.inf] or [0.0] for row in table]
        least, most = (math.fsum(map(pick, finite)) for pick in (min, max))
        some = math.fsum([fixed.get(r, 0.0), *(row[int(draw.integers(len(row)))] for row in finite)])
        between = fixed.get(r, 0.0) + max(0.0, least + (most - least) * float(draw.uniform(-0.02, 1.1)))
        if draw.random() < 0.9:
            budgets[r] = some if draw.random() < 1 / 3 else between
    return AllocationProblem(losses, costs, budgets, fixed)


def drawn_model(
    units: int, candidates: int, resources: int, seed: int, *, room: float = 0.4, noise: float = 0.2
) -> AllocationProblem:
    """Units of 1 to 64 thousand weights, bits from 2, losses that fall by 4 a bit; without noise they are convex.

    The first resource is "bits", with a quarter bit of scales; others rise with the bits. Budgets leave a share `room`
    of what lies between the cheapest and the dearest assignment.
    """
    draw = np.random.default_rng(seed)
    bits = np.array(BITS[:candidates] if candidates <= len(BITS) else np.linspace(2, 16, candidates))
    weights = draw.integers(1, 65, (units, 1)) * 1024.0
    losses = draw.lognormal(0, 1.5, (units, 1)) * 4.0**-bits * np.exp(noise * draw.standard_normal((units, len(bits))))
    costs = {"bits": weights * (bits + 0.25)}
    for r in range(1, resources):
        costs[f"cost{r}"] = draw.lognormal(0, 0.5, losses.shape) * bits
    ends = {r: (table.min(axis=1).sum(), table.max(axis=1).sum()) for r, table in costs.items()}
    budgets = {r: float(least + room * (most - least)) for r, (least, most) in ends.items()}
    return AllocationProblem(losses.tolist(), {r: table.tolist() for r, table in costs.items()}, budgets)
