"""A whole integer graph as a folder of Verilog, memory images, real stimulus, expected beats and a bench."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mxhw.arithmetic.dataflow import IntegerGraph
from mxhw.errors import InputError
from mxhw.hardware import Platform
from mxhw.passes.emit.dataflow.fifos import fifo_depths
from mxhw.passes.emit.dataflow.folder import design_folder
from mxhw.passes.emit.dataflow.names import check_design_name, stream_names
from mxhw.passes.emit.dataflow.place import Parallelism, Placed, input_lanes, place_graph
from mxhw.passes.emit.dataflow.recorded import RunRecorded
from mxhw.passes.emit.dataflow.schedule import TimedGraph
from mxhw.passes.emit.dataflow.top import Depths, Top, check_depths
from mxhw.passes.emit.dataflow.write import DesignFiles, write_design, write_images
from mxhw.sim.dataflow_design import DataflowDesign
from mxhw.sim.performance.events import DeadlockError
from mxhw.sim.performance.record import SCHEDULE_FILE, schedule_bytes

__all__ = ["EmittedDesign", "emit_dataflow"]


@dataclass(frozen=True, eq=False)
class EmittedDesign:
    """What was written.

    Attributes
    ----------
    folder : where it is.
    design : what its design.json says.
    placed : step → component, in execution order.
    """

    folder: Path
    design: DataflowDesign
    placed: Mapping[str, Placed]


def emit_dataflow(
    graph: IntegerGraph,
    values: Mapping[str, Any],
    folder: Path,
    *,
    name: str,
    parallelism: Parallelism | None = None,
    fifos: Depths | None = None,
    assignment: Mapping[str, Any] | None = None,
    platform: Platform | None = None,
    force: bool = False,
) -> EmittedDesign:
    """Write the design of a graph to ``folder``, whole or not at all; the same arguments give the same bytes.

    Parameters
    ----------
    values : inputs of a run, by name: what the bench sends; a run's batch is sequence after sequence.
    name : of the design; its top is ``{name}_core``.
    parallelism : step → rows, columns, lanes, where they are not the defaults.
    fifos : (stream, step that reads it) → depth, two beats where nothing is said; by default all are computed
        (:func:`.fifos.fifo_depths`). Depths of your own can make a design that stops.
    assignment : what ``Assignment.to_json`` gives, kept beside the design.
    platform : that the parallelism was chosen for; its clock tells the time of cycles until a better one is known.
    force : replace a folder that holds another design.

    Raises
    ------
    InputError
        If an operation has no component, a name, a parallelism or a depth is impossible, ``values`` do not fit, or the
        folder holds something else.
    """
    check_design_name(name)
    placed = place_graph(graph, parallelism)
    check_depths(fifos or {}, graph)
    depths = fifo_depths(graph, placed) if fifos is None else dict(fifos)
    names = stream_names([*graph.inputs, *graph.steps])
    recorded = RunRecorded(graph, values)
    tokens = recorded.runs * recorded.tokens
    _check_rows(placed, tokens)
    with design_folder(folder, force=force) as writer:
        words, paths = write_images(writer, placed, names)
        top = Top(graph, placed, names, input_lanes(graph, placed), depths, paths)
        timed = TimedGraph(graph, placed, np.tile(np.arange(recorded.tokens), recorded.runs), depths)
        files = DesignFiles(
            name=name,
            top=top,
            images=words,
            recorded=recorded,
            tokens=tokens,
            position=recorded.tokens - 1,
            cycles=_cycles(timed),
            assignment=assignment,
            platform=platform,
        )
        design = write_design(writer, files)
        if (schedule := schedule_bytes(timed.timed)) is not None:
            writer.write_binary(SCHEDULE_FILE, schedule)
    return EmittedDesign(folder, design, placed)


def _cycles(timed: TimedGraph) -> int | None:
    """Return the cycles of the run without stalls; None if its FIFOs make the design stop."""
    try:
        return timed.cycles
    except DeadlockError:
        return None


def _check_rows(placed: Mapping[str, Placed], tokens: int) -> None:
    """Raise InputError where tokens that are computed together are not all there at the end."""
    for name, component in placed.items():
        if tokens % (rows := component.parallelism.get("rows", 1)):
            raise InputError(f"step {name} computes {rows} tokens at once, which do not divide the {tokens} of the run")
