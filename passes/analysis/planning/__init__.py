"""Sizes of a design and its costs, found quickly for one assignment after the other.

    formats → records of nodes → step shapes, who reads whom → options → smallest interval that fits → sums

What a node adds to a design depends on few formats: its own and, where an encoder is shared, those of the nodes that
read the same stream before it. It is kept as a record, and a design is a row of records (:mod:`.compose`). Steps of
equal units have one shape, whose options and costs are rows of tables (:mod:`.shapes`); what stands between steps is
looked up by beats (:mod:`.between`). Sums are made in the order of the steps, so that results are those of
:func:`mxhw.hardware.sizing.sized_model` and of adding the costs of its steps, bit for bit.

Not here: folded designs, memories outside (:mod:`mxhw.hardware.machine`), many assignments at once
(:mod:`mxhw.passes.analysis.batched`).
"""

from mxhw.passes.analysis.planning.compose import NotComposableError
from mxhw.passes.analysis.planning.costs import UnitCost, connection_cost, unit_cost
from mxhw.passes.analysis.planning.planner import Plan, Planner

__all__ = ["NotComposableError", "Plan", "Planner", "UnitCost", "connection_cost", "unit_cost"]
