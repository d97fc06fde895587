"""An emitted dataflow design as a library: its files are what design.json says, and so are its ports."""

from pathlib import Path

from mxhw.errors import InputError
from mxhw.sim.dataflow_design import DataflowDesign
from mxhw.sim.design import DESIGN_FILE, check_image
from mxhw.sim.library import Library, build_library_from_sources
from mxhw.sim.streams import check_names

__all__ = ["build_dataflow_library", "check_images"]


def check_images(folder: Path, design: DataflowDesign) -> None:
    """Raise InputError unless every memory image is there with all its words, and of the design's assignment."""
    assignment = None if design.language is None else design.language.assignment_hash
    for name, words in design.images.items():
        check_image(folder / name, words, assignment)


def build_dataflow_library(folder: Path, design: DataflowDesign, *, cache: Path | None = None) -> Library:
    """Compile the design in `folder`, or find it compiled.

    Raises
    ------
    InputError
        If a source is missing, or the top has other streams and taps than design.json says, or of other widths.
    MissingToolError
        If Verilator or g++ is absent.
    BuildError
        If a tool refuses the Verilog.
    """
    library = build_library_from_sources(
        [folder / name for name in design.sources], design.top, folder=folder, cache=cache
    )
    streams = {**design.inputs, **design.outputs}
    check_names("stream in design.json", streams, library.streams)
    check_names("tap in design.json", {f"tap_{step.stream}": step for step in design.steps}, library.taps)
    said = {f"{name}_payload": item.width for name, item in streams.items()}
    said |= {step.payload: step.width for step in design.steps}
    for name, width in said.items():
        if (found := library.ports[name].width) != width:
            problem = f"{name} is {found} bits wide, but {DESIGN_FILE} says {width}"
            raise InputError(f"{folder}: {problem}; emit the design again")
    return library
