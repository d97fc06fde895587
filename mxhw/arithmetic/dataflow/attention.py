"""Attention as three operations: scores, weights of the keys, and the weighted mean of the values.

Source: arithmetic.md, section 6. Queries come with ``log2(e) / sqrt(d)`` in them. A run holds whole sequences, from
position 0 on: tokens see the keys up to their own, or with a window the last ones of these. Heads in groups share keys
and values. Rows of scores are worked on a few at a time, so that what is between them stays in a processor's cache.

With several banks the tokens of a run, [1, tokens, ...], belong to sequences in any order (:mod:`.banked`); each
sequence gives what it would give alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mxhw.arithmetic.dataflow.banked import bank_sequences, codes_of, weights_of
from mxhw.arithmetic.dataflow.operation import Operation
from mxhw.arithmetic.dataflow.streams import (
    BankedScores,
    BlockCodes,
    BlockValues,
    Indices,
    Integers,
    KeyWeights,
    Scores,
)
from mxhw.arithmetic.functions.checks import check_integer
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
    """Base-2 scores of each query with the keys up to its position; the codes of keys are kept (KV cache).

    ``banks`` sequences are kept. Above 1 the last input says which one a token belongs to.
    """

    kind: ClassVar[str] = "attention_scores"
    query: BlockCodes
    key: BlockCodes
    y: Scores
    banks: int = 1

    def __post_init__(self) -> None:
        check_integer("banks", self.banks, 1)

    @property
    def inputs(self) -> tuple[BlockCodes, BlockCodes, *tuple[Indices, ...]]:
        positions = Indices(count=self.y.keys)
        if self.banks == 1:
            return self.query, self.key, positions
        return self.query, self.key, positions, Indices(count=self.banks)

    @property
    def output(self) -> Scores:
        return self.y

    @property
    def exponent(self) -> int:
        """Of a product of two codes with scales 0."""
        return self.query.exponent + self.key.exponent

    def run(
        self, query: BlockValues, key: BlockValues, positions: Tensor, banks: Tensor | None = None
    ) -> Tensor | BankedScores:
        if banks is None:
            return self._whole(query, key, positions)
        sequences = bank_sequences(positions, banks, self.y.keys, self.banks)
        tokens, longest = positions.shape[1], max(map(len, sequences))
        scores = torch.zeros(1, self.query.blocks, tokens, longest, dtype=torch.int64)
        seen = torch.zeros(tokens, longest, dtype=torch.bool)
        for places in sequences:
            own = slice(0, len(places))
            scores[:, :, places, own] = self._whole(
                codes_of(query, places), codes_of(key, places), torch.arange(len(places))[None]
            )
            seen[places, own] = _seen(own, own, self.y.window)
        return BankedScores(scores, seen)

    def _whole(self, query: BlockValues, key: BlockValues, positions: Tensor) -> Tensor:
        _check_positions(positions, self.y.keys)
        (q, qs), (k, ks) = _heads(query, 1), _heads(key, self.query.blocks // self.key.blocks)
        exact = torch.float32 if self._largest_product < 1 << 24 else torch.float64
        q, k = q.to(exact), k.to(exact)
        scores = torch.zeros(*qs.shape, ks.shape[-1], dtype=torch.int64)
        for i, rows, keys in _chunks(scores, self.y.window):
            products = (q[i, :, rows] @ k[i, :, keys].mT).long()
            exponent = qs[i, :, rows, None] + ks[i, :, None, keys] + self.exponent
            found = base2_scores(products, exponent, self.y.spec)
            scores[i, :, rows, keys] = torch.where(_seen(rows, keys, self.y.window), found, 0)
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
        return KeyWeights(heads=self.x.heads, keys=self.x.keys, spec=self.x.spec, window=self.x.window)

    def run(self, scores: Tensor | BankedScores) -> SoftmaxWeights:
        if isinstance(scores, BankedScores):
            return softmax_weights(scores.scores, self.x.spec, seen=scores.seen)
        whole, window = slice(0, scores.shape[-1]), self.x.window
        mantissa, shift, weight = (torch.zeros_like(scores) for _ in range(3))
        total = torch.zeros(scores.shape[:-1], dtype=torch.int64)
        for i, rows, keys in _chunks(scores, window):
            found = softmax_weights(scores[i, :, rows, keys], self.x.spec, seen=_seen(rows, keys, window))
            mantissa[i, :, rows, keys], shift[i, :, rows, keys] = found.mantissa, found.shift
            weight[i, :, rows, keys], total[i, :, rows] = found.weight, found.total
        return SoftmaxWeights(_seen(whole, whole, window), mantissa, shift, weight, total)


@dataclass(frozen=True, eq=False, kw_only=True)
class AttentionValues(Operation):
    """Mean of the values by the weights of their keys, divided by the sum, on the grid of the output stream.

    The values' codes are kept (KV cache). The division gives int16 with 8 bits below one unit of the values at the
    largest scale that the token sees, which is then shifted to the output's exponent, rounded and saturated.

    ``banks`` sequences are kept. Above 1 the last input says which one a token belongs to.
    """

    kind: ClassVar[str] = "attention_values"
    weights: KeyWeights
    value: BlockCodes
    y: Integers
    banks: int = 1

    def __post_init__(self) -> None:
        check_integer("banks", self.banks, 1)

    @property
    def inputs(self) -> tuple[KeyWeights, BlockCodes, *tuple[Indices, ...]]:
        positions = Indices(count=self.weights.keys)
        if self.banks == 1:
            return self.weights, self.value, positions
        return self.weights, self.value, positions, Indices(count=self.banks)

    @property
    def output(self) -> Integers:
        return self.y

    @property
    def shift(self) -> int:
        """Right shift of a mean, for a largest scale of 0; each unit of the scale makes it one less."""
        return self.y.exponent - (self.value.exponent - OUTPUT_FRACTION)

    def run(
        self, weights: SoftmaxWeights, value: BlockValues, positions: Tensor, banks: Tensor | None = None
    ) -> Tensor:
        if banks is None:
            return self._whole(weights, value, positions)
        mean = torch.zeros(1, positions.shape[1], self.y.length, dtype=torch.int64)
        for places in bank_sequences(positions, banks, self.weights.keys, self.banks):
            own = torch.arange(len(places))[None]
            mean[:, places] = self._whole(weights_of(weights, places), codes_of(value, places), own)
        return mean

    def _whole(self, weights: SoftmaxWeights, value: BlockValues, positions: Tensor) -> Tensor:
        _check_positions(positions, self.weights.keys)
        v, scale = _heads(value, self.weights.heads // self.value.blocks)
        v = v.double()
        aligned = torch.zeros(v.shape, dtype=torch.int64)
        for i, rows, keys in _chunks(weights.weight, self.weights.window):
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


def _chunks(scores: Tensor, window: int | None) -> Iterator[tuple[int, slice, slice]]:
    """Yield sequence, rows and the keys that those rows may see, of scores [batch, heads, tokens, keys]."""
    batch, heads, tokens, _ = scores.shape
    count = max(1, _CHUNK // (heads * tokens))
    for i in range(batch):
        for start in range(0, tokens, count):
            stop = min(start + count, tokens)
            first = 0 if window is None else max(0, start - window + 1)
            yield i, slice(start, stop), slice(first, stop)


def _seen(rows: slice, keys: slice, window: int | None) -> Tensor:
    """Return which keys each row sees, [rows, keys]: those up to its own token, and of these the last ``window``."""
    before = torch.arange(rows.start, rows.stop).unsqueeze(-1) - torch.arange(keys.start, keys.stop)
    return (before >= 0) if window is None else (before >= 0) & (before < window)


def _check_positions(positions: Tensor, keys: int) -> None:
    """Raise InputError unless each run is one whole sequence, within the keys that there is room for."""
    tokens = positions.shape[-1]
    if tokens > keys or not bool((positions == torch.arange(tokens)).all()):
        raise InputError(f"positions of a run must be 0, 1, 2, ... up to {keys - 1}: one sequence a row of the batch")
