"""The README's table of families: what capture makes of each, and how exact it is.

    python bench/families.py [--only llama bloom]

Run it from the root of the repository: the tiny models are those of the tests (two layers, random weights). The graph,
captured once with symbolic sizes, is compared with the model's eager forward pass at several batches and lengths.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mxhw.ir import Graph
from mxhw.ir.coverage import uncovered
from tests.ir.zoo import (
    CONTEXT,
    FAMILIES,
    FEATURES,
    SEQUENCE,
    captured,
    counted_macs,
    eager_model,
    inputs,
    largest_difference,
    logits,
)
from tests.ir.zoo_experts import MIXTURES, captured_mixture, eager_mixture

SIZES = ((1, SEQUENCE), (3, 20), (1, 1), (2, CONTEXT))
COLUMNS = (
    "family",
    "torch operators",
    "nodes",
    "kinds",
    "products",
    "sites",
    "difference to eager",
    "MACs / torch's",
    "not in the dialect",
)


def exported_operators(model: nn.Module, x: Tensor) -> str:
    """How many operators `torch.export` gives for the eager model at one size; none for a mixture of experts."""
    if any(type(module).__name__.endswith("Experts") for module in model.modules()):
        return "–"  # the eager loop over the active experts depends on data
    named: dict[str, Any] = {} if x.is_floating_point() or not hasattr(model, "config") else {"use_cache": False}
    with torch.no_grad():
        graph = torch.export.export(model, (x,), named, strict=False).graph
    return str(len([node for node in graph.nodes if node.op == "call_function"]))


def row(name: str, model: nn.Module, graph: Graph, draw: Callable[[int, int], Tensor]) -> list[str]:
    difference, ratios = 0.0, set()
    for batch, sequence in SIZES:
        x = draw(batch, sequence)
        difference = max(difference, largest_difference(graph.run(x), logits(model, x)))
        ratios.add(f"{graph.macs(batch, sequence) / counted_macs(model, x):.4f}")
    bare: Counter[str] = Counter()
    for target, number in uncovered(graph).operators.items():
        bare[target.split(".")[1]] += number
    return [
        name,
        exported_operators(model, draw(2, SEQUENCE)),
        str(len(graph.nodes)),
        str(len({info.op for info in graph.nodes.values()})),
        str(sum(info.macs != 0 for info in graph.nodes.values())),
        str(len(graph.sites)),
        f"{difference:.1g}" if difference else "0.0",
        " … ".join(sorted(ratios)),
        ", ".join(f"{operator} ×{number}" for operator, number in bare.items()) or "–",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="FAMILY", choices=(*FAMILIES, *MIXTURES), help="some families")
    only = parser.parse_args().only
    torch.manual_seed(0)
    print("|", " | ".join(COLUMNS), "|")
    print("|" + "---|" * len(COLUMNS))
    families = [*(name for name in FAMILIES if name not in FEATURES), *MIXTURES, *FEATURES]
    for name in only or families:
        mixture = name in MIXTURES
        model = eager_mixture(name) if mixture else eager_model(name)
        graph = captured_mixture(name) if mixture else captured(name)
        shown = row(name, model, graph, lambda b, s, of="llama" if mixture else name: inputs(of, b, s))
        print("|", " | ".join(shown), "|", flush=True)


if __name__ == "__main__":
    main()
