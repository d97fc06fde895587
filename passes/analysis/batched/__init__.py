"""Costs of many assignments of one model at once: tables by node, looked up, added and compared.

What a step costs is computed once for each unit that occurs; an assignment is then a row of numbers of candidates,
whose costs are gathered: resources and energy are sums, the interval of a design is its slowest step's, its latency the
longest way through it. In a folded design layers share a unit of the weight type that holds the values of all their
formats; which type it is depends on the set of candidates among them, and so tables are indexed by sets.

Ways are those of the rules of :mod:`mxhw.hardware.cycles` between one product and the next, which waits for the whole
of a row tile. Not counted: the energy of what stands between steps, static power, caches outside.
"""

from mxhw.passes.analysis.batched.compose import BatchedCosts
from mxhw.passes.analysis.batched.model import BatchedModel, Candidate
from mxhw.passes.analysis.batched.one import design_costs
from mxhw.passes.analysis.batched.steps import UnitCosts, Workload

__all__ = ["BatchedCosts", "BatchedModel", "Candidate", "UnitCosts", "Workload", "design_costs"]
