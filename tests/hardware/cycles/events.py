"""What closed forms are compared with: the series of events of components and designs, which equal the RTL."""

from collections.abc import Mapping

import numpy as np

from mxhw.arithmetic.dataflow import IntegerGraph, Operation
from mxhw.passes.emit.dataflow.place import Placed
from mxhw.passes.emit.dataflow.schedule import TimedGraph
from mxhw.passes.emit.dataflow.timing import Work, stream_beats, time_component
from mxhw.sim.performance.events import Events, IntArray, Times
from mxhw.sim.performance.walk import exact_times


def ends_alone(operation: Operation, placed: Placed, positions: IntArray) -> IntArray:
    """Return the cycle of each token's last beat, the first beat in being cycle 0, of a component alone [tokens]."""
    events, work = Events(), Work("unit", operation, placed, np.asarray(positions))
    component = time_component(events, work)
    times = exact_times(events)
    first = min(int(times[port.taken][0]) for port in component.inputs)
    found: IntArray = times[component.output][np.cumsum(work.output_beats) - 1] - first
    return found


def beats_of(
    timed: TimedGraph, times: Times, graph: IntegerGraph, placed: Mapping[str, Placed], name: str
) -> tuple[IntArray, IntArray]:
    """Return the cycles of the first and of the last beat of each token of a step's stream, [tokens] each."""
    output = placed[name].output
    beats = stream_beats(output.type, output.lanes, timed.positions)
    passed, ends = times[timed.components[name].output], np.cumsum(beats)
    return passed[ends - beats], passed[ends - 1]
