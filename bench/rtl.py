"""Speed of simulation and of emission for GEMM arrays with real beats, both engines in the same minutes.

    python bench/rtl.py [--sizes 8 16] [--lanes 1 4] [--rounds 5] [--tokens 256] [--json]

Simulation is clock cycles a second without stalls, of the whole run as a user sees it (beats in, beats compared): the
bulk engine from arrays in one call; cocotb with its bench, start of the simulator included, which a short layer would
measure alone. Both stream the same layer, in interleaved rounds; the best round counts, by the wall clock and by the
processor's time (of this process and those it starts), which other work on the machine hardly changes. A layer has
`--tokens` rows for every lane, so that every array runs for as many cycles. Its weights are as those of a network:
small, with rows of different sizes, so that the accumulator is as wide as there.

Building is from an empty cache, with what does not depend on the design built before. Emission is Amaranth to Verilog,
one text per kind of element, median.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from timing import interleaved, seconds

from mxhw.passes.emit import GemmSource, emit_gemm
from mxhw.rtl_templates import BitModGemm, DialectGemm, GemmShape, gemm_verilog
from mxhw.sim import GemmDesign, Library, build_library_from_sources
from mxhw.sim.cocotb_engine import Simulator, compile_verilator, run_bench

FORMATS = {"DialectGemm": ("dialect4", "dialect4-online"), "BitModGemm": ("bitmod4", "int8-e8m0")}
UNITS: dict[str, Callable[[GemmShape], object]] = {
    "DialectGemm": lambda shape: DialectGemm(shape, weight_exponents=(8, 12)),
    "BitModGemm": lambda shape: BitModGemm(shape, weight_type="fp4"),
}
N, K = 64, 256


class Layer:
    """One emitted layer with both engines built."""

    def __init__(self, name: str, size: int, lanes: int, tokens: int, folder: Path) -> None:
        generator = torch.Generator().manual_seed(0)
        weight, inputs = (torch.randn(rows, K, generator=generator) for rows in (N, tokens))
        sizes = 0.02 * 2 ** torch.randn(N, 1, generator=generator)
        weights, activations = FORMATS[name]
        source = GemmSource(
            node=f"{name}{size}x{lanes}",
            weight=weight * sizes,
            inputs=inputs,
            weight_format=weights,
            input_format=activations,
            rows=size,
            columns=size,
            lanes=lanes,
        )
        emitted = emit_gemm(source, folder / "rtl")
        self.folder, self.design = emitted.folder, emitted.design
        self.library: Library = build_library_from_sources(
            self._sources, self.design.top, folder=self.folder, cache=folder / "cache"
        )
        self.simulator: Simulator = compile_verilator(self._sources, self.design.top, cache=folder / "cache")
        self.x, self.y = (_words(self.folder / f"{port}_beats.hex") for port in ("x", "y"))

    @property
    def _sources(self) -> list[Path]:
        return [self.folder / name for name in self.design.verilog]

    def bulk(self) -> None:
        """Stream the layer in this process; every beat must be exact and every cycle as predicted."""
        run = self.library.run({"x": self.x}, {"y": len(self.y)}, limit=self.design.idle_limit)
        assert (run.ints("y"), run.cycles) == (self.y, self.design.cycles_stall_free)

    def cocotb(self) -> None:
        """The same through cocotb."""
        run = run_bench(self.simulator, self.folder, [(0.0, 0)], ["y"])[0]
        assert (run.outputs["y"], run.cycles) == (self.y, self.design.cycles_stall_free)


def best(actions: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, float]]:
    """Return the fewest seconds of every action over `rounds`: by the wall clock, and of processor time."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            wall, processor = time.perf_counter(), _processor_seconds()
            action()
            spent[name].append((time.perf_counter() - wall, _processor_seconds() - processor))
    return {name: (min(wall for wall, _ in times), min(cpu for _, cpu in times)) for name, times in spent.items()}


def _processor_seconds() -> float:
    usage = os.times()
    return usage.user + usage.system + usage.children_user + usage.children_system


def simulation(name: str, size: int, lanes: int, tokens: int, rounds: int, folder: Path) -> dict[str, object]:
    layer = Layer(name, size, lanes, tokens * lanes, folder)
    times = best({"bulk": layer.bulk, "cocotb": layer.cocotb}, rounds)
    design: GemmDesign = layer.design
    rates = {engine: [design.cycles_stall_free / time for time in both] for engine, both in times.items()}
    return {
        "array": f"{name} {size}×{size}, {lanes} {'lane' if lanes == 1 else 'lanes'}",
        "accumulator_bits": design.accumulator_width,
        "cycles": design.cycles_stall_free,
        "bulk_cycles_per_second": rates["bulk"][0],
        "bulk_cycles_per_cpu_second": rates["bulk"][1],
        "bulk_macs_per_second": design.m * design.n * design.k / times["bulk"][0],
        "cocotb_cycles_per_second": rates["cocotb"][0],
        "cocotb_cycles_per_cpu_second": rates["cocotb"][1],
        "ratio": times["cocotb"][0] / times["bulk"][0],
        "ratio_of_cpu_seconds": times["cocotb"][1] / times["bulk"][1],
        "bulk_build_seconds": layer.library.build.seconds,
        "cocotb_build_seconds": layer.simulator.seconds,
    }


def emission(name: str, size: int, rounds: int) -> dict[str, object]:
    unit = UNITS[name](GemmShape(rows=size, columns=size, n=N, k=K))
    text = gemm_verilog(unit, "top")
    time = interleaved({"emission": partial(gemm_verilog, unit, "top")}, rounds)["emission"]
    elements = sum(line.startswith("module top_pe(") for line in text.splitlines())
    return {
        "array": f"{name} {size}×{size}",
        "seconds": time,
        "verilog_lines": text.count("\n"),
        "texts_of_the_element": elements,
    }


def table(title: str, records: list[dict[str, object]]) -> Table:
    """Return a row a measure and a column an array."""
    made = Table(title=title)
    for place, record in enumerate([{"array": ""}, *records]):
        made.add_column(str(record["array"]), justify="right" if place else "left")
    for measure in list(records[0])[1:]:
        made.add_row(measure.replace("_", " "), *(_shown(record[measure]) for record in records))
    return made


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value > 100 else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _words(path: Path) -> list[int]:
    return [int(line, 16) for line in path.read_text().split()]


def _warm(folder: Path) -> None:
    """Compile what every build shares."""
    source = folder / "warm.v"
    source.write_text("module warm (input clk, input rst, output reg q); always @(posedge clk) q <= rst; endmodule\n")
    build_library_from_sources([source], "warm", cache=folder / "cache")
    compile_verilator([source], "warm", ports=("clk", "rst", "q"), cache=folder / "cache")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 16], help="array sizes (default: 8 16)")
    parser.add_argument("--lanes", type=int, nargs="+", default=[1, 4], help="lanes of an element (default: 1 4)")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default: 5)")
    parser.add_argument("--tokens", type=int, default=256, help="rows of activations for every lane (default: 256)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        shared = seconds(partial(_warm, folder))
        simulated = [
            simulation(name, size, lanes, args.tokens, args.rounds, folder)
            for size in args.sizes
            for lanes in args.lanes
            for name in FORMATS
        ]
    emitted = [emission(name, size, args.rounds) for size in args.sizes for name in FORMATS]
    if args.json:
        print(json.dumps({"shared_build_seconds": shared, "simulation": simulated, "emission": emitted}, indent=1))
        return
    console = Console()
    each = len(simulated) // len(args.sizes)
    for place in range(0, len(simulated), each):
        title = f"simulation of {args.tokens} tokens a lane, N = {N}, K = {K}, without stalls"
        console.print(table(title, simulated[place : place + each]))
    console.print(table("Amaranth to Verilog", emitted))
    console.print(f"what all builds share, compiled once: {shared:.0f} s")


if __name__ == "__main__":
    main()
