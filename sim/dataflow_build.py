"""An emitted dataflow design as a library: its files are what design.json says, and so are its ports."""

from pathlib import Path

import numpy as np

from mxhw.errors import InputError
from mxhw.sim.beats import Array, read_beats
from mxhw.sim.dataflow_design import DataflowDesign, DataflowStep, StreamBeats
from mxhw.sim.design import DESIGN_FILE, check_image
from mxhw.sim.library import Library, build_library_from_sources
from mxhw.sim.streams import check_names

__all__ = ["build_dataflow_library", "check_images", "read_stream"]


def check_images(folder: Path, design: DataflowDesign) -> None:
    """Raise InputError unless every memory image is there with all its words, and of the design's assignment."""
    assignment = None if design.language is None else design.language.assignment_hash
    for name, words in design.images.items():
        check_image(folder / name, words, assignment)


def read_stream(folder: Path, record: StreamBeats | DataflowStep, *, once: bool = False) -> Array:
    """Return all beats of a port or a step, or those of its file ``once``; InputError if the file is not as it says."""
    try:
        found = read_beats(folder / record.beats, record.width, record.count // record.repeat)
    except InputError as error:
        raise InputError(f"{error}; emit the design again") from error
    return found if once or record.repeat == 1 else np.concatenate([found] * record.repeat)


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
