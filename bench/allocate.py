"""Allocation on drawn problems of the size of real models: seconds, gap, and loss beside the linear relaxation's.

    python bench/allocate.py [--only MILP]

Drawn is what a sensitivity table looks like: units of 1 to 64 thousand weights, candidates of 2, 3, 4 and 8 bits (and
so on), losses that fall by about 4 a bit with noise, unit by unit over two orders of magnitude; a second and third
resource are drawn costs that rise with the bits. Budgets leave 40 % of what lies between the cheapest assignment and
the dearest one. The gap is to the bound that the MILP proves; the last column is beside the linear relaxation's, which
no assignment reaches.
"""

import argparse
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import scipy.optimize  # noqa: F401, its first import is not what is measured

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the drawn tables are those of the tests

from mxhw.passes.search.allocate import (  # noqa: E402
    AllocationProblem,
    allocate_greedy,
    allocate_uniform,
    budget_line,
    hull_line,
    solve_milp,
)
from mxhw.passes.search.allocate.branch import linear_bound  # noqa: E402
from tests.passes.search.allocate.drawn import drawn_model  # noqa: E402

SIZES = ((224, 3, 1), (224, 4, 1), (560, 4, 1), (4096, 4, 1), (4096, 4, 2), (4096, 4, 3), (512, 40, 2))
LINE = 20


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="solvers whose name contains this")
    parser.add_argument("--seconds", type=float, default=60.0, help="time limit of one MILP")
    options = parser.parse_args()
    print("| units × candidates | resources | solver | seconds | gap, % | loss / linear bound |")
    print("|---|---:|---|---:|---:|---:|", flush=True)
    for units, candidates, resources in SIZES:
        problem = drawn_model(units, candidates, resources, seed=0)
        bound = linear_bound(problem)
        for solver, loss, seconds, gap in _measured(problem, options.only, options.seconds):
            size = f"{units} × {candidates} | {resources}"
            shown = "" if math.isnan(gap) else f"{100 * gap:.4f}"
            ratio = "" if math.isnan(loss) else f"{loss / bound:.6f}"
            print(f"| {size} | {solver} | {seconds:.3f} | {shown} | {ratio} |", flush=True)


def _measured(problem: AllocationProblem, only: str, limit: float) -> Iterator[tuple[str, float, float, float]]:
    """Yield name, loss, seconds and gap of every solver."""
    milps = {f"MILP, gap {gap:g}": gap for gap in (1e-4, 1e-5, 0.0)}
    for name, solve in (("uniform", allocate_uniform), ("greedy", allocate_greedy)):
        if only in name:
            start = time.perf_counter()
            choice = solve(problem)
            yield name, problem.loss(choice), time.perf_counter() - start, math.nan
    for name, gap in milps.items():
        if only in name:
            start = time.perf_counter()
            found = solve_milp(problem, gap=gap, seconds=limit)
            done = name if found.finished else f"{name}, {limit:g} s were up"
            yield done, found.loss, time.perf_counter() - start, found.gap
    if "line" in only or not only:
        start = time.perf_counter()
        line = budget_line(problem, "bits", LINE)
        yield f"budget line, {len(line)} of {LINE} points", math.nan, time.perf_counter() - start, math.nan
        if problem.limits == ("bits",):
            start = time.perf_counter()
            line = hull_line(problem, "bits", LINE)
            yield f"hull line, {len(line)} of {LINE} points", math.nan, time.perf_counter() - start, math.nan


if __name__ == "__main__":
    main()
