"""Attention as the tests of its components draw it: operations, sequences, and the beats of their streams."""

from dataclasses import dataclass
from functools import cached_property

import torch
from amaranth.hdl import Const
from torch import Tensor

from mxhw.arithmetic.dataflow import (
    AttentionScores,
    AttentionValues,
    AttentionWeights,
    BlockCodes,
    BlockValues,
    Integers,
    Scores,
)
from mxhw.arithmetic.functions.softmax import SoftmaxSpec, SoftmaxWeights
from mxhw.rtl_templates.dataflow.head_memory import HeadMemory
from mxhw.rtl_templates.dataflow.kv_cache import KVCache
from mxhw.rtl_templates.function.softmax_weights import score_layout, weight_layout
from tests.rtl_templates.bank import beats

STD = SoftmaxSpec()
CHEAP = SoftmaxSpec(score_bits=16, score_fraction=6, weight_bits=10, reciprocal_entries_log2=4)


@dataclass(frozen=True, kw_only=True)
class Case:
    """Numbers of one attention; ``scores`` and ``values`` are what its units take beside its operations."""

    heads: int = 2
    kv_heads: int = 1
    head_dim: int = 8
    keys: int = 16
    bits: int = 8
    spec: SoftmaxSpec = STD
    exponent: int = -30
    output: int = -2
    output_bits: int = 16
    lanes: int = 1
    beat: int = 1
    kv_beat: int = 1
    output_lanes: int = 1
    banks: int = 1
    window: int | None = None

    def codes(self, heads: int, exponent: int) -> BlockCodes:
        return BlockCodes(
            kind="integer", length=heads * self.head_dim, block=self.head_dim, bits=self.bits, exponent=exponent
        )

    @cached_property
    def scores(self) -> AttentionScores:
        streams = {"query": self.codes(self.heads, self.exponent), "key": self.codes(self.kv_heads, 0)}
        y = Scores(heads=self.heads, keys=self.keys, spec=self.spec, window=self.window)
        return AttentionScores(**streams, y=y, banks=self.banks)

    @cached_property
    def weights(self) -> AttentionWeights:
        return AttentionWeights(x=self.scores.y)

    @cached_property
    def values(self) -> AttentionValues:
        y = Integers(length=self.heads * self.head_dim, bits=self.output_bits, exponent=self.output)
        return AttentionValues(weights=self.weights.output, value=self.codes(self.kv_heads, 0), y=y, banks=self.banks)

    def seen(self, token: int) -> int:
        """Keys that a token sees."""
        return min(token + 1, self.scores.y.most)

    def draw(self, generator: torch.Generator, tokens: int, heads: int) -> BlockValues:
        """Codes of all sizes with drawn scales; some vectors are zero, some the largest with the largest scale."""
        largest = (1 << self.bits - 1) - 1
        codes = torch.randint(-largest, largest + 1, (1, tokens, heads, self.head_dim), generator=generator)
        scale = torch.randint(0, 16, (1, tokens, heads), generator=generator)
        kind = torch.randint(0, 10, (1, tokens, heads), generator=generator)
        extreme = torch.where(codes < 0, -largest, largest)
        codes = torch.where((kind == 0)[..., None], 0, torch.where((kind == 1)[..., None], extreme, codes))
        return BlockValues(codes, torch.where(kind == 0, 0, torch.where(kind == 1, 15, scale)))


@dataclass(frozen=True)
class Sequence:
    """One sequence and what each operation gives for it; all batches of one."""

    case: Case
    query: BlockValues
    key: BlockValues
    value: BlockValues
    given: Tensor | None = None

    @property
    def tokens(self) -> int:
        return self.query.scale.shape[1]

    @cached_property
    def scores(self) -> Tensor:
        return self.case.scores.run(self.query, self.key, torch.arange(self.tokens)[None])

    @cached_property
    def weights(self) -> SoftmaxWeights:
        """Of the scores, or of others that were given."""
        return self.case.weights.run(self.scores if self.given is None else self.given)

    @cached_property
    def outputs(self) -> Tensor:
        return self.case.values.run(self.weights, self.value, torch.arange(self.tokens)[None])

    def rows(self, x: Tensor) -> list[Tensor]:
        """Rows of [1, heads, tokens, keys] in the order of the stream, without keys that are not seen."""
        return [
            x[0, head, token, token + 1 - self.case.seen(token) : token + 1]
            for token in range(self.tokens)
            for head in range(self.case.heads)
        ]


def drawn_sequences(case: Case, lengths: list[int], seed: int, *, plain_scores: bool = False) -> list[Sequence]:
    """Sequences of these lengths; with ``plain_scores`` their weights are those of scores a few units apart."""
    generator, found = torch.Generator().manual_seed(seed), []
    for n in lengths:
        query, key, value = (case.draw(generator, n, h) for h in (case.heads, case.kv_heads, case.kv_heads))
        spread = torch.randint(0, 6, (1, case.heads, n, 1), generator=generator)
        scores = (torch.randn(1, case.heads, n, n, generator=generator) * 2.0**spread).long()
        scores = scores << case.spec.score_fraction - 1
        found.append(Sequence(case, query, key, value, scores if plain_scores else None))
    return found


def lengths(case: Case) -> list[int]:
    """Sequences one after the other: short ones, and one that fills the cache."""
    return [min(n, case.keys) for n in (2, case.keys, 1, 1, 5)]


def code_beats(values: BlockValues, bits: int, lanes: int) -> list[int]:
    """Payloads of codes, the scale of a block on each of its beats."""
    scales = values.scale.flatten().repeat_interleave(values.codes.shape[-1] // lanes).tolist()
    codes = beats(values.codes.flatten().numpy(), bits, lanes)
    return [code | scale << bits * lanes for code, scale in zip(codes, scales, strict=True)]


def fields(layout, **columns) -> list[int]:
    """Payloads of a layout from lists of its fields."""
    return [
        sum(
            (value & (1 << layout[name].width) - 1) << layout[name].offset
            for name, value in zip(columns, row, strict=True)
        )
        for row in zip(*columns.values(), strict=True)
    ]


def positions(sequences: list[Sequence]) -> list[int]:
    return [position for s in sequences for position in range(s.tokens)]


def _columns(sequences: list[Sequence], values) -> tuple[list[int], list[int]]:
    rows = [row for s in sequences for row in s.rows(values(s))]
    return torch.cat(rows).tolist(), [int(i == len(row) - 1) for row in rows for i in range(len(row))]


def score_inputs(case: Case, sequences: list[Sequence]) -> dict[str, list[int]]:
    return {
        "query": [beat for s in sequences for beat in code_beats(s.query, case.bits, case.beat)],
        "key": [beat for s in sequences for beat in code_beats(s.key, case.bits, case.kv_beat)],
        "position": positions(sequences),
    }


def score_beats(case: Case, sequences: list[Sequence]) -> list[int]:
    scores, last = _columns(sequences, lambda s: s.scores)
    return fields(score_layout(case.spec), score=scores, last=last)


def weight_beats(case: Case, sequences: list[Sequence]) -> list[int]:
    parts = ("weight", "mantissa", "shift")
    columns = {part: _columns(sequences, lambda s, part=part: getattr(s.weights, part))[0] for part in parts}
    totals, last = _columns(sequences, lambda s: s.weights.weight.cumsum(-1))
    return fields(weight_layout(case.spec, case.scores.y.most), **columns, total=totals, last=last)


def value_inputs(case: Case, sequences: list[Sequence]) -> dict[str, list[int]]:
    value = [beat for s in sequences for beat in code_beats(s.value, case.bits, case.kv_beat)]
    return {"weights": weight_beats(case, sequences), "value": value, "position": positions(sequences)}


def output_beats(case: Case, sequences: list[Sequence]) -> list[int]:
    outputs = torch.cat([s.outputs.flatten() for s in sequences])
    return beats(outputs.numpy(), case.output_bits, case.output_lanes)


def first_tokens(inputs: dict[str, list[int]], tokens: int, count: int) -> dict[str, list[int]]:
    """The beats of the first ``count`` of ``tokens``, of streams that have as many beats for each."""
    return {stream: sent[: len(sent) // tokens * count] for stream, sent in inputs.items()}


def offered_before_taken(case: Case, beat: int) -> int:
    """Cycles that a first beat of codes is there before it is taken: several words leave with the last one."""
    return max(1, beat // case.lanes) - 1


class DamagedWord(HeadMemory):
    """One bit of one word is wrong."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        with m.If((self.write_block == 3) & (self.write_word == 1)):
            m.d.comb += m.submodules.code_words.write_data[7].eq(~self.write_codes[7])
        return m


class Impatient(KVCache):
    """Stores the first token of a sequence while the last sequence is still read."""

    def _unread(self, m):
        super()._unread(m)
        return Const(1)
