"""Designs whose equal layers share one block: sizes under the budget, and figures of a prompt and the tokens after it.

A folded design works on one prompt at a time, layer after layer; so the cycles between prompts are those of a prompt.
Its sizes are those that `mxhw cost` finds for the rows and the share, and an assignment with them costs the same there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mxhw.hardware import Platform
from mxhw.hardware.sizing import sizes_of
from mxhw.hardware.structure import ModelDesign
from mxhw.ir import Assignment, Graph
from mxhw.passes.analysis.model_cost import CostSettings, ModelCost, cost_model

__all__ = ["FoldedPlan", "folded_plan"]


@dataclass(frozen=True)
class FoldedPlan:
    """A folded design.

    Attributes
    ----------
    arrays, lanes : by node and by step, of every layer: as of :class:`.Assignment`.
    totals : what a hardware report's totals say.
    speed : figures of stage "speed".
    """

    arrays: Mapping[str, tuple[int, int]]
    lanes: Mapping[str, int]
    totals: Mapping[str, Any]
    speed: Mapping[str, float]


def folded_plan(
    graph: Graph, formats: Mapping[str, str], platform: Platform, *, rows: int, share: float, prefill: int, decode: int
) -> FoldedPlan:
    """Return the quickest folded design of these formats.

    Raises
    ------
    InputError
        If it does not fit, a node has no unit for its formats, or layers have formats that no unit can share.
    """
    settings = CostSettings(prefill=prefill, decode=decode, rows=rows, share=share, folded=True)
    found = cost_model(graph, Assignment(graph.signature.model, formats), platform, settings)
    arrays, lanes = _of_every_layer(found.machine.model)
    return FoldedPlan(arrays, lanes, _totals(found, prefill), _speed(found))


def _of_every_layer(model: ModelDesign) -> tuple[dict[str, tuple[int, int]], dict[str, int]]:
    """Return the sizes of a model's steps by the names that they have in each layer."""
    arrays, lanes = sizes_of(model)
    for use in model.blocks if model.folded else ():
        for step in use.design.steps.values():
            inner = step.name.removeprefix(f"{use.layers[0]}.")
            for layer in use.layers:
                if step.name in arrays:
                    arrays[f"{layer}.{inner}"] = arrays[step.name]
                elif step.name in lanes:
                    lanes[f"{layer}.{inner}"] = lanes[step.name]
            if inner == step.name:
                arrays.pop(inner, None)
                lanes.pop(inner, None)
    return arrays, lanes


def _totals(found: ModelCost, prefill: int) -> dict[str, Any]:
    phase = found.cost.prefill
    energy = phase.energy.total
    return {
        "platform": found.cost.platform,
        "sequence": prefill,
        "interval": phase.cycles,
        "cycles": phase.cycles,
        "seconds": phase.seconds,
        "resources": dict(found.cost.resources),
        "memory_bits": None,
        "energy": energy,
        "edp": None if energy is None else energy * phase.seconds,
        "folded": True,
    }


def _speed(found: ModelCost) -> dict[str, float]:
    first, then = found.cost.prefill, found.cost.decode
    figures = {
        "prefill": first.seconds,
        "decode": then.seconds / then.tokens,
        "throughput": then.tokens_per_second,
        "energy_per_token": None if then.energy.total is None else then.energy.total / then.tokens,
        "bytes_per_token": then.bytes_per_token,
    }
    return {name: float(value) for name, value in figures.items() if value is not None}
