"""Allocation: which candidate every unit takes, so that the losses' sum is least within additive budgets.

Pure numbers; what units, candidates, losses and costs are is the caller's business.
"""

from mxhw.passes.search.allocate.branch import Allocation
from mxhw.passes.search.allocate.exhaustive import allocate_exhaustive
from mxhw.passes.search.allocate.hull import Sweep, sweep
from mxhw.passes.search.allocate.line import budget_line, hull_line
from mxhw.passes.search.allocate.problem import AllocationProblem, InfeasibleError, UndecidedError
from mxhw.passes.search.allocate.solvers import allocate_greedy, allocate_milp, solve_milp
from mxhw.passes.search.allocate.uniform import allocate_uniform

__all__ = [
    "Allocation",
    "AllocationProblem",
    "InfeasibleError",
    "Sweep",
    "UndecidedError",
    "allocate_exhaustive",
    "allocate_greedy",
    "allocate_milp",
    "allocate_uniform",
    "budget_line",
    "hull_line",
    "solve_milp",
    "sweep",
]
