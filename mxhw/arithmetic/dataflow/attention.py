"""Attention as three operations: scores, weights of the keys, and the weighted mean of the values.

Source: arithmetic.md, section 6. Queries come with ``log2(e) / sqrt(d)`` in them. Tokens see the keys of their own run
up to their own position; heads in groups share keys and values.
"""

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

__all__ = ["AttentionScores", "AttentionValues", "AttentionWeights"]


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
        groups = self.query.blocks // self.key.blocks
        (q, qs), (k, ks) = _heads(query, 1), _heads(key, groups)
        products = (q.double() @ k.double().mT).long()
        scores = base2_scores(products, qs.unsqueeze(-1) + ks.unsqueeze(-2) + self.exponent, self.y.spec)
        return torch.where(_seen(positions), scores, 0)


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
        return softmax_weights(scores, self.x.spec, torch.arange(1, scores.shape[-1] + 1))


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
        v, scale = _heads(value, self.weights.heads // self.value.blocks)
        folded, largest = value_weights(weights, scale.unsqueeze(-2))
        sums = (folded.double() @ v.double()).long()
        mean = normalise(sums, weights.total.unsqueeze(-1), self.weights.spec)
        aligned = saturate(round_shift(mean, self.shift - largest.unsqueeze(-1)), self.y.bits)
        return aligned.transpose(-3, -2).flatten(-2)


def _heads(x: BlockValues, repeat: int) -> tuple[Tensor, Tensor]:
    """Return mantissas [batch, heads, tokens, d] and scales [batch, heads, tokens], each head ``repeat`` times."""
    mantissas, scale = x.mantissas.transpose(-3, -2), x.scale.transpose(-2, -1)
    return mantissas.repeat_interleave(repeat, -3), scale.repeat_interleave(repeat, -2)


def _seen(positions: Tensor) -> Tensor:
    """Return which keys each token sees, [batch, 1, tokens, keys]: those of its run up to its own position."""
    return (torch.arange(positions.shape[-1]) <= positions.unsqueeze(-1)).unsqueeze(-3)
