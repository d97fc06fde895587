"""A random model that is large enough for its memory to be measured."""

from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

__all__ = ["LAYERS", "save_large_model"]

LAYERS = 15


def save_large_model(folder: Path) -> tuple[int, int]:
    """Write a float32 Llama in several shards; return its parameters, and the bytes of one of its :data:`LAYERS`."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=LAYERS,
        num_attention_heads=16,
        num_key_value_heads=8,
        vocab_size=8192,
        max_position_embeddings=512,
    )
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder, max_shard_size="300MB")
    block = 4 * sum(parameter.numel() for parameter in model.model.layers[0].parameters())
    return sum(parameter.numel() for parameter in model.parameters()), block
