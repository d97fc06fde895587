"""Speed of emission: memory images, and an MLP from its torch module to compared RTL with an empty simulator cache.

    python bench/emission.py

Seconds of images are those of the process, writing included; those of the MLP are wall clock.
"""

import json
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

import mxhw
from mxhw.arithmetic.dataflow import IntegerGraph, Integers, Linear, Step, code_stream
from mxhw.formats import parse_format
from mxhw.ir import Assignment
from mxhw.passes.emit.dataflow import emit_dataflow, place_graph
from mxhw.passes.emit.dataflow.images import step_images
from mxhw.passes.transform.lower import calibrate, integer_inputs, lower_graph
from mxhw.sim.dataflow import DataflowSimulation

PAIRS = (("int8-e8m0", "bitmod4"), ("int8-e8m0", "int8"), ("dialect4-online", "dialect4"))
SIDE = 2048


def images(inputs: str, weights: str, folder: Path) -> dict[str, object]:
    """Return how many weights a second become images."""
    x_format, w_format = parse_format(inputs), parse_format(weights)
    x = code_stream(x_format, Integers(length=SIDE, bits=16, exponent=-12))
    linear = Linear.of(torch.randn(SIDE, SIDE), x, x_format, w_format)
    placed = place_graph(IntegerGraph({"x": x}, [Step("y", "y", linear, ("x",))], ["y"]))["y"]
    start = time.process_time()
    for file, _, text in step_images(placed):
        (folder / file).write_text(text)
    seconds = time.process_time() - start
    return {"weights": weights, "inputs": inputs, "million weights a second": round(SIDE * SIDE / seconds / 1e6, 1)}


def mlp(folder: Path) -> dict[str, object]:
    """Return the seconds of an MLP of 64, 128 and 32 features from module to comparison."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 32)).eval()
    start = time.perf_counter()
    graph = mxhw.capture(model, example=torch.zeros(1, 16, 64))
    formats = {key: "bitmod4" if site.operand == "weight" else "int8-e8m0" for key, site in graph.sites.items()}
    assignment = Assignment(graph.signature.model, formats)
    lowered = lower_graph(graph, assignment, calibrate(graph, torch.randn(4, 16, 64)))
    emit_dataflow(lowered, integer_inputs(lowered, torch.randn(2, 16, 64)), folder / "mlp", name="mlp")
    emitted = time.perf_counter()
    simulation = DataflowSimulation(folder / "mlp", cache=folder / "cache")
    built = time.perf_counter()
    runs = [simulation.run(), simulation.run(stall=0.3, seed=1)]
    end = time.perf_counter()
    return {
        "MLP": "64-128-32, biases, GELU",
        "equal": all(run.equal for run in runs),
        "beats": runs[0].beats,
        "cycles": runs[0].cycles,
        "predicted": runs[0].predicted_cycles,
        "seconds": round(end - start, 1),
        "emission": round(emitted - start, 1),
        "Verilator": round(built - emitted, 1),
        "two runs": round(end - built, 2),
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for pair in PAIRS:
            print(json.dumps(images(*pair, folder)), flush=True)
        print(json.dumps(mlp(folder), ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
