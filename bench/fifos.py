"""Depths of FIFOs: the computed ones against the smallest that work, in the emitted Verilog of a decoder block.

    python bench/fifos.py [--tokens 16] [--hidden 32]

Works means: no deadlock, all beats right, and at most 1 % more cycles than with FIFOs that never fill. One build serves
all depths: in the emitted Verilog every FIFO is replaced by one of the same timing whose depth is read when the
simulation starts. A FIFO is bisected while the others have their computed depths.
"""

import argparse
import re
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the measured block is that of the tests

from mxhw.passes.emit.dataflow.emit import emit_dataflow  # noqa: E402
from mxhw.passes.emit.dataflow.fifos import fifo_depths  # noqa: E402
from mxhw.passes.emit.dataflow.names import stream_names  # noqa: E402
from mxhw.passes.emit.dataflow.place import place_graph  # noqa: E402
from mxhw.passes.emit.dataflow.schedule import TimedGraph  # noqa: E402
from mxhw.sim.dataflow import DataflowSimulation  # noqa: E402
from tests.passes.emit.dataflow.blocks import BlockShape, decoder_block  # noqa: E402
from tests.passes.emit.dataflow.graphs import drawn  # noqa: E402

LOSS = 0.01
ENDLESS = 4096  # beats
INSTANCE = re.compile(r"^    mxhw_fifo_(\d+)x\d+ (\w+) \($", re.MULTILINE)
# The registers of `SkidBuffer` with depth 2, above it Amaranth's buffered queue: an output register behind a memory.
FIFO = """
module bench_fifo #(parameter NUMBER = 0, parameter WIDTH = 1)
    (input clk, input rst, input x__valid, output x__ready, input [WIDTH-1:0] x__payload,
     output y__valid, input y__ready, output [WIDTH-1:0] y__payload);
  reg [31:0] depths [0:1023];
  initial $readmemh("depths.hex", depths);
  wire [31:0] depth = depths[NUMBER];
  wire skid = depth == 2;
  reg [WIDTH-1:0] words [0:8191];
  reg [WIDTH-1:0] head = 0;
  reg [31:0] written = 0, read = 0;
  reg there = 0;
  wire [31:0] level = written - read;
  wire move = level != 0 && (skid ? y__ready : (!there || y__ready));
  assign x__ready = level != (skid ? 2 : depth - 1);
  assign y__valid = skid ? level != 0 : there;
  assign y__payload = skid ? words[read[12:0]] : head;
  always @(posedge clk) begin
    if (x__valid && x__ready) begin words[written[12:0]] <= x__payload; written <= written + 1; end
    if (move) begin head <= words[read[12:0]]; read <= read + 1; there <= 1; end
    else if (y__ready) there <= 0;
    if (rst) begin written <= 0; read <= 0; there <= 0; end
  end
endmodule
"""


class Adjustable:
    """An emitted design whose FIFOs have any depths without another build."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        top = next(folder.glob("*_core.v"))
        text, self.instances = top.read_text(), []

        def replaced(found: re.Match[str]) -> str:
            self.instances.append(found[2])
            return f"    bench_fifo #(.NUMBER({len(self.instances) - 1}), .WIDTH({found[1]})) {found[2]} ("

        top.write_text(INSTANCE.sub(replaced, text) + FIFO)
        self._write({})
        self._simulation = DataflowSimulation(folder)

    def cycles(self, depths: dict[str, int]) -> int | None:
        """Return the cycles of a run, or None if it deadlocks; instance → depth, endless where nothing is said."""
        self._write(depths)
        result = self._simulation.run()
        if not result.equal and result.error is None:
            raise SystemExit(f"the design computes something else: {result.first}")
        return result.cycles

    def _write(self, depths: dict[str, int]) -> None:
        words = [f"{depths.get(name, ENDLESS):x}" for name in self.instances]
        (self.folder / "depths.hex").write_text("\n".join(words + ["2"] * (1024 - len(words))) + "\n")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--hidden", type=int, default=32)
    options = parser.parse_args()
    shape = BlockShape(hidden=options.hidden, ffn=options.hidden * 3 // 2, keys=options.tokens)
    graph = decoder_block(shape)
    placed = place_graph(graph)
    computed = fifo_depths(graph, placed)
    names = stream_names([*graph.inputs, *graph.steps])
    edges = {}
    for step in graph.steps.values():
        for source, port in zip(step.inputs, placed[step.name].inputs, strict=True):
            edges[f"{names[step.name]}__{port.member}__fifo"] = (source, step.name)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "block"
        emit_dataflow(graph, drawn(graph, options.tokens), folder, name="block", fifos=computed)
        design = Adjustable(folder)
        depths = {instance: computed[edges[instance]] for instance in design.instances}
        endless, all_computed = design.cycles({}), design.cycles(depths)
        assert endless is not None
        predicted = TimedGraph(graph, placed, np.arange(options.tokens), computed).cycles
        print(f"cycles: {endless} with endless FIFOs, {all_computed} with the computed ones (predicted {predicted})\n")
        print("| FIFO | computed | smallest | ratio |\n|---|---:|---:|---:|")
        for instance, depth in depths.items():
            low, high = 2, depth
            while low < high:
                middle = (low + high) // 2
                found = design.cycles(depths | {instance: middle})
                if found is not None and found <= (1 + LOSS) * endless:
                    high = middle
                else:
                    low = middle + 1
            source, step = edges[instance]
            print(f"| {source} → {step} | {depth} | {high} | {depth / high:.2f} |", flush=True)


if __name__ == "__main__":
    main()
