"""The KV cache in a number format: which tokens are rounded, and when.

``torch.ops.mxhw.quantize_cache(x, format, axis, stored)`` returns a new tensor and passes gradients straight through.
:func:`quantize_cache` has the definition.
"""

from math import prod
from typing import Any, cast

import torch
from torch import Tensor, fx

from mxhw.errors import InputError
from mxhw.formats import Format, parse_format

__all__ = ["CACHE", "cache_bits", "insert_cache_quantizer", "past_of", "quantize_cache", "tokens_per_block"]

_LIBRARY = torch.library.Library("mxhw", "FRAGMENT")  # type: ignore[no-untyped-call]
CACHE = "cache"  # operand of a site: keys or values as they are stored
_AXES = (-1, -2)  # along head_dim: every token alone; along the sequence
_TOKENS = 2  # dimension of the sequence in [batch, kv_heads, tokens, head_dim]


def quantize_cache(x: Tensor, format: str, axis: int, stored: int = 0) -> Tensor:
    """Return the keys or values that attention reads from a quantized cache.

    The cache is cut into blocks of tokens, counted from the first token of the sequence:

    - axis -1: blocks of the format run along head_dim, every token is a block of its own (or as many tokens as a
      two-dimensional block has rows);
    - axis -2: blocks of the format run along the sequence, a block of N elements is N tokens long.

    A block is rounded at the moment when its last token comes, by itself, and never again. Until then its tokens keep
    the model's precision: they are the newest ones, fewer than a block. The attention of a run of the graph reads the
    cache as it is after all tokens of that run have been added, for every query of the run alike.

    So a run of a whole window (prefill, perplexity) reads floor(tokens / block) rounded blocks and the rest exact, also
    for queries so early that, token by token, they would have seen the tokens of their own block exact. With axis -1
    and blocks of one token there is no such difference: both ways have the same definition. Decoding token by token
    rounds a block in the step that completes it, and that step's query already reads it rounded.

    Parameters
    ----------
    x : Tensor [batch, kv_heads, tokens, head_dim]
        What the cache held before the run, then the run's own keys or values.
    format : str
        A name that :func:`mxhw.formats.parse_format` knows.
    axis : int
        -1 or -2.
    stored : int
        How many leading tokens the cache held before the run: whole blocks among them are rounded already, and copied.

    Raises
    ------
    InputError
        If a block's rounding would depend on other blocks (:func:`tokens_per_block`).
    """
    fmt = parse_format(format)
    block = tokens_per_block(fmt, axis)
    first, full = (length // block * block for length in (stored, x.shape[_TOKENS]))
    result = x.detach().clone()
    if full > first:
        result[:, :, first:full] = fmt.fake_quantize(result[:, :, first:full], axis=axis)
    return result


def tokens_per_block(fmt: Format, axis: int) -> int:
    """Return how many tokens must have come before a cache in this format rounds them.

    Raises
    ------
    InputError
        If the axis is not -1 or -2, or the format shares a scale between blocks of tokens.
    """
    if axis not in _AXES:
        raise InputError(f"axis of a cache must be -1 (per token) or -2 (per block of tokens), not {axis!r}")
    shared = {field.per for field in fmt.fields}
    if "tensor" in shared or (axis == -2 and (fmt.block is None or "row" in shared)):
        raise InputError(
            f"{fmt.name} cannot round a cache along axis {axis}: tokens that come later would change its scales; "
            f"{'choose axis -1 or ' if 'tensor' not in shared else 'choose '}a format whose blocks stand alone, "
            "such as mxfp4 or int4-g32"
        )
    return fmt.tile_rows if axis == -1 else cast(int, fmt.block)


def cache_bits(fmt: Format, shape: tuple[int, ...], axis: int, float_format: Format) -> int:
    """Return the stored bits of a cache [batch, kv_heads, tokens, head_dim]; tokens of no full block are floats."""
    block = tokens_per_block(fmt, axis)
    *lead, tokens, head_dim = shape
    full = tokens // block * block
    bits = fmt.bits((*lead, full, head_dim), axis=axis) if full and prod(shape) else 0
    return bits + float_format.bits((*lead, tokens - full, head_dim)) if tokens > full else bits


def past_of(source: fx.Node) -> fx.Node | None:
    """Return the graph's input that `source`, the cache as attention reads it, continues; None without one."""
    if source.target is torch.ops.mxhw.quantize_cache.default:
        return past_of(cast(fx.Node, source.args[0]))
    if source.target is not torch.ops.aten.cat.default:
        return None
    parts = cast(list[fx.Node], source.args[0])
    return parts[0] if len(parts) == 2 and parts[0].op == "placeholder" else None


def insert_cache_quantizer(source: fx.Node, format: str, axis: int) -> fx.Node:
    """Round `source`, keys or values as attention reads them, after it in its graph; return the rounded node.

    Where `source` continues a cache that is an input of the graph, the rounded cache becomes the output too.
    """
    graph, past = source.graph, past_of(source)
    with graph.inserting_after(source):
        stored = 0 if past is None else graph.call_function(torch.ops.aten.sym_size.int, (past, _TOKENS))
    with graph.inserting_after(source if isinstance(stored, int) else stored):
        rounded = graph.call_function(torch.ops.mxhw.quantize_cache.default, (source, format, axis, stored))
    if past is not None:
        graph.output_node().replace_input_with(source, rounded)
    return rounded


def _like(x: Tensor, format: str, axis: int, stored: Any = 0) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


def _straight_through(context: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
    return gradient, None, None, None


_LIBRARY.define("quantize_cache(Tensor x, str format, int axis, SymInt stored=0) -> Tensor")  # type: ignore[no-untyped-call]
_LIBRARY.impl("quantize_cache", quantize_cache, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
torch.library.register_fake("mxhw::quantize_cache", _like, lib=_LIBRARY)
torch.library.register_autograd("mxhw::quantize_cache", _straight_through, lib=_LIBRARY)
