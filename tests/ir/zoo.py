"""Tiny models with random weights, one per architecture that the capture must know; and checks that tests share."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from mxhw.ir import Graph, capture_language_model

CONTEXT = 64
VOCABULARY = 96
SEQUENCE = 12
_COMMON = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": CONTEXT,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
_LLAMA = {**_COMMON, "intermediate_size": 48, "num_key_value_heads": 2}

MODELS: dict[str, Callable[[], nn.Module]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**_LLAMA, tie_word_embeddings=True)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**_LLAMA)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**_LLAMA, sliding_window=8)),
    "opt": lambda: OPTForCausalLM(OPTConfig(**{**_COMMON, "pad_token_id": 1}, ffn_dim=48, word_embed_proj_dim=32)),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(
            n_embd=32,
            n_layer=2,
            n_head=4,
            vocab_size=VOCABULARY,
            n_positions=CONTEXT,
            bos_token_id=None,
            eos_token_id=None,
        )
    ),
}


@cache
def eager_model(name: str) -> nn.Module:
    """The model with eager attention, in evaluation mode; one per name, so treat it as constant."""
    torch.manual_seed(sum(name.encode()))
    model = MODELS[name]().eval()
    for parameter in model.parameters():  # biases and norms start at 0 and 1, which would hide their loss
        parameter.data.add_(torch.randn_like(parameter) * 0.02)
    model.set_attn_implementation("eager")
    return model


@cache
def captured(name: str) -> Graph:
    """The captured graph of :func:`eager_model`."""
    return capture_language_model(eager_model(name), batch=1, sequence=SEQUENCE, name=name)


def ids(batch: int, sequence: int, vocabulary: int = VOCABULARY) -> Tensor:
    return torch.randint(0, vocabulary, (batch, sequence))


def logits(model: nn.Module, tokens: Tensor) -> Tensor:
    with torch.no_grad():
        return model(tokens, use_cache=False).logits


def largest_difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


def counted_macs(model: nn.Module, tokens: Tensor) -> int:
    """The multiply-accumulates that torch itself counts."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(tokens, use_cache=False)
    return counter.get_total_flops() // 2
