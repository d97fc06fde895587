"""Tiny mixtures of experts with random weights, one per way of routing and of storing experts."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import nn
from transformers import (
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    GptOssConfig,
    GptOssForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from mxhw.ir import Graph, capture_language_model
from tests.ir.zoo import CONTEXT, SEQUENCE, VOCABULARY

HIDDEN = 32
_COMMON = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 48,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": CONTEXT,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
_MIXTRAL = {**_COMMON, "num_local_experts": 4, "num_experts_per_tok": 2}
_QWEN = {**_COMMON, "moe_intermediate_size": 24, "num_experts": 6}
_LATENT = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8}
_DEEPSEEK = {
    **{key: value for key, value in _COMMON.items() if key != "head_dim"},
    **_LATENT,
    "num_key_value_heads": 4,
    "moe_intermediate_size": 24,
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "n_group": 4,
    "topk_group": 2,
    "first_k_dense_replace": 0,
}
_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
# The width is a multiple of the vector length of torch's sigmoid: see `mxhw.ir.experts`.
_GPT_OSS = {**_MIXTRAL, "intermediate_size": 64, "sliding_window": 8, "rope_parameters": _ROPE}


@dataclass(frozen=True)
class Mixture:
    """How to make a model, and the sizes that its multiply-accumulates follow from."""

    make: Callable[[], nn.Module]
    experts: int
    active: int
    intermediate: int


MIXTURES = {
    "mixtral": Mixture(lambda: MixtralForCausalLM(MixtralConfig(**_MIXTRAL)), 4, 2, 48),
    "qwen2_moe": Mixture(
        lambda: Qwen2MoeForCausalLM(Qwen2MoeConfig(**_QWEN, num_experts_per_tok=2, shared_expert_intermediate_size=40)),
        6,
        2,
        24,
    ),
    "qwen3_moe": Mixture(
        lambda: Qwen3MoeForCausalLM(Qwen3MoeConfig(**_QWEN, num_experts_per_tok=3, norm_topk_prob=True)), 6, 3, 24
    ),
    "deepseek_v3": Mixture(lambda: DeepseekV3ForCausalLM(DeepseekV3Config(**_DEEPSEEK)), 8, 3, 24),
    "gpt_oss": Mixture(lambda: GptOssForCausalLM(GptOssConfig(**_GPT_OSS)), 4, 2, 64),
}


def randomized(model: nn.Module) -> nn.Module:
    """Give every parameter and the routers' correction noise: biases and norms start at values that hide their loss."""
    buffers = [value for name, value in model.named_buffers() if name.endswith("correction_bias")]
    for value in [*model.parameters(), *buffers]:
        value.data.add_(torch.randn_like(value) * 0.05)
    return model.eval()


def made_eager(model: nn.Module) -> nn.Module:
    model.set_attn_implementation("eager")
    model.set_experts_implementation("eager")
    return model


@cache
def eager_mixture(name: str) -> nn.Module:
    """The model with eager attention and experts, in evaluation mode; one per name, so treat it as constant."""
    torch.manual_seed(sum(name.encode()))
    return made_eager(randomized(MIXTURES[name].make()))


@cache
def captured_mixture(name: str) -> Graph:
    """The captured graph of :func:`eager_mixture`."""
    return capture_language_model(eager_mixture(name), batch=1, sequence=SEQUENCE, name=name)
