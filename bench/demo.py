"""Speed of evaluation, emission and co-simulation on the shipped model, each against a named baseline.

    python bench/demo.py [--rounds 5]

Evaluation is a ratio to the float graph's forward pass in the same process, in interleaved rounds, median; emission is
weights a second including encoding and the reference GEMM; co-simulation is simulated clock cycles a second.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from timing import interleaved, seconds
from torch import Tensor

from mxhw.flow.assignments import uniform_assignment
from mxhw.ir import Graph
from mxhw.models import capture, load_model, read_ids, windows
from mxhw.passes.emit import EmitLayers, EmitLayersConfig
from mxhw.passes.transform import Quantize, QuantizeConfig
from mxhw.sim.cosim import run_cosim

DESIGNS = {
    "bitmod4 × int8-e8m0": ("bitmod4", "int8-e8m0"),
    "dialect4 × dialect4-online": ("dialect4", "dialect4-online"),
}
LAYER = "model.layers.0.mlp.gate_proj"


def evaluation(graph: Graph, tokens: Tensor, rounds: int) -> Table:
    runs = {"float graph": graph}
    for name, (weights, inputs) in DESIGNS.items():
        assignment = uniform_assignment(graph, weights, inputs)
        for arithmetic in ("float", "hardware"):
            quantized = Quantize(QuantizeConfig(assignment=assignment, arithmetic=arithmetic))(graph).graph
            runs[f"{name}, {arithmetic} arithmetic"] = quantized
    times = interleaved({name: partial(run.run, tokens) for name, run in runs.items()}, rounds)
    table = Table(title=f"forward pass of {tokens.numel()} tokens, {torch.get_num_threads()} threads")
    table.add_column("graph")
    table.add_column("× float graph", justify="right")
    for name, median in times.items():
        table.add_row(name, f"{median / times['float graph']:.2f}")
    return table


def hardware(graph: Graph, tokens: Tensor) -> Table:
    table = Table(title=f"{LAYER}, {tokens.numel()} tokens, array of 4×8")
    for column in ("design", "emission, s", "outputs", "mismatches", "cycles", "build, s", "cycles/s"):
        table.add_column(column, justify="left" if column == "design" else "right")
    for name, (weights, inputs) in DESIGNS.items():
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            config = EmitLayersConfig(
                assignment=uniform_assignment(graph, weights, inputs), tokens=tokens, folder=out, nodes=[LAYER]
            )
            emission = seconds(partial(EmitLayers(config), graph))
            case = run_cosim(out, cache=out / "cache").cases[0]
            table.add_row(
                name,
                f"{emission:.1f}",
                f"{case.outputs:,}",
                f"{case.mismatches}",
                f"{case.cycles_stall_free:,}",
                f"{case.build_seconds:.1f}",
                f"{case.cycles_per_second:,.0f}",
            )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default: 5)")
    args = parser.parse_args()
    loaded = load_model("demo")
    text = windows(read_ids("heldout", loaded), 512, 4)
    graph = capture(loaded, sequence=512)
    console = Console()
    console.print(evaluation(graph, text, args.rounds))
    console.print(hardware(graph, text[:1, :32]))


if __name__ == "__main__":
    main()
