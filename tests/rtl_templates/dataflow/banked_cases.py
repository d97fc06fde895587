"""Tokens of sequences in several banks, in a drawn order, as the tests of attention send them.

What is expected comes from each sequence alone; the beats are then put in the order of the tokens.
"""

from dataclasses import dataclass
from functools import cached_property

import torch

from tests.rtl_templates.dataflow.attention_cases import (
    Case,
    Sequence,
    drawn_sequences,
    output_beats,
    positions,
    score_beats,
    score_inputs,
    value_inputs,
)


@dataclass(frozen=True)
class Passes:
    """Sequences of one case; ``order``: (sequence, token) of each pass; ``banks``: of each sequence."""

    case: Case
    sequences: list[Sequence]
    banks: list[int]
    order: list[tuple[int, int]]

    @property
    def positions(self) -> list[int]:
        return [token for _, token in self.order]

    @property
    def bank_of(self) -> list[int]:
        return [self.banks[sequence] for sequence, _ in self.order]

    @cached_property
    def where(self) -> dict[str, list[int]]:
        """The beats that say where tokens belong."""
        return {"position": self.positions} | ({"bank": self.bank_of} if self.case.banks > 1 else {})

    def score_inputs(self) -> dict[str, list[int]]:
        return self._inputs(score_inputs)

    def value_inputs(self) -> dict[str, list[int]]:
        return self._inputs(value_inputs)

    def score_beats(self) -> list[int]:
        return self._gather([score_beats(self.case, [s]) for s in self.sequences], rows=True)

    def output_beats(self) -> list[int]:
        return self._gather([output_beats(self.case, [s]) for s in self.sequences])

    def _inputs(self, of) -> dict[str, list[int]]:
        each = [of(self.case, [s]) for s in self.sequences]
        names = [name for name in each[0] if name != "position"]
        return {name: self._gather([one[name] for one in each], rows=name == "weights") for name in names} | self.where

    def _gather(self, beats: list[list[int]], *, rows: bool = False) -> list[int]:
        """Beats of sequences in the order of the passes; ``rows``: a token has a row of keys a head."""
        found = []
        for sequence, token in self.order:
            own, tokens = beats[sequence], self.sequences[sequence].tokens
            if rows:
                counts = [self.case.heads * self.case.seen(t) for t in range(tokens)]
                start, size = sum(counts[:token]), counts[token]
            else:
                size = len(own) // tokens
                start = token * size
            found += own[start : start + size]
        return found


def drawn_passes(case: Case, seed: int, *, plain_scores: bool = False, run: int = 3) -> Passes:
    """Two or three sequences a bank, one of all keys; up to ``run`` tokens of a bank follow each other."""
    generator = torch.Generator().manual_seed(seed)
    lengths, banks = [], []
    for bank in range(case.banks):
        own = [[case.keys, 2, 1], [1, min(5, case.keys)], [3, case.keys]][(bank + seed) % 3]
        lengths += [min(n, case.keys) for n in own]
        banks += [bank] * len(own)
    sequences = drawn_sequences(case, lengths, seed, plain_scores=plain_scores)
    queues = [
        [(s, t) for s, bank in enumerate(banks) if bank == one for t in range(lengths[s])] for one in range(case.banks)
    ]
    order = []
    while any(queues):
        left = [queue for queue in queues if queue]
        queue = left[int(torch.randint(len(left), (1,), generator=generator))]
        for _ in range(int(torch.randint(1, run + 1, (1,), generator=generator))):
            order += queue[:1]
            del queue[:1]
    assert sorted(positions(sequences)) == sorted(t for _, t in order)
    return Passes(case, sequences, banks, order)
