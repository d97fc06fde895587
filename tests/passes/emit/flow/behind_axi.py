"""Runs the bench of AXI tops on a design's folder with the design's own beats."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from mxhw.passes.emit.flow.interface import axi_streams
from mxhw.sim.dataflow_design import DataflowDesign
from tests.rtl_templates.axi.design import Traffic
from tests.rtl_templates.axi.simulate import case, run_bench


def run_behind_axi(folder: Path, scratch: Path, tests: Sequence[str], *, bus: int) -> dict[str, str]:
    """Return test → "" or why it failed; the AXI top has been written to the folder with this ``bus``."""
    design = DataflowDesign.load(folder)
    streams = axi_streams(design)
    length = {stream.name: stream.beats or 1 for stream in streams}

    def tokens(name: str, path: str) -> list[list[int]]:
        words = [int(line, 16) for line in (folder / path).read_text().split()]
        return [words[i : i + length[name]] for i in range(0, len(words), length[name])]

    traffic = Traffic(
        {name: tokens(name, stream.beats) for name, stream in design.inputs.items()},
        {name: tokens(name, stream.beats) for name, stream in design.outputs.items()},
    )
    content = case(traffic, bus, streams, bytes.fromhex(design.hash))
    if design.images:
        shutil.copytree(folder / "images", scratch / "images")
    sources = [folder / file for file in (folder / "files.f").read_text().split()]
    return run_bench(scratch, design.name, sources, [], content, only=tests)
