"""The core of a design as readable Verilog: a named instance a step, and what carries its streams.

Every wire is called after the instance that drives it: ``layers_0_mlp_down_proj__valid`` is the output of that
instance. Between a stream and a reader stand, where needed, a fork (several readers), a FIFO, and a converter (the
reader takes another number of elements a beat), in this order; FIFOs hold beats of the stream that they come from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mxhw.arithmetic.dataflow import IntegerGraph, StreamType
from mxhw.errors import InputError, nearest
from mxhw.hardware.structure import DEFAULT_FIFO
from mxhw.passes.emit.dataflow.beats import payload_bits
from mxhw.passes.emit.dataflow.modules import Modules, ModuleText
from mxhw.passes.emit.dataflow.names import port_names, tap_names
from mxhw.passes.emit.dataflow.place import Placed
from mxhw.passes.emit.dataflow.words import describe

__all__ = ["DEFAULT_FIFO", "Depths", "Top", "check_depths", "top_verilog"]

Depths = Mapping[tuple[str, str], int]
"""(input or step, step that reads it) → beats that the FIFO between them holds; 0 for a wire."""

_OUTPUT = ""  # the reader that stands for the world outside
_FEEDBACK = "(feedback)"  # the reader that stands for an input


@dataclass(frozen=True)
class Top:
    """What the core is made of.

    Attributes
    ----------
    graph, placed : the steps and their components.
    names : step or input → its name in Verilog.
    lanes : input → elements of a beat.
    depths : see :data:`Depths`; :data:`DEFAULT_FIFO` where nothing is said.
    images : step → memory file → path of the image.
    feedback : input → the step that it comes from, where it is no port of the design.
    """

    graph: IntegerGraph
    placed: Mapping[str, Placed]
    names: Mapping[str, str]
    lanes: Mapping[str, int]
    depths: Depths
    images: Mapping[str, Mapping[str, str]]
    feedback: Mapping[str, str] = field(default_factory=dict)

    def depth(self, source: str, step: str) -> int:
        """Return the depth of the FIFO between a stream and a step that reads it."""
        return self.depths.get((source, step), DEFAULT_FIFO)

    def source(self, name: str) -> tuple[StreamType, int]:
        """Return type and elements a beat of a stream."""
        if name in self.graph.inputs:
            return self.graph.inputs[name], self.lanes[name]
        return self.placed[name].output.type, self.placed[name].output.lanes

    def readers(self, name: str) -> list[tuple[str, str]]:
        """Return who reads a stream: steps with the member of their input, feedback, and the world outside last."""
        found = [
            (step.name, port.member)
            for step in self.graph.steps.values()
            for source, port in zip(step.inputs, self.placed[step.name].inputs, strict=True)
            if source == name
        ]
        found += [(_FEEDBACK, source) for source, step in self.feedback.items() if step == name]
        return found + [(_OUTPUT, "")] * (name in self.graph.outputs)


def check_depths(depths: Depths, graph: IntegerGraph) -> None:
    """Raise InputError for a FIFO where no stream is, or an impossible depth."""
    for (source, step), depth in depths.items():
        if step not in graph.steps:
            raise InputError(f"there is no step {step!r} to put a FIFO in front of{nearest(step, graph.steps)}")
        if source not in graph.steps[step].inputs:
            taken = ", ".join(graph.steps[step].inputs)
            raise InputError(f"there is no FIFO from {source!r} to step {step}, which reads {taken}")
        if not isinstance(depth, int) or isinstance(depth, bool) or depth < 0:
            raise InputError(f"the FIFO from {source} to {step} must hold 0 or more beats, not {depth!r}")


def top_verilog(top: Top, modules: Modules, name: str, header: Sequence[str]) -> str:
    """Return the Verilog of module ``name``; the modules that it instantiates are added to ``modules``."""
    body = _Body(top, modules)
    for source in top.graph.inputs:
        body.input(source)
    for step in top.graph.steps:
        body.step(step)
    body.feedback()
    body.outputs()
    ports = ",\n".join(f"    {port}" for port in ["input clk", "input rst", *body.ports])
    comment = "\n".join(f"// {line}".rstrip() for line in header)
    return f"{comment}\nmodule {name} (\n{ports}\n);\n" + "\n".join(body.lines) + "\n\nendmodule\n"


@dataclass
class _Body:
    """Text that grows; ``at`` is where each reader's stream has come to: the name that its wires begin with."""

    top: Top
    modules: Modules
    ports: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    at: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def input(self, source: str) -> None:
        """A stream from outside."""
        kind, lanes = self.top.source(source)
        stream, bits = self.top.names[source], payload_bits(kind, lanes)
        if source in self.top.feedback:
            self.lines += ["", f"    // feedback {source}: {describe(kind, lanes)}"]
            self._wires(stream, bits)
            self._fork(source, stream)
            return
        valid, ready, payload = port_names(stream)
        self.ports += [f"input {valid}", f"output {ready}", f"input {_range(bits)}{payload}"]
        self.lines += ["", f"    // input {source}: {describe(kind, lanes)}"]
        self._wires(stream, bits)
        self.lines += [
            f"    assign {stream}__valid = {valid};",
            f"    assign {ready} = {stream}__ready;",
            f"    assign {stream}__payload = {payload};",
        ]
        self._fork(source, stream)

    def step(self, name: str) -> None:
        """What brings the streams of a step to it, its component, its tap."""
        step, placed = self.top.graph.steps[name], self.top.placed[name]
        stream, output = self.top.names[name], placed.output
        size = ", ".join(f"{value} {what}" for what, value in placed.parallelism.items())
        self.lines += ["", f"    // {name}: {step.operation.kind} ({size}); {describe(output.type, output.lanes)}"]
        connections: list[tuple[str, str]] = []
        for source, port in zip(step.inputs, placed.inputs, strict=True):
            wires = self._brought(source, name, port.member, port.lanes)
            connections += _connections(port.member, wires)
        self._wires(stream, output.bits)
        module = self.modules.add(placed.module, placed.component)
        images = self.top.images[name]
        parameters = [(module.files[file], f'"{images[file]}"') for file in module.files]
        self._instance(module, stream, [*connections, *_connections(output.member, stream)], parameters)
        fire, payload = tap_names(stream)
        self.ports += [f"output {fire}", f"output {_range(output.bits)}{payload}"]
        self.lines += [
            f"    assign {fire} = {stream}__valid & {stream}__ready;",
            f"    assign {payload} = {stream}__payload;",
        ]
        self._fork(name, stream)

    def feedback(self) -> None:
        """The streams that go back to steps before, in the beats that they are given in."""
        for source, step in self.top.feedback.items():
            stream, wires = self.top.names[source], self.at[step, _FEEDBACK, source]
            self.lines += [
                "",
                f"    // feedback {source} from {step}",
                f"    assign {stream}__valid = {wires}__valid;",
                f"    assign {wires}__ready = {stream}__ready;",
                f"    assign {stream}__payload = {wires}__payload;",
            ]

    def outputs(self) -> None:
        """The streams that leave the design."""
        for name in self.top.graph.outputs:
            kind, lanes = self.top.source(name)
            stream, wires = self.top.names[name], self.at[name, _OUTPUT, ""]
            valid, ready, payload = port_names(stream)
            self.ports += [f"output {valid}", f"input {ready}", f"output {_range(payload_bits(kind, lanes))}{payload}"]
            self.lines += [
                "",
                f"    // output {name}",
                f"    assign {valid} = {wires}__valid;",
                f"    assign {wires}__ready = {ready};",
                f"    assign {payload} = {wires}__payload;",
            ]

    def _fork(self, source: str, stream: str) -> None:
        """Give a stream to all its readers."""
        readers = self.top.readers(source)
        if not readers:
            self.lines += ["    // Nobody reads it.", f"    assign {stream}__ready = 1'b1;"]
        if len(readers) == 1:
            self.at[source, *readers[0]] = stream
        if len(readers) < 2:
            return
        kind, lanes = self.top.source(source)
        module = self.modules.fork(kind, lanes, len(readers))
        connections = _connections("x", stream)
        for index, reader in enumerate(readers):
            wires = f"{stream}__fork__y{index}"
            self._wires(wires, payload_bits(kind, lanes))
            self.at[source, *reader] = wires
            connections += _connections(f"y{index}", wires)
        self._instance(module, f"{stream}__fork", connections)

    def _brought(self, source: str, step: str, member: str, lanes: int) -> str:
        """Return the wires that bring a stream to an input of a step, in beats of so many elements."""
        kind, given = self.top.source(source)
        wires, place = self.at[source, step, member], f"{self.top.names[step]}__{member}"
        depth = self.top.depth(source, step)
        if depth:
            wires = self._through(self.modules.fifo(kind, given, depth), f"{place}__fifo", wires, kind, given)
        if given != lanes:
            wires = self._through(self.modules.converter(kind, given, lanes), f"{place}__lanes", wires, kind, lanes)
        return wires

    def _through(self, module: ModuleText, instance: str, wires: str, kind: StreamType, lanes: int) -> str:
        """Put a module with ports x and y into a stream; return the wires behind it."""
        self._wires(instance, payload_bits(kind, lanes))
        self._instance(module, instance, [*_connections("x", wires), *_connections("y", instance)])
        return instance

    def _wires(self, prefix: str, bits: int) -> None:
        self.lines += [
            f"    wire {prefix}__valid;",
            f"    wire {prefix}__ready;",
            f"    wire {_range(bits)}{prefix}__payload;",
        ]

    def _instance(
        self,
        module: ModuleText,
        instance: str,
        connections: Sequence[tuple[str, str]],
        parameters: Sequence[tuple[str, str]] = (),
    ) -> None:
        clock = [("clk", "clk"), ("rst", "rst")] if module.clocked else []
        given = ",\n".join(f"        .{name}({value})" for name, value in parameters)
        chosen = f" #(\n{given}\n    )" if parameters else ""
        lines = ",\n".join(f"        .{port}({wire})" for port, wire in [*clock, *connections])
        self.lines.append(f"    {module.name}{chosen} {instance} (\n{lines}\n    );")


def _connections(member: str, wires: str) -> list[tuple[str, str]]:
    return [(f"{member}__{part}", f"{wires}__{part}") for part in ("valid", "ready", "payload")]


def _range(bits: int) -> str:
    return f"[{bits - 1}:0] " if bits > 1 else ""
