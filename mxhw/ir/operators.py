"""The operators of the dialect that torch does not have: attention in three parts, and fake quantization.

They are registered in the namespace `mxhw` through `torch.library`, so that `torch.export` keeps them whole and every
captured graph shows the two matrix products of attention as nodes of their own. Gradients pass through attention.

The arithmetic of the attention operators is that of Hugging Face's eager attention (transformers 5,
`eager_attention_forward`), operation for operation: a captured model equals the eager one bit for bit.
"""

import torch
from torch import Tensor

from mxhw.formats.operators import fake_quantize

__all__ = ["attention_pv", "attention_qk", "attention_softmax", "fake_quantize"]

_LIBRARY = torch.library.Library("mxhw", "DEF")  # type: ignore[no-untyped-call]


def _repeat_heads(x: Tensor, heads: int) -> Tensor:
    """Repeat the key/value heads of `x` [batch, kv_heads, sequence, dim] to `heads` (grouped-query attention)."""
    repeats = heads // x.shape[1]
    if repeats == 1:
        return x
    return x[:, :, None].expand(-1, -1, repeats, -1, -1).reshape(x.shape[0], heads, *x.shape[2:])


def attention_qk(q: Tensor, k: Tensor, scale: float) -> Tensor:
    """Return the scores [batch, heads, T, S] of `q` [batch, heads, T, dim] and `k` [batch, kv_heads, S, dim]."""
    scores = torch.matmul(q, _repeat_heads(k, q.shape[1]).transpose(2, 3))
    return scores if scale == 1.0 else scores * scale


def attention_softmax(s: Tensor, mask: Tensor | None, causal: bool, window: int, softcap: float) -> Tensor:
    """Return the probabilities of scores `s` [batch, heads, T, S], computed in float32.

    `mask` is additive and broadcasts to `s`; `window` > 0 keeps the last `window` positions; `softcap` > 0 bounds the
    scores by softcap * tanh(s / softcap) first (Gemma 2).
    """
    if softcap:
        s = torch.tanh(s / softcap) * softcap
    if causal:
        queries, keys = s.shape[-2:]
        row = torch.arange(queries, device=s.device)[:, None] + (keys - queries)
        column = torch.arange(keys, device=s.device)[None]
        keep = column <= row
        if window:
            keep = keep & (column > row - window)
        s = s + torch.zeros_like(keep, dtype=s.dtype).masked_fill(~keep, torch.finfo(s.dtype).min)
    if mask is not None:
        s = s + mask
    return torch.nn.functional.softmax(s, -1, dtype=torch.float32).to(s.dtype)


def attention_pv(p: Tensor, v: Tensor) -> Tensor:
    """Return [batch, heads, T, dim]: probabilities `p` [batch, heads, T, S] times `v` [batch, kv_heads, S, dim]."""
    return torch.matmul(p, _repeat_heads(v, p.shape[1]))


def _like_scores(q: Tensor, k: Tensor, scale: float) -> Tensor:
    return q.new_empty(*q.shape[:3], k.shape[2])


def _like_first(x: Tensor, *_: object) -> Tensor:
    return x.new_empty(x.shape)


def _like_values(p: Tensor, v: Tensor) -> Tensor:
    return p.new_empty(*p.shape[:3], v.shape[3])


for _schema, _implementation, _fake in (
    ("attn_qk(Tensor q, Tensor k, float scale) -> Tensor", attention_qk, _like_scores),
    (
        "attn_softmax(Tensor s, Tensor? mask, bool causal, int window, float softcap) -> Tensor",
        attention_softmax,
        _like_first,
    ),
    ("attn_pv(Tensor p, Tensor v) -> Tensor", attention_pv, _like_values),
):
    _name = _schema.partition("(")[0]
    _LIBRARY.define(_schema)  # type: ignore[no-untyped-call]
    _LIBRARY.impl(_name, _implementation, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
    torch.library.register_fake(f"mxhw::{_name}", _fake, lib=_LIBRARY)
