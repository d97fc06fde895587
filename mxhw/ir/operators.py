"""The operators of the dialect that torch does not have: attention in three parts, experts, and fake quantization.

They are registered in the namespace `mxhw` through `torch.library`, so that `torch.export` keeps them whole and every
captured graph shows the two matrix products of attention, and those of experts, as nodes of their own. Gradients pass
through attention and experts.

The arithmetic is that of Hugging Face's eager attention (transformers 5, `eager_attention_forward`) and eager experts
(the loop of every `*Experts.forward`), operation for operation: a captured model equals the eager one bit for bit.
"""

import torch
from torch import Tensor

from mxhw.formats.operators import fake_quantize

__all__ = ["attention_pv", "attention_qk", "attention_softmax", "expert_linear", "expert_sum", "fake_quantize"]

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


def attention_softmax(
    s: Tensor, mask: Tensor | None, causal: bool, window: int, softcap: float, sinks: Tensor | None = None
) -> Tensor:
    """Return the probabilities of scores `s` [batch, heads, T, S], computed in float32.

    `mask` is additive and broadcasts to `s`; `window` > 0 keeps the last `window` positions; `softcap` > 0 bounds the
    scores by softcap * tanh(s / softcap) first (Gemma 2). `sinks` [heads] are one further score per head that takes its
    share of the probability and is dropped (gpt-oss); then the softmax is computed in the type of `s`, as there.
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
    if sinks is not None:
        return _softmax_with_sinks(s, sinks)
    return torch.nn.functional.softmax(s, -1, dtype=torch.float32).to(s.dtype)


def _softmax_with_sinks(s: Tensor, sinks: Tensor) -> Tensor:
    sink = sinks.reshape(1, -1, 1, 1).expand(s.shape[0], -1, s.shape[2], -1)
    scores = torch.cat([s, sink], dim=-1)
    scores = scores - scores.max(dim=-1, keepdim=True).values
    return torch.nn.functional.softmax(scores, dim=-1, dtype=scores.dtype)[..., :-1]


def attention_pv(p: Tensor, v: Tensor) -> Tensor:
    """Return [batch, heads, T, dim]: probabilities `p` [batch, heads, T, S] times `v` [batch, kv_heads, S, dim]."""
    return torch.matmul(p, _repeat_heads(v, p.shape[1]))


def expert_linear(x: Tensor, w: Tensor, ids: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiply every row of `x` with the weight of its expert, and return [active, tokens, out].

    y[a, t] = w[ids[a, t]] x[a, t] + bias[ids[a, t]]; an expert multiplies its rows in one product, ordered by a, then
    by t, and the bias is added to the rounded product. The weights of other experts are not read.

    Parameters
    ----------
    x : [tokens, in] or [active, tokens, in]
        Without the first dimension every token goes to all of its experts unchanged.
    w : [experts, out, in]
    ids : int64 [active, tokens]
        The experts of every token, different ones.
    bias : [experts, out], optional
    """
    rows = x.expand(*ids.shape, x.shape[-1])
    y = x.new_empty(*ids.shape, w.shape[1])
    for expert in sorted(set(ids.flatten().tolist())):
        chosen = (ids == expert).nonzero(as_tuple=True)
        product = torch.nn.functional.linear(rows[chosen], w[expert])
        y[chosen] = product if bias is None else product + bias[expert]
    return y


def expert_sum(y: Tensor, ids: Tensor) -> Tensor:
    """Return [tokens, out]: the sum over the first dimension of `y` [active, tokens, out].

    The summands of a token are added to zero one by one in ascending order of their experts `ids` [active, tokens],
    each sum rounded to the type of `y`.
    """
    tokens = torch.arange(ids.shape[1], device=ids.device)
    total = torch.zeros_like(y[0])
    for active in ids.argsort(dim=0):
        total = total + y[active, tokens]
    return total


def _like_scores(q: Tensor, k: Tensor, scale: float) -> Tensor:
    return q.new_empty(*q.shape[:3], k.shape[2])


def _like_softmax(
    s: Tensor, mask: Tensor | None, causal: bool, window: int, softcap: float, sinks: Tensor | None = None
) -> Tensor:
    if sinks is None:
        return s.new_empty(s.shape)
    return s.new_empty(*s.shape[:-1], s.shape[-1] + 1)[..., :-1]  # a view: the sink's own probability is dropped


def _like_values(p: Tensor, v: Tensor) -> Tensor:
    return p.new_empty(*p.shape[:3], v.shape[3])


def _like_expert_rows(x: Tensor, w: Tensor, ids: Tensor, bias: Tensor | None = None) -> Tensor:
    return x.new_empty(*ids.shape, w.shape[1])


def _like_expert_sum(y: Tensor, ids: Tensor) -> Tensor:
    return y.new_empty(y.shape[1:])


for _schema, _implementation, _fake in (
    ("attn_qk(Tensor q, Tensor k, float scale) -> Tensor", attention_qk, _like_scores),
    (
        "attn_softmax(Tensor s, Tensor? mask, bool causal, int window, float softcap, Tensor? sinks=None) -> Tensor",
        attention_softmax,
        _like_softmax,
    ),
    ("attn_pv(Tensor p, Tensor v) -> Tensor", attention_pv, _like_values),
    ("expert_linear(Tensor x, Tensor w, Tensor ids, Tensor? bias=None) -> Tensor", expert_linear, _like_expert_rows),
    ("expert_sum(Tensor y, Tensor ids) -> Tensor", expert_sum, _like_expert_sum),
):
    _name = _schema.partition("(")[0]
    _LIBRARY.define(_schema)  # type: ignore[no-untyped-call]
    _LIBRARY.impl(_name, _implementation, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
    torch.library.register_fake(f"mxhw::{_name}", _fake, lib=_LIBRARY)
    # Gradients are those of the torch operators inside.
    _LIBRARY.impl(_name, torch.library.fallthrough_kernel, "Autograd")  # type: ignore[no-untyped-call]
