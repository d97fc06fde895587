"""Hugging Face attention as the dialect's three operators, through transformers' public `AttentionInterface`.

A model whose attention implementation is "mxhw" computes what its eager attention computes, with `attn_qk`,
`attn_softmax` and `attn_pv` as single nodes. Padding is refused: transformers drops a two-dimensional padding mask for
implementations that register no mask function, so one is registered here that looks at the mask and says no.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

import mxhw.ir.operators  # noqa: F401  (registers torch.ops.mxhw)
from mxhw.errors import InputError

__all__ = ["IMPLEMENTATION", "dialect_attention", "use_dialect_attention"]

IMPLEMENTATION = "mxhw"


def dialect_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    is_causal: bool | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention in the signature that `AttentionInterface` asks for; shapes [batch, heads, sequence, dim].

    `s_aux` [heads] are attention sinks.

    Raises
    ------
    InputError
        For masks that are not additive with four dimensions.
    """
    if attention_mask is not None and attention_mask.dim() != 4:
        raise InputError(
            f"attention mask of {type(module).__name__} must be additive and 4-D, not {attention_mask.dim()}-D"
        )
    causal = is_causal if is_causal is not None else getattr(module, "is_causal", True)
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    scores = torch.ops.mxhw.attn_qk(query, key, float(scale))
    probabilities = torch.ops.mxhw.attn_softmax(
        scores, attention_mask, bool(causal) and attention_mask is None, sliding_window or 0, softcap or 0.0, s_aux
    )
    return torch.ops.mxhw.attn_pv(probabilities, value).transpose(1, 2).contiguous(), None


def _refuse_padding(*_: Any, attention_mask: Tensor | None = None, **__: Any) -> None:
    """Stand where transformers builds masks: causality is the operator's own affair, padding is refused."""
    if attention_mask is None or torch.compiler.is_exporting():
        return
    if not bool(attention_mask.all()):
        raise InputError("attention mask has padding; pad on the right and ignore those outputs, or use equal lengths")


@contextmanager
def use_dialect_attention(model: Any) -> Iterator[None]:
    """Give a Hugging Face `model` the dialect's attention inside the context, and its own one back after it.

    A model of a class that does not go through `AttentionInterface` (Bloom, Falcon, GPT-J) gets its own eager attention
    instead, whose products of two activations are nodes of kind `matmul`. Any other module stays as it is.
    """
    if not hasattr(model, "set_attn_implementation"):
        yield
        return
    if not model._can_set_attn_implementation():
        with _own_eager_attention(model.config):
            yield
        return
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(IMPLEMENTATION, dialect_attention)
    AttentionMaskInterface.register(IMPLEMENTATION, _refuse_padding)
    before = model.config._attn_implementation
    model.set_attn_implementation(IMPLEMENTATION)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


@contextmanager
def _own_eager_attention(config: Any) -> Iterator[None]:
    before = config._attn_implementation
    config._attn_implementation = "eager"
    try:
        yield
    finally:
        config._attn_implementation = before
