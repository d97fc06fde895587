"""A tiny random Llama with tied embeddings and grouped-query attention, captured once."""

import pytest
import torch
from torch import Tensor

from mxhw.ir import Assignment, Graph
from mxhw.models import capture
from mxhw.passes.analysis import QualityEvaluator
from mxhw.passes.search import SearchSpace, SpaceConfig

TOKENS = 16


@pytest.fixture(scope="session")
def tiny_model() -> torch.nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        attn_implementation="eager",
        initializer_range=0.2,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="session")
def tiny(tiny_model: torch.nn.Module) -> Graph:
    return capture(tiny_model, batch=1, sequence=TOKENS)


@pytest.fixture(scope="session")
def windows() -> Tensor:
    return torch.randint(0, 64, (3, TOKENS), generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="session")
def evaluator(tiny: Graph, windows: Tensor) -> QualityEvaluator:
    return QualityEvaluator(tiny, windows, bytes_per_token=1.0)


@pytest.fixture(scope="session")
def space(tiny: Graph) -> SearchSpace:
    return SearchSpace(tiny, SpaceConfig(rows=(2, 4)))


@pytest.fixture(scope="session")
def uniform(tiny: Graph, space: SearchSpace):
    """Return a function from weight, input and attention format to a uniform assignment."""

    def assign(weight: str, inputs: str, attention: str) -> Assignment:
        formats = {}
        for key, site in tiny.sites.items():
            if site.operand != "cache":
                formats[key] = {"weight": weight, "input": inputs}.get(site.operand, attention)
        return Assignment("tiny", formats)

    return assign
