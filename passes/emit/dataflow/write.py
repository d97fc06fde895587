"""The files of a design: Verilog, memory images, the beats of every stream, the record that says what is where."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

import mxhw
import mxhw.sim
from mxhw.hardware import Platform
from mxhw.hardware.structure.record import STRUCTURE_FILE, design_to_json
from mxhw.passes.emit.dataflow.beats import hex_lines, payload_bits, payload_shape
from mxhw.passes.emit.dataflow.costed import emitted_design
from mxhw.passes.emit.dataflow.folder import Writer
from mxhw.passes.emit.dataflow.images import image_path, step_images
from mxhw.passes.emit.dataflow.modules import Modules
from mxhw.passes.emit.dataflow.place import Placed
from mxhw.passes.emit.dataflow.recorded import Recorded
from mxhw.passes.emit.dataflow.schedule import step_interval
from mxhw.passes.emit.dataflow.top import Top, top_verilog
from mxhw.passes.emit.dataflow.words import header, instructions
from mxhw.rtl_templates.emission import verilog_library
from mxhw.sim.dataflow_design import DataflowDesign, DataflowStep, LanguageModel, StreamBeats, payload_fields
from mxhw.sim.design import DESIGN_FILE

__all__ = ["DesignFiles", "write_design", "write_images"]

_UNKNOWN_HASH = "0" * 64
_BENCH = "dataflow_bench.py"


@dataclass(frozen=True, kw_only=True)
class DesignFiles:
    """What is to be written, but for the memory images, which :class:`.Top` names.

    Attributes
    ----------
    name : of the design.
    images : path → words, of what :func:`write_images` has written.
    recorded : the beats of a run.
    tokens : that the record calls the design's; streams that have others say so.
    position : of the token whose interval counts.
    cycles : predicted; None if unknown.
    assignment : what ``Assignment.to_json`` gives.
    written : stream → file in which its beats lie already.
    language : of a design that generates text; with it, ``domains`` says what each step has tokens for.
    """

    name: str
    top: Top
    images: Mapping[str, int]
    recorded: Recorded
    tokens: int
    position: int
    cycles: int | None
    assignment: Mapping[str, Any] | None = None
    platform: Platform | None = None
    language: LanguageModel | None = None
    domains: Mapping[str, str] | None = None
    written: Mapping[str, str] = field(default_factory=dict)


def write_design(writer: Writer, files: DesignFiles) -> DataflowDesign:
    """Write everything but the images; return the record."""
    top = files.top
    sources, digest = _write_verilog(writer, top, files.name)
    if files.assignment is not None:
        writer.write_beside("assignment.json", json.dumps(files.assignment, indent=1, sort_keys=True) + "\n")
    names, graph = top.names, top.graph
    inputs = {names[n]: _port(writer, files, n, top.lanes[n]) for n in graph.inputs if n not in top.feedback}
    steps = tuple(_step(writer, files, n) for n in graph.steps)
    by_name = {step.name: step for step in steps}
    design = DataflowDesign(
        name=files.name,
        top=f"{files.name}_core",
        sources=sources,
        images=dict(files.images),
        inputs=inputs,
        outputs={
            names[n]: StreamBeats(
                beats=by_name[n].beats, width=by_name[n].width, count=by_name[n].count, repeat=by_name[n].repeat
            )
            for n in graph.outputs
        },
        steps=steps,
        tokens=files.tokens,
        cycles=files.cycles,
        hash=digest,
        version=mxhw.__version__,
        platform=None if files.platform is None else files.platform.name,
        clock_hz=None if files.platform is None else files.platform.clock.value,
        language=files.language,
        sequence=None if files.language is not None else files.position + 1,
    )
    writer.write_beside(DESIGN_FILE, design.to_json())
    writer.write_beside(STRUCTURE_FILE, design_to_json(emitted_design(top)))
    writer.write_beside("README.txt", instructions(design))
    writer.write_beside("bench.py", Path(mxhw.sim.__file__).with_name(_BENCH).read_text(encoding="utf-8"))
    return design


def write_images(
    writer: Writer, placed: Mapping[str, Placed], names: Mapping[str, str], head: str = ""
) -> tuple[dict[str, int], dict[str, dict[str, str]]]:
    """Write all memory images, ``head`` in front of each; return words by path, and step → memory file → path."""
    words: dict[str, int] = {}
    paths: dict[str, dict[str, str]] = {name: {} for name in placed}
    for name, component in placed.items():
        for file, count, text in step_images(component):
            path = image_path(names[name], file)
            writer.write(path, head + text)
            words[path], paths[name][file] = count, path
    return words, paths


def _port(writer: Writer, files: DesignFiles, name: str, lanes: int) -> StreamBeats:
    """Write the beats of a stream; return where they are."""
    beats, repeat = files.recorded.beats(name, lanes), files.recorded.repeat(name)
    bits, path = payload_bits(files.top.graph.types[name], lanes), f"beats/{files.top.names[name]}.hex"
    if name in files.written:
        path = files.written[name]
    else:
        writer.write_beside(path, hex_lines(beats, bits))
    return StreamBeats(beats=path, width=bits, count=len(beats) * repeat, repeat=repeat)


def _step(writer: Writer, files: DesignFiles, name: str) -> DataflowStep:
    """Write the beats of a step; return its record."""
    top = files.top
    step, placed = top.graph.steps[name], top.placed[name]
    kind, lanes = placed.output.type, placed.output.lanes
    port, tokens = _port(writer, files, name, lanes), files.recorded.count(name)
    return DataflowStep(
        name=name,
        node=step.node,
        stream=top.names[name],
        kind=step.operation.kind,
        module=placed.module,
        parallelism=dict(placed.parallelism),
        interval=ceil(step_interval(step.operation, placed, files.position)),
        fifo={top.names[top.feedback.get(source, source)]: top.depth(source, name) for source in step.inputs},
        beats=port.beats,
        width=port.width,
        count=port.count,
        repeat=port.repeat,
        token_beats=files.recorded.token_beats(name, lanes),
        fields=payload_fields(payload_shape(kind, lanes)),
        tokens=None if tokens == files.tokens else tokens,
        domain=None if files.domains is None else files.domains[name],
    )


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
