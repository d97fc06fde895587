"""Tiny random models of families, lowered whole: what tests of lowering and of emission share."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from mxhw.ir import Assignment, Graph
from mxhw.models import capture
from mxhw.passes.transform.lower import LoweredGraph, calibrate, lower_graph

__all__ = ["FAMILIES", "TOKENS", "VOCABULARY", "WINDOW", "Lowered", "build", "eight_bits"]

VOCABULARY, TOKENS, WINDOW = 48, 24, 8

_COMMON = {
    "vocab_size": VOCABULARY,
    "initializer_range": 0.3,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
_LLAMA = {
    **_COMMON,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
_GPT = {**_COMMON, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}

FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", _LLAMA),
    "mistral": ("MistralConfig", "MistralForCausalLM", {**_LLAMA, "sliding_window": WINDOW}),
    "gpt2": ("GPT2Config", "GPT2LMHeadModel", _GPT),
    "gpt_bigcode": ("GPTBigCodeConfig", "GPTBigCodeForCausalLM", _GPT),
    "phi3": ("Phi3Config", "Phi3ForCausalLM", {**_LLAMA, "pad_token_id": 0}),
    "gemma": ("GemmaConfig", "GemmaForCausalLM", {**_LLAMA, "head_dim": 8}),
    "gpt_neox": (
        "GPTNeoXConfig",
        "GPTNeoXForCausalLM",
        {
            **{key: value for key, value in _LLAMA.items() if key != "num_key_value_heads"},
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 1.0},
        },
    ),
    "starcoder2": ("Starcoder2Config", "Starcoder2ForCausalLM", _LLAMA),
}


def build(family: str, **changes: Any) -> nn.Module:
    """Return a model of two layers with random weights and biases; the same one every time."""
    torch.manual_seed(0)
    config, model, options = FAMILIES[family]
    made: nn.Module = getattr(transformers, model)(getattr(transformers, config)(**{**options, **changes}))
    for name, parameter in made.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.5)
        elif parameter.dim() == 1:
            nn.init.uniform_(parameter, 0.5, 1.5)  # gains
    return made.eval()


def eight_bits(graph: Graph, weights: str = "int8", inputs: str = "int8-e8m0") -> Assignment:
    """Weights and inputs of 8 bits, or in other formats; attention as the integers compute it."""
    given = {"weight": weights, "input": inputs}
    formats = {
        key: given.get(site.operand, "int8-e8m0")
        for key, site in graph.sites.items()
        if site.operand != "cache" and not key.endswith("pv:lhs")
    }
    return Assignment(graph.signature.model, formats)


@dataclass(frozen=True)
class Lowered:
    """A family in integers.

    Attributes
    ----------
    family : of :data:`FAMILIES`.
    changes : options of its configuration that differ, as pairs.
    formats : another assignment than that of 8 bits.
    """

    family: str
    changes: tuple[tuple[str, Any], ...] = ()
    formats: Callable[[Graph], Assignment] = eight_bits

    @cached_property
    def graph(self) -> Graph:
        return capture(build(self.family, **dict(self.changes)), batch=1, sequence=TOKENS)

    @cached_property
    def tokens(self) -> Tensor:
        """Token ids [2, tokens] that are no part of the calibration."""
        return torch.randint(0, VOCABULARY, (2, TOKENS), generator=torch.Generator().manual_seed(7))

    @cached_property
    def ranges(self) -> dict[str, float]:
        ids = torch.randint(0, VOCABULARY, (16, TOKENS), generator=torch.Generator().manual_seed(8))
        return calibrate(self.graph, ids)

    @cached_property
    def assignment(self) -> Assignment:
        return self.formats(self.graph)

    @cached_property
    def whole(self) -> LoweredGraph:
        return self.part(None)

    def part(self, nodes: Any) -> LoweredGraph:
        """Lower some nodes."""
        return lower_graph(self.graph, self.assignment, self.ranges, nodes=nodes)

    def changed(self, **changes: Any) -> "Lowered":
        """Return the same model with another option."""
        return replace(self, changes=(*self.changes, *changes.items()))
