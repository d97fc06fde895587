"""What is in a design's folder for FPGA tools: its files, its ports, and the names of what is written beside them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mxhw.rtl_templates.axi import AxiStream
from mxhw.rtl_templates.axi.top import CLOCK, AxiTop
from mxhw.sim.dataflow_design import DataflowDesign, StreamBeats
from mxhw.synthesis.design import DesignPort, VerilogDesign

__all__ = ["FlowFiles", "axi_streams", "core_of", "top_of"]


@dataclass(frozen=True)
class FlowFiles:
    """Files of a design, relative to its folder.

    Attributes
    ----------
    sources : Verilog of the core, its top first.
    axi : Verilog of the AXI top, and of the modules that it needs beside the core.
    images : what `$readmemh` reads.
    """

    sources: tuple[str, ...]
    axi: tuple[str, ...]
    images: tuple[str, ...]

    @classmethod
    def of(cls, design: DataflowDesign) -> "FlowFiles":
        """Return the files of a design."""
        sent = {stream.beats for stream in design.inputs.values()}
        images = tuple(image for image in design.images if image not in sent)
        return cls(design.sources, (f"{design.name}.v", f"{design.name}_axi.v"), images)


def axi_streams(design: DataflowDesign) -> tuple[AxiStream, ...]:
    """Return the streams of a design, inputs first.

    One whose tokens differ in length has no number of beats; nor have requests and what they choose, which are not as
    many as the tokens of other streams.
    """
    lengths = {step.stream: step.token_beats for step in design.steps}

    language = design.language
    uncounted = set() if language is None else {language.requests, language.tokens, language.weights}

    def beats(name: str, stream: StreamBeats) -> int | None:
        if name in uncounted:
            return None
        length = lengths.get(name, stream.count // design.tokens)
        return length if isinstance(length, int) else None

    sides: tuple[tuple[Mapping[str, StreamBeats], bool], ...] = ((design.inputs, True), (design.outputs, False))
    return tuple(
        AxiStream(name, is_input, stream.width, beats(name, stream))
        for streams, is_input in sides
        for name, stream in streams.items()
    )


def core_of(folder: Path, design: DataflowDesign) -> VerilogDesign:
    """Return the core alone, as synthesis takes it."""
    ports = [DesignPort("rst", 1, True)]
    for stream in axi_streams(design):
        ports += [
            DesignPort(f"{stream.name}_valid", 1, stream.is_input),
            DesignPort(f"{stream.name}_ready", 1, not stream.is_input),
            DesignPort(f"{stream.name}_payload", stream.width, stream.is_input),
        ]
    return VerilogDesign(folder, design.sources, design.top, "clk", tuple(ports))


def top_of(folder: Path, design: DataflowDesign, top: AxiTop) -> VerilogDesign:
    """Return the design with its AXI ports, as synthesis takes it."""
    files = FlowFiles.of(design)
    ports = [DesignPort("aresetn", 1, True), *(DesignPort(p.name, p.width, p.is_input) for p in top.ports)]
    return VerilogDesign(folder, (*files.axi, *files.sources), design.name, CLOCK, tuple(ports))
