"""What is decided about a design before it is emitted: parallelism, FIFO depths, and the cycles that follow."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from mxhw.arithmetic.dataflow import IntegerGraph
from mxhw.hardware import Platform
from mxhw.passes.emit.dataflow.balance import Sizing, balance, last_position
from mxhw.passes.emit.dataflow.fifos import fifo_depths
from mxhw.passes.emit.dataflow.place import Parallelism, place_graph
from mxhw.passes.emit.dataflow.resources import Resources
from mxhw.passes.emit.dataflow.schedule import step_interval
from mxhw.passes.emit.dataflow.top import Depths

__all__ = ["DesignPlan", "plan_design"]


@dataclass(frozen=True)
class DesignPlan:
    """The choices about a design, and what they come to.

    Attributes
    ----------
    parallelism : step → rows, columns, lanes, where they are not the defaults.
    depths : (stream, step that reads it) → depth of the FIFO between.
    intervals : step → cycles a token, without stalls.
    resources : step → estimated amounts, of FIFOs under ""; empty without a platform.
    platform : its name; None if the parallelism was not chosen for one.
    """

    parallelism: Parallelism
    depths: Depths
    intervals: Mapping[str, int]
    resources: Mapping[str, Resources]
    platform: str | None = None

    @property
    def interval(self) -> int:
        """Cycles between tokens: those of the slowest step."""
        return max(self.intervals.values())


def plan_design(
    graph: IntegerGraph,
    *,
    platform: Platform | None = None,
    share: float = 1.0,
    fixed: Parallelism | None = None,
    times: Mapping[str, int] | None = None,
    sizing: Sizing = fifo_depths,
) -> DesignPlan:
    """Return the plan of a design: balanced under a platform's budget, or the components' own small parallelism.

    Parameters
    ----------
    fixed : parallelism of steps for which it is not to be chosen.
    times, sizing : see :func:`.balance.balance`.

    Raises
    ------
    InputError
        If the design exceeds the platform, or a step cannot be built so.
    """
    fixed, times = fixed or {}, times or {}
    if platform is not None:
        found = balance(graph, platform, share=share, fixed=fixed, times=times, sizing=sizing)
        intervals = {name: ceil(cycles) for name, cycles in found.intervals.items()}
        return DesignPlan(found.parallelism, found.depths, intervals, found.resources, platform.name)
    placed = place_graph(graph, fixed)
    intervals = {
        name: ceil(step_interval(step.operation, placed[name], last_position(step.operation)) * times.get(name, 1))
        for name, step in graph.steps.items()
    }
    return DesignPlan(fixed, sizing(graph, placed), intervals, {})
