"""The cost model against ZigZag and SCALE-Sim on the same GEMMs, and how many designs it evaluates a second.

    python bench/cost.py [--markdown] [--long] [--no-peers]

The simulators are installed for this only, each in an environment of its own under build/peers, in pinned versions;
they are kept for the next run. Peers compute a systolic array of 32 by 32 with stationary weights, one product a cycle
each; ours is asked for the same machine by its closed form, and for mxhw's own unit with as many multipliers. `--long`:
SCALE-Sim's 1024^3, which takes it minutes. All seconds are those of the CPU, of one thread.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np

from mxhw.hardware import load_platform
from mxhw.hardware.gemm import (
    GemmPoints,
    gemm_costs,
    gemm_cycles,
    platform_prices,
    weight_stationary_cycles,
)
from mxhw.hardware.structure import Product

ROOT = Path(__file__).resolve().parents[1]
PEERS = {"zigzag": ("zigzag-dse==3.9.1", "six==1.17.0"), "scalesim": ("scalesim==3.0.0", "numpy==1.26.4")}
NAMES = {"zigzag": "ZigZag 3.9.1", "scalesim": "SCALE-Sim 3.0.0"}
SIDE = 32
GEMMS = {
    "128 x 128 x 128": (128,) * 3,
    "512 x 512 x 512": (512,) * 3,
    "Llama-7B 2048 x 4096 x 4096": (2048, 4096, 4096),
}
LONG = {"1024 x 1024 x 1024": (1024,) * 3}
SCALESIM_MOST = 512**3  # products; a larger GEMM takes minutes, hours or more memory than there is
LLAMA = {  # its config.json
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
    "hidden_act": "silu",
}
POINTS, ASSIGNMENTS = 16384, 1000
WARM, TRIALS = 60, 60  # designs of a search: before, and while it is measured
TARGETS = tuple(1e5 * 1.35**i for i in range(32))  # cycles a token
AREA = 2e9  # um2, memories of all weights included


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--markdown", action="store_true", help="tables as the README has them")
    options.add_argument("--long", action="store_true", help="SCALE-Sim's 1024^3 as well: three minutes more")
    options.add_argument("--no-peers", action="store_true", help="ours only: nothing is installed")
    chosen = options.parse_args()
    pythons = {} if chosen.no_peers else installed()
    rows = [
        row for name, sizes in (GEMMS | (LONG if chosen.long else {})).items() for row in gemm(name, sizes, pythons)
    ]
    show(("GEMM, 32 x 32 multipliers", "by", "cycles", "CPU seconds", "a second"), rows, chosen.markdown)
    show(("batched", "number", "CPU seconds", "a second"), [*points(), *models()], chosen.markdown)
    show(
        ("search trial: sizes and costs of a new design", "platform", "ms", "as a whole, ms"), trials(), chosen.markdown
    )
    show(("costs that add up", "candidates", "CPU seconds", "largest error"), additive(), chosen.markdown)
    show(("import", "CPU seconds"), imports(pythons), chosen.markdown)


def installed() -> dict[str, Path]:
    """Return the Python of each peer; a line for one that cannot be installed."""
    found = {}
    for peer, packages in PEERS.items():
        folder = ROOT / "build" / "peers" / peer
        python = folder / "bin" / "python"
        mark = folder / "installed.json"
        if not mark.exists() or json.loads(mark.read_text()) != list(packages):
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
            done = subprocess.run(
                [python, "-m", "pip", "install", "--quiet", *packages], capture_output=True, text=True, check=False
            )
            if done.returncode:
                said = (done.stderr.strip() or "pip said nothing").splitlines()[-1]
                print(f"{NAMES[peer]}: not measured, its packages cannot be installed: {said}", file=sys.stderr)
                continue
            mark.write_text(json.dumps(packages))
        found[peer] = python
    return found


def gemm(name: str, sizes: tuple[int, int, int], pythons: dict[str, Path]) -> list[Sequence[str]]:
    """Return the rows of one GEMM: of the peers, of their machine in closed form, of our own unit."""
    rows: list[Sequence[str]] = []
    for peer, python in pythons.items():
        if peer == "scalesim" and np.prod(sizes) > SCALESIM_MOST and name not in LONG:
            continue
        found = peer_result(python, peer, sizes)
        if isinstance(found, str):
            print(f"{NAMES[peer]}, {name}: {found}", file=sys.stderr)
            continue
        speed = f"{found['mappings'] / found['seconds']:,.0f} mappings" if "mappings" in found else ""
        rows.append((name, NAMES[peer], f"{found['cycles']:,.0f}", f"{found['seconds']:.2f}", speed))
    for title, cycles in (
        ("closed form of their array", lambda: weight_stationary_cycles(*sizes, SIDE, SIDE)),
        ("closed form of mxhw's unit", lambda: gemm_cycles(unit(*sizes))),
    ):
        seconds = best_of(cycles, 5, 1000)
        rows.append((name, title, f"{cycles():,.0f}", f"{seconds:.1e}", f"{1 / seconds:,.0f} GEMMs"))
    return rows


def peer_result(python: Path, peer: str, sizes: tuple[int, int, int]) -> dict[str, Any] | str:
    """Return what a peer says of a GEMM, or a line of why it does not."""
    command = [str(python), str(ROOT / "bench" / "cost_peer.py"), peer, *map(str, sizes), str(SIDE), str(SIDE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return "failed, " + (done.stderr.strip() or "without a word").splitlines()[-1]
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def unit(m: int, n: int, k: int) -> GemmPoints:
    """Return our unit: output stationary, a product a cycle and element, weights inside."""
    return GemmPoints(m=m, n=n, k=k, rows=SIDE, columns=SIDE, lanes=1)


def best_of(work: Callable[[], object], times: int, calls: int = 1) -> float:
    """Return the seconds of a call in the quickest of several runs of so many calls."""
    found = []
    for _ in range(times):
        start = time.process_time()
        for _ in range(calls):
            work()
        found.append((time.process_time() - start) / calls)
    return min(found)


def points() -> list[Sequence[str]]:
    """Return the rows of design points of one GEMM: cycles, traffic, area and energy together."""
    import torch

    torch.set_num_threads(1)
    base = Product(
        family="bitmod",
        weight_type="fp4",
        terms=2,
        lanes=4,
        rows=1,
        columns=1,
        n=4096,
        k=4096,
        block=128,
        code_bits=4,
        input_bits=8,
        metadata_bits=10,
        input_metadata_bits=0,
        accumulator_bits=33,
        output_bits=48,
    )
    prices = platform_prices(base, load_platform("asap7"))
    rng = np.random.default_rng(0)
    sizes = {"rows": rng.integers(1, 129, POINTS), "columns": rng.integers(1, 129, POINTS)}
    lanes = 2 ** rng.integers(0, 6, POINTS)

    def cost(port: int | None, relaxed: bool = False) -> None:
        from dataclasses import replace

        arrays: dict[str, Any] = {**sizes, "lanes": lanes}
        if relaxed:
            arrays = {name: torch.tensor(each).double().requires_grad_() for name, each in arrays.items()}
        made = replace(GemmPoints.of(base, 2048), relaxed=relaxed, **arrays)
        found = gemm_costs(made, prices, port=port)
        total = (
            found.total_energy().sum() + found.resource("area").sum() + found.cycles.sum() + found.traffic.total.sum()
        )
        if relaxed:
            total.backward()

    rows = []
    for title, work in (
        ("design points of a GEMM, weights inside, numpy", lambda: cost(None)),
        ("design points of a GEMM, weights through a port, numpy", lambda: cost(512)),
        ("the same with their derivatives, torch", lambda: cost(512, relaxed=True)),
    ):
        seconds = best_of(work, 10)
        rows.append((title, f"{POINTS:,}", f"{seconds:.4f}", f"{POINTS / seconds:,.0f}"))
    return rows


def models() -> list[Sequence[str]]:
    """Return the rows of assignments of a 32-block Llama: formats of 225 layers, columns of every product."""
    from mxhw.models import capture, load_skeleton
    from mxhw.passes.analysis.batched import BatchedModel, Candidate, UnitCosts, Workload
    from mxhw.passes.analysis.structure import Choices

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(LLAMA))
        graph = capture(load_skeleton(folder), batch=1, sequence=64)
    attention = {key: "int8-e8m0" for key, site in graph.sites.items() if site.operand in ("lhs", "rhs")}
    candidates = [Candidate("int8-e8m0", name) for name in ("bitmod4", "bitmod3", "int6-g128-s8")]
    rows, rng = [], np.random.default_rng(0)
    for folded in (True, False):
        costs = UnitCosts(Workload(prefill=2048, position=2176, rows=4), load_platform("asap7"))
        start = time.process_time()
        model = BatchedModel(
            graph, candidates, Choices(formats=attention, keys=2304), costs, columns=(8, 16, 32, 64), folded=folded
        )
        built = time.process_time() - start
        formats = rng.integers(0, len(candidates), (ASSIGNMENTS, len(model.nodes)))
        columns = rng.integers(0, 4, (ASSIGNMENTS, len(model.groups)))
        kind = "shared blocks" if folded else "a block a layer"
        title = f"Llama-3-8B, {kind}"
        rows.append((f"{title}: tables", f"{len(model.groups)} products", f"{built:.2f}", ""))
        for name, count in ((f"{title}: assignments", ASSIGNMENTS), (f"{title}: one, as a trial of a search", 1)):
            seconds = best_of(lambda n=count: model.evaluate(formats[:n], columns[:n]), 5, 1 + 20 // count)  # noqa: B023
            rows.append((name, f"{count:,}", f"{seconds:.5f}", f"{count / seconds:,.0f}"))
    # Sizes are found for each assignment: the quickest of 32 intervals, of which each step keeps to one, that fits.
    start = time.process_time()
    model = BatchedModel(graph, candidates, Choices(formats=attention, keys=2304), costs, targets=TARGETS, folded=False)
    built = time.process_time() - start
    rows.append(
        ("Llama-3-8B, a block a layer, sizes under a budget: tables", f"{len(TARGETS)} sizes", f"{built:.2f}", "")
    )
    for name, count in (("assignments", ASSIGNMENTS), ("one, as a trial of a search", 1)):

        def trial(count: int = count) -> None:
            model.evaluate(formats[:count], model.planned(formats[:count], {"area": AREA})[:, None])

        seconds = best_of(trial, 5, 1 + 20 // count)
        rows.append(
            (
                f"Llama-3-8B, a block a layer, sizes under a budget: {name}",
                f"{count:,}",
                f"{seconds:.5f}",
                f"{count / seconds:,.0f}",
            )
        )
    return rows


def searched() -> list[tuple[str, Any, Any]]:
    """Return models with platforms that most of their designs fit: name, graph, platform."""
    from mxhw.models import capture, load_model, load_skeleton

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(LLAMA))
        llama = capture(load_skeleton(folder), batch=1, sequence=64)
    demo = capture(load_model("demo"), batch=1, sequence=64)
    found = []
    for name, graph, factors in (("demo", demo, (2, 30)), ("Llama-3-8B, a block a layer", llama, (10000, 20000))):
        for target, factor in zip(("asap7", "zu7ev"), factors, strict=True):
            platform = load_platform(target)
            budget = {each: amount.value * factor for each, amount in platform.budget.items()}
            found.append((name, graph, platform.with_budget(**budget)))
    return found


def drawn_formats(graph: Any, rng: np.random.Generator, *, mixed: bool) -> dict[str, str]:
    """Return formats of bit-serial units with a weight format a layer; mixed: either family a node."""
    formats = {}
    for info in graph.nodes.values():
        dialect = mixed and rng.random() < 0.5
        for site in info.sites:
            if site.operand == "weight":
                formats[site.key] = "dialect4" if dialect else ("bitmod4", "bitmod3", "int6-g128-s8")[rng.integers(3)]
            elif site.operand != "cache":
                formats[site.key] = "dialect4-online" if dialect else "int8-e8m0"
    return formats


def trials() -> list[Sequence[str]]:
    """Return the rows of plans as a search makes them: each of a new random design; medians, after some to warm up."""
    from mxhw.passes.analysis import HardwareCosts

    rows: list[Sequence[str]] = []
    for name, graph, platform in searched():
        for mixed in (False, True):
            costs, rng, taken = HardwareCosts(graph, platform, 512), np.random.default_rng(0), []
            for _ in range(WARM + TRIALS):
                formats, tokens = drawn_formats(graph, rng, mixed=mixed), int(rng.choice((4, 8, 16)))
                start = time.process_time()
                costs.plan(formats, tokens)
                taken.append(1e3 * (time.process_time() - start))
            whole = best_of(lambda: costs.plan_directly(formats, tokens), 3)  # noqa: B023
            title = f"{name}, {'both families' if mixed else 'one family'}"
            rows.append((title, platform.name, f"{np.median(taken[WARM:]):.2f}", f"{1e3 * whole:.1f}"))
    return rows


def additive() -> list[Sequence[str]]:
    """Return the rows of costs that add up: of a weight format a layer, against whole designs."""
    from mxhw.passes.analysis import HardwareCosts

    rows: list[Sequence[str]] = []
    for name, graph, platform in searched():
        costs, rng = HardwareCosts(graph, platform, 512), np.random.default_rng(0)
        formats = drawn_formats(graph, rng, mixed=False)
        pace = costs.plan(formats, 8, 0.8).pace
        weights = ("bitmod4", "bitmod3", "int6-g128-s8")
        choices = [[{f"{info.name}:weight": each} for each in weights] for info in graph.weighted]
        start = time.process_time()
        table = costs.additive(choices, formats, 8, pace)
        seconds, worst = time.process_time() - start, 0.0
        for _ in range(20):
            choice = rng.integers(0, len(weights), len(choices)).tolist()
            chosen = formats | {key: at for unit, i in zip(choices, choice, strict=True) for key, at in unit[i].items()}
            true, total = costs.need(chosen, 8, pace), table.total(choice)
            worst = max(worst, *(abs(total[each] / true[each] - 1) for each in true if true[each]))
        rows.append((f"{name}, {platform.name}", str(len(choices) * len(weights)), f"{seconds:.2f}", f"{worst:.0e}"))
    return rows


def imports(pythons: dict[str, Path]) -> list[Sequence[str]]:
    """Return the CPU seconds that imports take in a fresh process, the best of three."""
    rows: list[Sequence[str]] = []
    wanted = {"zigzag": "zigzag.api", "scalesim": "scalesim.scale_sim"}
    for name, python, module in (
        ("mxhw.hardware.gemm", Path(sys.executable), "mxhw.hardware.gemm"),
        *((wanted[peer], python, wanted[peer]) for peer, python in pythons.items()),
    ):
        code = f"import time; t = time.process_time(); import {module}; print(time.process_time() - t)"
        found = [
            float(
                subprocess.run([str(python), "-c", code], capture_output=True, text=True, cwd=ROOT, check=True).stdout
            )
            for _ in range(3)
        ]
        rows.append((name, f"{min(found):.2f}"))
    return rows


def show(names: Sequence[str], rows: Sequence[Sequence[str]], markdown: bool) -> None:
    """Print a table."""
    if markdown:
        for row in (names, ["---"] * len(names), *rows):
            print(f"| {' | '.join(row)} |")
    else:
        widths = [max(len(row[i]) for row in (names, *rows)) for i in range(len(names))]
        for row in (names, *rows):
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print()


if __name__ == "__main__":
    main()
