"""Time and memory of captures without weights, memory of streaming, and the speed of graphs against eager models.

    make bench-capture        (or: python bench/capture.py [--only configs|streaming|speed])

Every big configuration, and every way to evaluate, runs in a process of its own; peak memory is that of the process,
imports included, unless a column says "above imports". Speeds are ratios of medians over interleaved rounds, on one
thread. Sources of the configurations: the config.json of each model on the hub (tests/models/configs).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch
from timing import interleaved

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the measured models are those of the tests
CONFIGS = ("llama-3-8b", "llama-3-70b", "mixtral-8x7b")
SEQUENCE = 2048  # tokens of the captures
MEGABYTE = 1e6
ROUNDS = 6
CAPTURE = """
import json, sys, time
began = time.perf_counter()
import torch, transformers.models.auto.modeling_auto
from mxhw.models import capture, load_skeleton
from tests.models.peak import peak
start, before = time.perf_counter(), time.process_time()
graph = capture(load_skeleton(sys.argv[1]), sequence=int(sys.argv[2]))
end, after = time.perf_counter(), time.process_time()
json.dump({
    "imports": start - began, "seconds": end - start, "processor": after - before,
    "nodes": len(graph.nodes), "blocks": len(graph.blocks),
    "layers": sum(map(len, graph.blocks.values())), "parameters": graph.parameters, "macs": graph.macs(),
    "bytes": peak(),
}, sys.stdout)
"""


def in_process(*arguments: str) -> dict[str, Any]:
    """Run Python on one thread in a process of its own, and return the JSON object that it prints."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *arguments], stdout=subprocess.PIPE, text=True, check=True, env=environment)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def bench_configs() -> None:
    """Print what capturing each configuration takes."""
    print(f"\n## Captured from the configuration alone, bfloat16, batch and sequence symbolic; MACs at 1x{SEQUENCE}\n")
    print(
        "| config | parameters | imports, s | capture, s | processor, s | peak, MB | nodes | layers | unique | MACs |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name in CONFIGS:
        found = in_process("-c", CAPTURE, str(ROOT / f"tests/models/configs/{name}.json"), str(SEQUENCE))
        print(
            f"| {name} | {found['parameters'] / 1e9:.2f} B | {found['imports']:.1f} | {found['seconds']:.1f} "
            f"| {found['processor']:.1f} | {found['bytes'] / MEGABYTE:.0f} | {found['nodes']} | {found['layers']} "
            f"| {found['blocks']} | {found['macs'] / 1e12:.2f} T |",
            flush=True,
        )


def bench_streaming() -> None:
    """Print the memory of evaluation in memory and streamed, and check that the scores are equal."""
    from tests.models.large import save_large_model

    with tempfile.TemporaryDirectory() as folder:
        size, block = save_large_model(Path(folder))
        shards = len(list(Path(folder).glob("*.safetensors")))
        print(f"\n## Evaluation of {size / 1e9:.2f} B float32 parameters in {shards} shards, 4 windows of 128 tokens\n")
        print(f"A block has {block / MEGABYTE:.0f} MB, all weights {4 * size / MEGABYTE:.0f} MB.\n")
        print("| | in memory: above imports, MB | streamed: above imports, MB | scores |")
        print("|---|---|---|---|")
        for name, what in (("none", "float model"), ("mxfp4", "float model and mxfp4 weights")):
            script = str(ROOT / "tests/models/memory.py")
            whole, streamed = (in_process(script, folder, mode, "4", "128", name) for mode in ("in-memory", "streamed"))
            equal = "equal" if whole["scores"] == streamed["scores"] else "DIFFERENT"
            print(
                f"| {what} | {whole['bytes'] / MEGABYTE:.0f} | {streamed['bytes'] / MEGABYTE:.0f} | {equal} |",
                flush=True,
            )
            if equal != "equal":
                raise SystemExit("streamed scores differ from those in memory")


def bench_speed() -> None:
    """Print the time of graphs as ratios: to eager Hugging Face, and quantized to float."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from mxhw.flow.assignments import uniform_assignment
    from mxhw.ir import capture_language_model
    from mxhw.passes.transform import Quantize, QuantizeConfig

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=12,
        num_attention_heads=12,
        num_key_value_heads=12,
        vocab_size=32000,
        max_position_embeddings=512,
    )
    model = LlamaForCausalLM(config).eval()
    model.set_attn_implementation("eager")
    graph = capture_language_model(model, sequence=512)
    ids = torch.randint(0, 32000, (1, 512))

    def eager() -> torch.Tensor:
        with torch.no_grad():
            logits: torch.Tensor = model(ids, use_cache=False).logits
            return logits

    if not torch.equal(graph.run(ids), eager()):
        raise SystemExit("the graph differs from the eager model")
    actions: dict[str, Any] = {"eager Hugging Face": eager, "graph": partial(graph.run, ids)}
    for weights, inputs in (("mxfp4", "mxfp8-e4m3"), ("bitmod4", "int8-e8m0")):
        design = uniform_assignment(graph, weights, inputs)
        quantized = Quantize(QuantizeConfig(assignment=design))(graph).graph
        actions[f"graph, {weights} weights, {inputs} inputs and attention"] = lambda quantized=quantized: quantized.run(
            ids
        )
    medians = interleaved(actions, ROUNDS)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"\n## One forward pass, {parameters / 1e6:.0f} M parameters, 1x512 tokens, float32, one thread\n")
    print(f"Medians of {ROUNDS} interleaved rounds; quantized weights are folded.\n")
    print("| | ms | to eager | to the float graph |\n|---|---|---|---|")
    for name, seconds in medians.items():
        to_eager, to_graph = seconds / medians["eager Hugging Face"], seconds / medians["graph"]
        print(f"| {name} | {1e3 * seconds:.0f} | {to_eager:.2f} | {to_graph:.2f} |")


def main() -> None:
    benches = {"configs": bench_configs, "streaming": bench_streaming, "speed": bench_speed}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=benches, help="one of the three")
    only = parser.parse_args().only
    for name, bench in benches.items():
        if only in (None, name):
            bench()


if __name__ == "__main__":
    main()
