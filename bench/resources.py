"""Estimates of resources against synthesis: steps of a small decoder block, at one lane and at several.

    python bench/resources.py [STEP ...]

LUTs and DSP blocks of the ECP5 family, without memories, which synthesis leaves out: the estimate's part that is logic.
Products are estimated, and therefore synthesised, without DSP blocks.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the measured block is that of the tests

from mxhw.arithmetic.dataflow import Linear  # noqa: E402
from mxhw.hardware import load_platform  # noqa: E402
from mxhw.hardware.platform import Quantity  # noqa: E402
from mxhw.passes.emit.dataflow.place import place_graph  # noqa: E402
from mxhw.passes.emit.dataflow.resources import step_resources  # noqa: E402
from mxhw.synthesis import family_named, source_of  # noqa: E402
from mxhw.synthesis.measure import resources_on  # noqa: E402
from tests.passes.emit.dataflow.blocks import BlockShape, decoder_block  # noqa: E402

STEPS = {
    "residual_1": ({}, {"lanes": 4}),
    "mul": ({}, {"lanes": 4}),
    "q_proj.requantize": ({}, {"lanes": 4}),
    "q_proj.quantize": ({"lanes": 1}, {"lanes": 4}),
    "q_rope": ({},),
    "input_layernorm": ({}, {"lanes": 4}),
    "act": ({},),
    "q_proj": ({"columns": 2}, {"columns": 8}),
    "scores": ({"lanes": 1}, {"lanes": 8}),
    "weights": ({},),
    "values": ({"lanes": 1}, {"lanes": 8}),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="*", choices=[*STEPS, []], help="only these")
    chosen = parser.parse_args().steps or list(STEPS)
    # Every memory is one of LUTs that hold so much that it takes none.
    endless = Quantity(float("inf"), "bit/LUT", "memories are left out here")
    platform = replace(load_platform("ecp5-85"), distributed_bits=endless)
    graph, family = decoder_block(BlockShape()), family_named("ecp5")
    print("| step | sizes | LUTs estimated | synthesised | error | DSPs estimated | synthesised |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for step in chosen:
        for sizes in STEPS[step]:
            placed = place_graph(graph, {step: sizes})[step]
            estimate = step_resources(graph.steps[step].operation, placed, platform)
            with TemporaryDirectory() as folder:
                found = resources_on(source_of(placed.component), None, family, Path(folder))
            product = isinstance(graph.steps[step].operation, Linear)
            counted = found.without_dsp if product or found.with_dsp is None else found.with_dsp
            said = ", ".join(f"{what} {value}" for what, value in placed.parallelism.items())
            error = estimate["lut"] / counted.lut_sites - 1
            luts = f"{estimate['lut']:.0f} | {counted.lut_sites} | {error:+.0%}"
            print(f"| {step} | {said} | {luts} | {estimate['dsp']:.0f} | {counted.dsp} |", flush=True)


if __name__ == "__main__":
    main()
