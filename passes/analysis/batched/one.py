"""The costs of one design, step by step: what a look-up of many must agree with."""

from collections.abc import Mapping

import numpy as np

from mxhw.hardware.sizes import NOTHING
from mxhw.hardware.sizes.connections import connections
from mxhw.hardware.structure import Design, ModelDesign
from mxhw.passes.analysis.batched.compose import BatchedCosts, PartCosts, composed
from mxhw.passes.analysis.batched.parts import Part, designs, parts_of
from mxhw.passes.analysis.batched.steps import SPENT, FloatArray, UnitCosts

__all__ = ["design_costs"]


def design_costs(model: ModelDesign, costs: UnitCosts, *, port: float | None = None) -> BatchedCosts:
    """Return the costs of a model's design, as arrays of one entry.

    ``port``: bits a cycle in which layers are loaded; None: weights lie inside.
    """
    every, parts = list(designs(model)), parts_of(model)
    found = []
    for part in parts:
        copies = [_part(part, every[number][0], costs) for number in part.copies]
        found.append(PartCosts(*(np.stack(each)[None] for each in zip(*copies, strict=True))))
    return composed(parts, found, costs.workload, costs.names, folded=model.folded, port=port)


def _part(part: Part, design: Design, costs: UnitCosts) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return the slowest step, the longest run, the longest way and the sums of a design."""
    each = [costs.of(step.unit) for step in design.steps.values()]
    busy = np.max([np.zeros(len(costs.workload.starts)), *(step.busy for step in each)], axis=0)
    resources = sum((step.resources for step in each), NOTHING)
    if costs.platform is not None:
        resources = sum((costs.connection(unit) for unit in connections(design)), resources)
    energy = [sum(step.energy[phase] for step in each) for phase in range(SPENT)]
    sums = part.layers * np.array([*energy, sum(step.weight_bits for step in each), sum(step.run for step in each)])
    added = np.array([*sums, *(resources[name] for name in costs.names)])
    return busy, np.array(max((step.run for step in each), default=0.0)), _way(part, design, costs), added


def _way(part: Part, design: Design, costs: UnitCosts) -> FloatArray:
    """Return the longest way to where the last beats leave [tiles]."""
    nothing = np.zeros(len(costs.workload.tiles))
    ways: dict[str, Mapping[str, FloatArray]] = {}
    reads: dict[str, list[str]] = {}
    for each in part.order:
        steps, inputs = part.group_steps(design, each) if isinstance(each, str) else part.segment_steps(design, each)
        found = costs.ways(steps, inputs)
        for name in steps:
            ways[name], reads[name] = found, list(inputs)

    def done(name: str) -> FloatArray:
        if name not in ways:
            return nothing
        before = [done(source) for source in reads[name]]
        return np.asarray(ways[name][name] + np.max([nothing, *before], axis=0))

    return np.asarray(np.max([nothing, *(done(name) for name in design.outputs)], axis=0))
