"""Decoding: a captured language model whose KV cache is an explicit input and output of the graph.

One graph serves prefill and every step: the cache may be empty. What it takes is the new tokens, their positions, and
per layer the keys and values of the tokens before; what it gives is the logits and the cache with the new tokens.

A layer with a sliding window of W tokens keeps the last W - 1, as transformers' own cache does, so that the products
have the same sizes and the logits equal transformers' cached decoding bit for bit. Where such a cache is quantized in
blocks of N tokens, whole blocks are dropped: up to N - 1 more tokens stay, which the window masks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from math import lcm
from typing import cast

import torch
from torch import Tensor, fx

from mxhw.errors import InputError
from mxhw.formats import parse_format
from mxhw.ir.cache import tokens_per_block
from mxhw.ir.cache_layers import CacheLayer
from mxhw.ir.graph import Graph, Signature

__all__ = ["DecodeGraph", "KVCache"]


@dataclass(frozen=True, eq=False)
class KVCache:
    """The keys and values of the tokens so far; it belongs to the graph that made it, and is never written to.

    Attributes
    ----------
    keys, values : tuple of Tensor [batch, kv_heads, kept tokens, head_dim], one per layer
        With the rounding of the graph's cache sites.
    tokens : int
        How many tokens it has seen; a layer with a sliding window keeps fewer.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    tokens: int
    _owner: fx.GraphModule = field(repr=False)

    @property
    def batch(self) -> int:
        """Sequences side by side."""
        return self.keys[0].shape[0]


class DecodeGraph(Graph):
    """A captured language model that reads and extends a KV cache.

    Nodes, sites and GEMMs have the names that they have without a cache, so an assignment serves both. Sizes are
    symbolic in the batch `b`, the new tokens `s` and the tokens before `p`: ``macs(1, 1, past=1000)`` is the work of
    one step after 1000 tokens. Quantization sites "cache" are rounded as :func:`mxhw.ir.cache.quantize_cache` defines.

    Parameters
    ----------
    module : fx.GraphModule
        Inputs: ids [batch, s], positions [1, s], per layer keys, then per layer values [batch, kv_heads, kept, dim].
        Outputs: logits [batch, s, vocabulary], keys and values likewise with s tokens more.
    signature : Signature
    layers : sequence of CacheLayer
    """

    def __init__(self, module: fx.GraphModule, signature: Signature, layers: Sequence[CacheLayer]) -> None:
        super().__init__(module, signature)
        self.layers = tuple(layers)

    def __repr__(self) -> str:
        return f"Decode{super().__repr__()}"

    @property
    def stored(self) -> tuple[fx.Node, ...]:
        """The fx nodes that make the cache: keys of every layer, then values of every layer."""
        outputs = cast(tuple[fx.Node, ...], self.module.graph.output_node().args[0])
        return tuple(outputs[1:])

    def run(self, x: Tensor) -> Tensor:
        """Return the logits [batch, sequence, vocabulary] of token ids [batch, sequence], starting from nothing."""
        return self.prefill(x)[0]

    def prefill(self, ids: Tensor) -> tuple[Tensor, KVCache]:
        """Return the logits [batch, sequence, vocabulary] of token ids [batch, sequence], and the cache after them.

        Raises
        ------
        InputError
            If ids are not integers in the vocabulary, there are none, or more than the model has positions.
        """
        return self._extend(ids, None)

    def step(self, ids: Tensor, cache: KVCache) -> tuple[Tensor, KVCache]:
        """Return the logits [batch, new, vocabulary] of further token ids [batch, new], and the cache after them.

        Raises
        ------
        InputError
            As for :meth:`prefill`, or if the cache is of another graph or of another batch.
        """
        if not isinstance(cache, KVCache):
            raise InputError(f"cache must be what prefill or step of this graph returned, not {type(cache).__name__}")
        if cache._owner is not self.module:
            raise InputError(
                f"cache is of another graph than this one of {self.signature.model} (a quantized copy is another one "
                "too); start with prefill"
            )
        return self._extend(ids, cache)

    def generate(self, ids: Tensor, max_new_tokens: int, eos: int | Collection[int] | None = None) -> Tensor:
        """Continue token ids [batch, prompt] greedily; return int64 [batch, prompt + new]. See :meth:`stream`."""
        found = [following[:, None] for following in self.stream(ids, max_new_tokens, eos)]
        return torch.cat([ids.long(), *found], dim=1)

    def stream(self, ids: Tensor, max_new_tokens: int, eos: int | Collection[int] | None = None) -> Iterator[Tensor]:
        """Continue token ids [batch, prompt] greedily; yield int64 [batch], token after token.

        The likeliest token follows, of equal ones that with the lowest id.

        Parameters
        ----------
        max_new_tokens : int
        eos : int or collection of int, optional
            Ids that end a sequence, themselves included. When all sequences have ended, generation stops; until then
            those that have are filled up with the first of these ids.

        Raises
        ------
        InputError
            As for :meth:`prefill`, or if prompt and new tokens are more than the model has positions.
        """
        if isinstance(max_new_tokens, bool) or not isinstance(max_new_tokens, int) or max_new_tokens < 1:
            raise InputError(f"max_new_tokens must be a positive integer, not {max_new_tokens!r}")
        self._check_input(ids)
        self._check_positions(ids.shape[1], max_new_tokens)
        ends = torch.tensor([] if eos is None else [eos] if isinstance(eos, int) else sorted(eos), dtype=torch.long)
        ends, ended = ends.to(ids.device), torch.zeros(ids.shape[0], dtype=torch.bool, device=ids.device)
        logits, cache = self.prefill(ids)
        for number in range(1, max_new_tokens + 1):
            following = logits[:, -1].float().argmax(-1)
            if ends.numel():
                following = following.where(~ended, ends[0])
                ended |= torch.isin(following, ends)
            yield following
            if bool(ended.all()):
                return
            if number < max_new_tokens:
                logits, cache = self.step(following[:, None], cache)

    def _extend(self, ids: Tensor, cache: KVCache | None) -> tuple[Tensor, KVCache]:
        self._check_input(ids)
        batch, new = ids.shape
        if cache is None:
            self.check_weights()
            keys, values, tokens = *self._nothing(batch), 0
        else:
            keys, values, tokens = cache.keys, cache.values, cache.tokens
            self._check_cache(cache, batch)
            self._check_positions(tokens, new)
        positions = torch.arange(tokens, tokens + new, device=ids.device)[None]
        with torch.no_grad():
            logits, *stored = self.module(ids, positions, *keys, *values)
        kept = [self._keep(layer, stored) for layer in range(len(self.layers))]
        after = KVCache(tuple(keys for keys, _ in kept), tuple(values for _, values in kept), tokens + new, self.module)
        return logits, after

    def _nothing(self, batch: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Return the keys and values of no token."""
        device = next((p.device for p in self.module.parameters()), torch.device("cpu"))

        def empty(layer: CacheLayer, size: int) -> Tensor:
            return torch.empty(batch, layer.heads, 0, size, dtype=getattr(torch, layer.dtype), device=device)

        return (
            tuple(empty(layer, layer.key_size) for layer in self.layers),
            tuple(empty(layer, layer.value_size) for layer in self.layers),
        )

    def _keep(self, index: int, stored: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return what a layer keeps of the stored keys and values: all, or the blocks that a window can still reach."""
        keys, values = stored[index], stored[len(self.layers) + index]
        window = self.layers[index].window
        if not window:
            return keys, values
        block = lcm(*(self._block(position) for position in (index, len(self.layers) + index)))
        first = max(keys.shape[-2] - (window - 1), 0) // block * block
        return keys[:, :, first:], values[:, :, first:]

    def _block(self, position: int) -> int:
        """Return how many tokens are rounded together in the cache at that place of the outputs."""
        source = self.stored[position]
        if source.target is torch.ops.mxhw.quantize_cache.default:
            return tokens_per_block(parse_format(str(source.args[1])), cast(int, source.args[2]))
        return 1

    def _check_cache(self, cache: KVCache, batch: int) -> None:
        if cache.batch != batch:
            raise InputError(f"cache holds {cache.batch} sequences, but ids are of {batch}")
        for index, (layer, keys, values) in enumerate(zip(self.layers, cache.keys, cache.values, strict=True)):
            kept = keys.shape[2] if layer.window else cache.tokens
            wanted = [[batch, layer.heads, kept, layer.key_size], [batch, layer.heads, kept, layer.value_size]]
            if (found := [list(keys.shape), list(values.shape)]) != wanted:
                raise InputError(
                    f"cache of layer {index} has keys and values {found[0]} and {found[1]}, not {wanted[0]} and "
                    f"{wanted[1]} as {cache.tokens} tokens leave them; start with prefill"
                )

    def _check_positions(self, before: int, new: int) -> None:
        context = self.signature.context
        if context is not None and before + new > context:
            raise InputError(
                f"{before} tokens and {new} new ones are more than the context of {context} positions; "
                "give a shorter prompt or ask for fewer"
            )

    def _of_module(self, module: fx.GraphModule) -> DecodeGraph:
        return DecodeGraph(module, self.signature, self.layers)
