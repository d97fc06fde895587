"""A KV cache that is slow and plain: a list of tokens, rounded by the definition of quantized caches to the letter.

It shares nothing with `mxhw.ir.cache` but the formats, and is a cache of transformers, for eager models.
"""

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer

from mxhw.formats import parse_format

Rule = tuple[str, int] | None  # format and axis; None stores as it comes


class TokenList:
    """Keys or values of one layer, token after token, each [batch, kv_heads, 1, head_dim]."""

    def __init__(self, rule: Rule) -> None:
        self.rule, self.tokens, self.rounded = rule, [], 0

    def add(self, new: Tensor) -> Tensor:
        """Add the tokens of one run, round every block that is full now, and return all tokens."""
        self.tokens += list(new.split(1, dim=2))
        if self.rule is not None:
            name, axis = self.rule
            fmt = parse_format(name)
            block = fmt.tile_rows if axis == -1 else fmt.block
            while self.rounded + block <= len(self.tokens):
                full = torch.cat(self.tokens[self.rounded : self.rounded + block], dim=2)
                rounded = fmt.fake_quantize(full, axis=axis)
                self.tokens[self.rounded : self.rounded + block] = list(rounded.split(1, dim=2))
                self.rounded += block
        return torch.cat(self.tokens, dim=2)


class SlowLayer(DynamicLayer):
    def __init__(self, keys: Rule, values: Rule) -> None:
        super().__init__()
        self.slow_keys, self.slow_values = TokenList(keys), TokenList(values)

    def update(self, key_states: Tensor, value_states: Tensor, *_, **__) -> tuple[Tensor, Tensor]:
        self.is_initialized = True
        self.keys, self.values = self.slow_keys.add(key_states), self.slow_values.add(value_states)
        return self.keys, self.values


def slow_cache(layers: int, keys: Rule, values: Rule) -> Cache:
    """An empty cache whose layers all round keys and values by these rules."""
    return Cache(layers=[SlowLayer(keys, values) for _ in range(layers)])
