"""Attention as three operations: scores, weights of the keys, and the weighted mean of the values.

Source: arithmetic.md, section 6. Queries come with ``log2(e) / sqrt(d)`` in them. A run holds whole sequences, from
position 0 on: tokens see the keys up to their own. Heads in groups share keys and values. Rows of scores are worked on
a few at a time, so that what is between them stays in a processor's cache.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mxhw.arithmetic.dataflow.operation import Operation
from mxhw.arithmetic.dataflow.streams import BlockCodes, BlockValues, Indices, Integers, KeyWeights, Scores
from mxhw.arithmetic.functions.softmax import (
    OUTPUT_FRACTION,
    SoftmaxWeights,
    base2_scores,
    normalise,
    softmax_weights,
    value_weights,
)
from mxhw.arithmetic.rounding import round_shift, saturate
from mxhw.errors import InputError

__all__ = ["AttentionScores", "AttentionValues", "AttentionWeights"]

_CHUNK = 1 << 17  # scores that are worked on at a time


@dataclass(frozen=True, eq=False, kw_only=True)
class AttentionScores(Operation):
    """Base-2 scores of each query with the keys up to its position; the codes of keys are kept (KV cache)."""

    kind: ClassVar[str] = "attention_scores"
    query: BlockCodes
    key: BlockCodes
    y: Scores

    @property
    def inputs(self) -> tuple[BlockCodes, BlockCodes, Indices]:
        return self.query, self.key, Indices(count=self.y.keys)

    @property
    def output(self) -> Scores:
        return self.y

    @property
    def exponent(self) -> int:
        """Of a product of two codes with scales 0."""
        return self.query.exponent + self.key.exponent

    def run(self, query: BlockValues, key: BlockValues, positions: Tensor) -> Tensor:
        _check_positions(positions, self.y.keys)
        (q, qs), (k, ks) = _heads(query, 1), _heads(key, self.query.blocks // self.key.blocks)
        exact = torch.float32 if self._largest_product < 1 << 24 else torch.float64
        q, k = q.to(exact), k.to(exact)
        scores = torch.zeros(*qs.shape, ks.shape[-1], dtype=torch.int64)
        for i, rows, keys in _chunks(scores):
            products = (q[i, :, rows] @ k[i, :, keys].mT).long()
            exponent = qs[i, :, rows, None] + ks[i, :, None, keys] + self.exponent
            found = base2_scores(products, exponent, self.y.spec)
            scores[i, :, rows, keys] = torch.where(_seen(rows, keys), found, 0)
        return scores

    @property
    def _largest_product(self) -> int:
        """Bound on the magnitude of a sum of products of codes."""
        return ((1 << self.query.bits - 1) - 1) * ((1 << self.key.bits - 1) - 1) * self.query.block


@dataclass(frozen=True, eq=False, kw_only=True)
class AttentionWeights(Operation):
    """The weight of every key: softmax without its division."""

    kind: ClassVar[str] = "attention_weights"
    x: Scores

    @property
    def inputs(self) -> tuple[Scores]:
        return (self.x,)

    @property
    def output(self) -> KeyWeights:
        return KeyWeights(heads=self.x.heads, keys=self.x.keys, spec=self.x.spec)

    def run(self, scores: Tensor) -> SoftmaxWeights:
        tokens = scores.shape[-1]
        mantissa, shift, weight = (torch.zeros_like(scores) for _ in range(3))
        total = torch.zeros(scores.shape[:-1], dtype=torch.int64)
        for i, rows, keys in _chunks(scores):
            visible = torch.arange(rows.start, rows.stop) + 1
            found = softmax_weights(scores[i, :, rows, keys], self.x.spec, visible)
            mantissa[i, :, rows, keys], shift[i, :, rows, keys] = found.mantissa, found.shift
            weight[i, :, rows, keys], total[i, :, rows] = found.weight, found.total
        return SoftmaxWeights(_seen(slice(0, tokens), slice(0, tokens)), mantissa, shift, weight, total)


@dataclass(frozen=True, eq=False, kw_only=True)
class AttentionValues(Operation):
    """Mean of the values by the weights of their keys, divided by the sum, on the grid of the output stream.

    The values' codes are kept (KV cache). The division gives int16 with 8 bits below one unit of the values at the
    largest scale that the token sees, which is then shifted to the output's exponent, rounded and saturated.
    """

    kind: ClassVar[str] = "attention_values"
    weights: KeyWeights
    value: BlockCodes
    y: Integers

    @property
    def inputs(self) -> tuple[KeyWeights, BlockCodes, Indices]:
        return self.weights, self.value, Indices(count=self.weights.keys)

    @property
    def output(self) -> Integers:
        return self.y

    @property
    def shift(self) -> int:
        """Right shift of a mean, for a largest scale of 0; each unit of the scale makes it one less."""
        return self.y.exponent - (self.value.exponent - OUTPUT_FRACTION)

    def run(self, weights: SoftmaxWeights, value: BlockValues, positions: Tensor) -> Tensor:
        _check_positions(positions, self.weights.keys)
        v, scale = _heads(value, self.weights.heads // self.value.blocks)
        v = v.double()
        aligned = torch.zeros(v.shape, dtype=torch.int64)
        for i, rows, keys in _chunks(weights.weight):
            part = SoftmaxWeights(
                weights.seen[rows, keys],
                weights.mantissa[i, :, rows, keys],
                weights.shift[i, :, rows, keys],
                weights.weight[i, :, rows, keys],
                weights.total[i, :, rows],
            )
            folded, largest = value_weights(part, scale[i, :, None, keys])
            sums = (folded.double() @ v[i, :, keys]).long()
            mean = normalise(sums, part.total.unsqueeze(-1), self.weights.spec)
            aligned[i, :, rows] = saturate(round_shift(mean, self.shift - largest.unsqueeze(-1)), self.y.bits)
        return aligned.transpose(-3, -2).flatten(-2)


def _heads(x: BlockValues, repeat: int) -> tuple[Tensor, Tensor]:
    """Return mantissas [batch, heads, tokens, d] and scales [batch, heads, tokens], each head ``repeat`` times."""
    mantissas, scale = x.mantissas.transpose(-3, -2), x.scale.transpose(-2, -1)
    return mantissas.repeat_interleave(repeat, -3), scale.repeat_interleave(repeat, -2)


def _chunks(scores: Tensor) -> Iterator[tuple[int, slice, slice]]:
    """Yield sequence, rows and the keys that those rows may see, of scores [batch, heads, tokens, keys]."""
    batch, heads, tokens, _ = scores.shape
    count = max(1, _CHUNK // (heads * tokens))
    for i in range(batch):
        for start in range(0, tokens, count):
            stop = min(start + count, tokens)
            yield i, slice(start, stop), slice(0, stop)


def _seen(rows: slice, keys: slice) -> Tensor:
    """Return which keys each row sees, [rows, keys]: those up to its own token."""
    return torch.arange(keys.start, keys.stop) <= torch.arange(rows.start, rows.stop).unsqueeze(-1)


def _check_positions(positions: Tensor, keys: int) -> None:
    """Raise InputError unless each run is one whole sequence, within the keys that there is room for."""
    tokens = positions.shape[-1]
    if tokens > keys or not bool((positions == torch.arange(tokens)).all()):
        raise InputError(f"positions of a run must be 0, 1, 2, ... up to {keys - 1}: one sequence a row of the batch")
