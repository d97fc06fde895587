"""Which steps a chunk of bit-serial weights takes if idle ones are skipped.

BitMoD (arXiv 2411.11745) lets absent terms pass as idle cycles. Here a chunk, the weights of a PE's lanes that share a
selector, takes:

- integers: the steps of the type in which some lane has a digit, in their order; the first one if there is none;
- FP3 and FP4: one step if every value is zero or a power of two and one significance of the type suits all of them
  with exponents 0 to 3 (the smallest such is taken); otherwise both steps of the type;
- one-term FP3: its one step.

With ``skip`` off, all steps of the type. Whatever the steps, each lane's terms sum to its weight, so the result of an
exact or an integer PE is the same bits; the paper's accumulator rounds step by step, so there skipping is part of the
result. Columns in lock-step take as many steps as the slowest of them; the others idle after their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mxhw.arithmetic.terms import EXPONENT_LARGEST, Term, WeightType

__all__ = ["Step", "chunk_cycles", "chunk_steps", "merged_term", "merging_significances"]

_ABSENT = Term(0, 0, 0)


@dataclass(frozen=True)
class Step:
    """One step of a chunk: its significance, and the term of each lane."""

    significance: int
    terms: tuple[Term, ...]


def merging_significances(kind: WeightType) -> tuple[int, ...]:
    """Return the significances that a single merged step may have, in the order in which they are tried."""
    return tuple(sorted(set(kind.significances))) if kind.magnitudes and kind.steps > 1 else ()


def merged_term(kind: WeightType, code: int, selector: int, significance: int) -> Term | None:
    """Return the one term that spells a code at this significance; None if there is none."""
    value = kind.value(code, selector)
    magnitude = abs(value)
    if not magnitude:
        return _ABSENT
    exponent = magnitude.bit_length() - 1 - significance
    if magnitude & magnitude - 1 or not 0 <= exponent <= EXPONENT_LARGEST:
        return None
    return Term(int(value < 0), exponent, 1)


def chunk_steps(kind: WeightType, codes: Sequence[int], selector: int = 0, skip: bool = True) -> tuple[Step, ...]:
    """Return the steps of a chunk of stored codes whose group has this selector."""
    own = tuple(
        Step(kind.significance(step, selector), tuple(kind.term(code, step, selector) for code in codes))
        for step in range(kind.steps)
    )
    if not skip:
        return own
    for significance in merging_significances(kind):
        terms = [merged_term(kind, code, selector, significance) for code in codes]
        present = tuple(term for term in terms if term is not None)
        if len(present) == len(terms):
            return (Step(significance, present),)
    return tuple(step for step in own if any(term.mantissa for term in step.terms)) or own[:1]


def chunk_cycles(kind: WeightType, codes: Tensor, selector: Tensor | int = 0) -> Tensor:
    """Return the steps of chunks with skipping, int64: codes [..., lanes] as stored, selector [...] or one for all."""
    selectors = max(1, len(kind.special_values))
    table = [(code, s) for s in range(selectors) for code in range(1 << kind.code_bits)]
    chosen = torch.as_tensor(selector).long() if kind.special_values else torch.zeros((), dtype=torch.int64)
    index = codes.long() + (chosen.unsqueeze(-1) << kind.code_bits)
    occupied = torch.tensor([[kind.term(code, step, s).mantissa for step in range(kind.steps)] for code, s in table])
    cycles = occupied[index].amax(-2).sum(-1).clamp(min=1)
    for significance in merging_significances(kind):
        fits = torch.tensor([merged_term(kind, code, s, significance) is not None for code, s in table])
        cycles = torch.where(fits[index].all(-1), 1, cycles)
    return cycles
