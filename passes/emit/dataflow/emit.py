"""A whole integer graph as a folder of Verilog, memory images, real stimulus, expected beats and a bench."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

import mxhw
import mxhw.sim
from mxhw.arithmetic.dataflow import IntegerGraph, StreamType
from mxhw.errors import InputError
from mxhw.hardware import Platform
from mxhw.passes.emit.dataflow.beats import (
    check_value,
    hex_lines,
    payload_bits,
    payload_shape,
    stream_beats,
    token_beats,
)
from mxhw.passes.emit.dataflow.events import DeadlockError
from mxhw.passes.emit.dataflow.fifos import fifo_depths
from mxhw.passes.emit.dataflow.folder import Writer, design_folder
from mxhw.passes.emit.dataflow.images import image_path, step_images
from mxhw.passes.emit.dataflow.modules import Modules
from mxhw.passes.emit.dataflow.names import check_design_name, stream_names
from mxhw.passes.emit.dataflow.place import Parallelism, Placed, input_lanes, place_graph
from mxhw.passes.emit.dataflow.schedule import TimedGraph, step_interval
from mxhw.passes.emit.dataflow.top import Depths, Top, check_depths, top_verilog
from mxhw.passes.emit.dataflow.words import header, instructions
from mxhw.rtl_templates.emission import verilog_library
from mxhw.sim.dataflow_design import DataflowDesign, DataflowStep, StreamBeats, payload_fields
from mxhw.sim.design import DESIGN_FILE

__all__ = ["EmittedDesign", "emit_dataflow"]

_UNKNOWN_HASH = "0" * 64
_BENCH = "dataflow_bench.py"


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
    runs, tokens = _tokens(graph, values)
    _check_rows(placed, runs * tokens)
    with design_folder(folder, force=force) as writer:
        words, paths = _write_images(writer, graph, placed, names)
        lanes = input_lanes(graph, placed)
        top = Top(graph, placed, names, lanes, depths, paths)
        sources, digest = _write_verilog(writer, top, name)
        if assignment is not None:
            writer.write_beside("assignment.json", json.dumps(assignment, indent=1, sort_keys=True) + "\n")
        streams = _Beats(writer, names, runs, tokens)
        found = graph.run(values, graph.steps)
        inputs = {names[n]: streams.port(n, values[n], kind, lanes[n]) for n, kind in graph.inputs.items()}
        steps = tuple(_step(top, streams, n, found[n]) for n in graph.steps)
        by_name = {step.name: step for step in steps}
        design = DataflowDesign(
            name=name,
            top=f"{name}_core",
            sources=sources,
            images=words,
            inputs=inputs,
            outputs={
                names[n]: StreamBeats(beats=by_name[n].beats, width=by_name[n].width, count=by_name[n].count)
                for n in graph.outputs
            },
            steps=steps,
            tokens=runs * tokens,
            cycles=_cycles(top, runs, tokens),
            hash=digest,
            version=mxhw.__version__,
            platform=None if platform is None else platform.name,
            clock_hz=None if platform is None else platform.clock.value,
        )
        writer.write_beside(DESIGN_FILE, design.to_json())
        writer.write_beside("README.txt", instructions(design))
        writer.write_beside("bench.py", Path(mxhw.sim.__file__).with_name(_BENCH).read_text(encoding="utf-8"))
    return EmittedDesign(folder, design, placed)


@dataclass(frozen=True)
class _Beats:
    """Writes the beats of streams."""

    writer: Writer
    names: Mapping[str, str]
    runs: int
    tokens: int

    def port(self, name: str, value: Any, kind: StreamType, lanes: int) -> StreamBeats:
        """Write the beats of a stream; return where they are."""
        beats = stream_beats(value, kind, lanes)
        bits, path = payload_bits(kind, lanes), f"beats/{self.names[name]}.hex"
        self.writer.write_beside(path, hex_lines(beats, bits))
        return StreamBeats(beats=path, width=bits, count=len(beats))


def _step(top: Top, streams: _Beats, name: str, value: Any) -> DataflowStep:
    """Write the beats of a step; return its record."""
    step, placed = top.graph.steps[name], top.placed[name]
    kind, lanes = placed.output.type, placed.output.lanes
    port = streams.port(name, value, kind, lanes)
    return DataflowStep(
        name=name,
        node=step.node,
        stream=top.names[name],
        kind=step.operation.kind,
        module=placed.module,
        parallelism=dict(placed.parallelism),
        interval=ceil(step_interval(step.operation, placed, streams.tokens - 1)),
        fifo={top.names[source]: top.depth(source, name) for source in step.inputs},
        beats=port.beats,
        width=port.width,
        count=port.count,
        token_beats=token_beats(kind, lanes, streams.runs, streams.tokens),
        fields=payload_fields(payload_shape(kind, lanes)),
    )


def _write_images(
    writer: Writer, graph: IntegerGraph, placed: Mapping[str, Placed], names: Mapping[str, str]
) -> tuple[dict[str, int], dict[str, dict[str, str]]]:
    """Write all memory images; return words by path, and step → memory file → path."""
    words: dict[str, int] = {}
    paths: dict[str, dict[str, str]] = {name: {} for name in graph.steps}
    for name in graph.steps:
        for file, count, text in step_images(placed[name]):
            path = image_path(names[name], file)
            writer.write(path, text)
            words[path], paths[name][file] = count, path
    return words, paths


def _write_verilog(writer: Writer, top: Top, name: str) -> tuple[tuple[str, ...], str]:
    """Write top, components and memories; return the files to compile, the top first, and the hash of the design."""
    modules, core = Modules(), f"{name}_core"

    def text(digest: str) -> str:
        comment = header(name, digest, top.graph, top.placed, top.names)
        return top_verilog(top, modules, core, comment)

    text(_UNKNOWN_HASH)
    modules.make()
    writer.note(f"{core}.v", text(_UNKNOWN_HASH))
    for module in modules.texts.values():
        writer.write(f"modules/{module.name}.v", module.text)
    for file, library in verilog_library().items():
        writer.write(file, library)
    digest = writer.digest
    writer.write_beside(f"{core}.v", text(digest))
    components = sorted(f"modules/{module}.v" for module in modules.texts)
    return (f"{core}.v", *components, *verilog_library()), digest


def _cycles(top: Top, runs: int, tokens: int) -> int | None:
    """Return the cycles of the run without stalls; None if its FIFOs make the design stop."""
    positions = np.tile(np.arange(tokens), runs)
    try:
        return TimedGraph(top.graph, top.placed, positions, top.depths).cycles
    except DeadlockError:
        return None


def _tokens(graph: IntegerGraph, values: Mapping[str, Any]) -> tuple[int, int]:
    """Return runs and tokens a run of the values of the inputs."""
    missing = sorted(graph.inputs.keys() - values.keys())
    if missing:
        raise InputError(f"a run needs values of every input; {', '.join(missing)} has none")
    for name, kind in graph.inputs.items():
        check_value(name, values[name], kind)
    shapes = {name: tuple(getattr(values[name], "codes", values[name]).shape[:2]) for name in graph.inputs}
    if len(set(shapes.values())) != 1:
        found = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise InputError(f"the values of all inputs must have the same batch and tokens, not {found}")
    runs, tokens = next(iter(shapes.values()))
    return runs, tokens


def _check_rows(placed: Mapping[str, Placed], tokens: int) -> None:
    """Raise InputError where tokens that are computed together are not all there at the end."""
    for name, component in placed.items():
        if tokens % (rows := component.parallelism.get("rows", 1)):
            raise InputError(f"step {name} computes {rows} tokens at once, which do not divide the {tokens} of the run")
