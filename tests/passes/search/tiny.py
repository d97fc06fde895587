"""The tiny search of the tests; `python -m tests.passes.search.tiny FILE N` runs it in a process that is killed."""

import sys
from pathlib import Path

import torch

from mxhw.hardware import load_platform
from mxhw.ir import Graph
from mxhw.models import capture
from mxhw.passes.analysis import QualityEvaluator
from mxhw.passes.search import Problem, SearchConfig, SearchResult, SearchSpace, SpaceConfig, search

TOKENS = 8


def tiny_graph() -> Graph:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=16,
        initializer_range=0.3,
    )
    return capture(LlamaForCausalLM(config).eval(), sequence=TOKENS)


def tiny_problem(graph: Graph, **changes) -> Problem:
    windows = torch.randint(0, 32, (2, TOKENS), generator=torch.Generator().manual_seed(4))
    settings = {"platform": load_platform("asap7").with_budget(area=2e5), "sequence": TOKENS} | changes
    return Problem(graph=graph, evaluator=QualityEvaluator(graph, windows), **settings)


def tiny_space(graph: Graph, **changes) -> SearchSpace:
    return SearchSpace(graph, SpaceConfig(**({"rows": (1, 2)} | changes)))


def tiny_search(graph: Graph, path: Path | None, trials: int, strategy: str = "tpe", seed: int = 0) -> SearchResult:
    config = SearchConfig(trials=trials, strategy=strategy, seed=seed)
    return search(tiny_problem(graph), tiny_space(graph), config, where=path)


if __name__ == "__main__":
    tiny_search(tiny_graph(), Path(sys.argv[1]), int(sys.argv[2]))
