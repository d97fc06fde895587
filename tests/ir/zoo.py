"""Tiny models with random weights, one per family that the capture must know; and checks that tests share."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mxhw.ir import Graph, capture_features, capture_language_model

CONTEXT = 64
VOCABULARY = 96
SEQUENCE = 12
WINDOW = 8
PIXELS = 8

_NO_IDS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
_COMMON = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": CONTEXT,
    **_NO_IDS,
}
_PADDED = {"pad_token_id": 0}
_MLP = {**_COMMON, "intermediate_size": 48}
_LLAMA = {**_MLP, "num_key_value_heads": 2}
_ALTERNATING = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
_GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": VOCABULARY, "n_positions": CONTEXT, **_NO_IDS}


@dataclass(frozen=True)
class Family:
    """How to build a tiny model: the names of the classes in transformers, and the configuration's options."""

    config: str
    model: str
    options: dict[str, Any]

    def build(self) -> nn.Module:
        config = getattr(transformers, self.config)(**self.options)
        return getattr(transformers, self.model)(config)


def _causal(stem: str, options: dict[str, Any], **more: Any) -> Family:
    return Family(f"{stem}Config", f"{stem}ForCausalLM", options | more)


def _masked(stem: str, options: dict[str, Any], **more: Any) -> Family:
    return Family(f"{stem}Config", f"{stem}ForMaskedLM", options | more)


# Families whose attention goes through transformers' interface, and whose layers are all alike.
PLAIN: dict[str, Family] = {
    "llama": _causal("Llama", _LLAMA, tie_word_embeddings=True),
    "qwen2": _causal("Qwen2", _LLAMA),
    "mistral": _causal("Mistral", _LLAMA, sliding_window=WINDOW),
    "opt": _causal("OPT", _COMMON, pad_token_id=1, ffn_dim=48, word_embed_proj_dim=32),
    "gpt2": Family("GPT2Config", "GPT2LMHeadModel", _GPT),
}

LANGUAGE: dict[str, Family] = {
    **PLAIN,
    "qwen3": _causal("Qwen3", _LLAMA, head_dim=8),
    "gpt_bigcode": _causal("GPTBigCode", _GPT),
    "gpt_neo": _causal(
        "GPTNeo",
        {key: value for key, value in _COMMON.items() if not key.startswith("num_")},
        num_layers=2,
        num_heads=4,
        attention_types=[[["global", "local"], 1]],
        window_size=WINDOW,
    ),
    "gpt_neox": _causal("GPTNeoX", _MLP),
    "gptj": _causal("GPTJ", _GPT, rotary_dim=4),
    "codegen": _causal("CodeGen", _GPT, rotary_dim=4, n_ctx=CONTEXT),
    "gemma": _causal("Gemma", _LLAMA, head_dim=8),
    "gemma2": _causal("Gemma2", _LLAMA, head_dim=8, query_pre_attn_scalar=8, sliding_window=WINDOW),
    "gemma3": Family(
        "Gemma3TextConfig",
        "Gemma3ForCausalLM",
        {**_LLAMA, **_ALTERNATING, "head_dim": 8, "query_pre_attn_scalar": 8},
    ),
    "phi": _causal("Phi", _LLAMA, partial_rotary_factor=0.5),
    "phi3": _causal("Phi3", _LLAMA | _PADDED),
    "falcon": _causal("Falcon", _COMMON, multi_query=True),
    "falcon_alibi": _causal("Falcon", _COMMON, multi_query=False, alibi=True, bias=True),
    "bloom": _causal("Bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 4, "vocab_size": VOCABULARY, **_NO_IDS}),
    "olmo": _causal("Olmo", _LLAMA),
    "olmo2": _causal("Olmo2", _LLAMA),
    "granite": _causal("Granite", _LLAMA, embedding_multiplier=2.0, attention_multiplier=0.3, logits_scaling=4.0),
    "cohere": _causal("Cohere", _LLAMA | _PADDED, use_qk_norm=True),
    "cohere2": _causal("Cohere2", _LLAMA | _PADDED | _ALTERNATING),
    "starcoder2": _causal("Starcoder2", _LLAMA),
    "stablelm": _causal("StableLm", _LLAMA),
    "glm4": _causal("Glm4", _LLAMA | _PADDED, head_dim=8),
    "smollm3": _causal("SmolLM3", _LLAMA | _PADDED),
    "exaone4": _causal("Exaone4", _LLAMA | _ALTERNATING),
    "nemotron": _causal("Nemotron", _LLAMA),
    "mamba": _causal(
        "Mamba", {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": VOCABULARY, **_NO_IDS}, state_size=4
    ),
    "bert": _masked("Bert", _MLP | _PADDED),
    "roberta": _masked("Roberta", _MLP | {"pad_token_id": 1, "max_position_embeddings": CONTEXT + 2}),
    "electra": _masked("Electra", _MLP | _PADDED, embedding_size=16),
    "distilbert": _masked(
        "DistilBert",
        {"dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4, "vocab_size": VOCABULARY, "pad_token_id": 0},
        max_position_embeddings=CONTEXT,
    ),
}

_VIT = Family(
    "ViTConfig",
    "ViTForImageClassification",
    {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "image_size": PIXELS,
        "patch_size": 4,
        "num_labels": 5,
    },
)


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 8), nn.GELU(), nn.Linear(8, 4, bias=False)).eval()


def cnn() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, groups=8, padding="same", bias=False),  # depthwise
        nn.Conv2d(8, 12, 1, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 5),
    ).eval()


# Modules that take features, each with an example of batch 1.
FEATURES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "vit": (_VIT.build, (1, 3, PIXELS, PIXELS)),
    "mlp": (mlp, (1, 16)),
    "cnn": (cnn, (1, 3, PIXELS, PIXELS)),
}

MODELS: dict[str, Callable[[], nn.Module]] = {name: family.build for name, family in PLAIN.items()}
FAMILIES = (*LANGUAGE, *FEATURES)


@cache
def eager_model(name: str) -> Any:
    """The model with eager attention, in evaluation mode; one per name, so treat it as constant."""
    torch.manual_seed(sum(name.encode()))
    model = (FEATURES[name][0] if name in FEATURES else LANGUAGE[name].build)().eval()
    for parameter in model.parameters():  # biases and norms start at 0 and 1, which would hide their loss
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    if hasattr(model, "config"):
        model.config._attn_implementation = "eager"
    return model


@cache
def captured(name: str) -> Graph:
    """The captured graph of :func:`eager_model`."""
    if name in FEATURES:
        return capture_features(eager_model(name), torch.zeros(FEATURES[name][1]), name=name)
    return capture_language_model(eager_model(name), batch=1, sequence=SEQUENCE, name=name)


def ids(batch: int, sequence: int, vocabulary: int = VOCABULARY) -> Tensor:
    return torch.randint(0, vocabulary, (batch, sequence))


def inputs(name: str, batch: int, sequence: int) -> Tensor:
    """Draw an input of the family: token ids [batch, sequence], or features for a batch."""
    if name in FEATURES:
        return torch.randn(batch, *FEATURES[name][1][1:])
    return ids(batch, sequence)


def logits(model: nn.Module, x: Tensor) -> Tensor:
    """Run a model without a cache."""
    with torch.no_grad():
        if not hasattr(model, "config"):
            return model(x)
        return (model(x) if x.is_floating_point() else model(x, use_cache=False)).logits


def largest_difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


def counted_macs(model: nn.Module, x: Tensor) -> int:
    """The multiply-accumulates that torch itself counts."""
    with FlopCounterMode(display=False) as counter:
        logits(model, x)
    return counter.get_total_flops() // 2
