"""Drawn requests, and what is to become of them as plain loops over Python ints."""

import random
from dataclasses import astuple, dataclass

import torch

from mxhw.arithmetic.dataflow import Passes, PassValues, Requests, RequestValues


@dataclass
class Asked:
    """A request; fields in the order of a payload."""

    token: int
    position: int
    sequence: int
    generated: int
    logits: int
    last: int


@dataclass
class Pass:
    """A pass; fields in the order of a payload."""

    position: int
    sequence: int
    layer: int
    logits: int


def drawn_requests(
    kind: Requests, chunk: int, count: int, seed: int, *, last: float = 0.2, logits: float = 0.4, generated: float = 0.4
) -> list[Asked]:
    """Requests of all kinds; ``last``, ``logits`` and ``generated`` say how often each is set. Chunks may be full, too.

    Tokens are generated from logits of an earlier chunk only, or of none.
    """
    draw, asked, inside = random.Random(seed), list[Asked](), 0
    pending: set[int] = set()  # sequences with logits in this chunk
    for index in range(count):
        sequence = draw.randrange(kind.sequences)
        ends = draw.random() < last or index == count - 1
        one = Asked(
            token=draw.randrange(kind.vocabulary),
            position=draw.randrange(kind.keys),
            sequence=sequence,
            generated=int(sequence not in pending and draw.random() < generated),
            logits=int(draw.random() < logits),
            last=int(ends),
        )
        asked.append(one)
        inside += 1
        if one.logits:
            pending.add(sequence)
        if ends or inside == chunk:
            inside, pending = 0, set()
    return asked


def request_values(asked: list[Asked]) -> RequestValues:
    """As the value of a stream."""
    return RequestValues(*torch.tensor([astuple(one) for one in asked]).T.unsqueeze(1))


def pass_values(passes: list[Pass]) -> PassValues:
    """As the value of a stream."""
    return PassValues(*torch.tensor([astuple(one) for one in passes]).T.unsqueeze(1))


def payloads(kind: Requests | Passes, each: list[Asked] | list[Pass]) -> list[int]:
    """Payloads of beats."""
    words = []
    for one in each:
        word = at = 0
        for value, count in zip(astuple(one), kind.counts.values(), strict=True):
            word |= value << at
            at += max(1, (count - 1).bit_length())
        words.append(word)
    return words


def passes_of(asked: list[Asked], layers: int, chunk: int) -> list[Pass]:
    """The order of passes: chunks, in them layers, in them requests."""
    passes, held = [], list[Asked]()
    for one in asked:
        held.append(one)
        if one.last or len(held) == chunk:
            passes += [Pass(e.position, e.sequence, layer, e.logits) for layer in range(layers) for e in held]
            held = []
    assert not held
    return passes


def tokens_of(asked: list[Asked], feedback: list[int]) -> list[int]:
    """The token of each request."""
    newest: dict[int, int] = {}
    arrivals, tokens = iter(feedback), []
    for one in asked:
        tokens.append(newest.get(one.sequence, 0) if one.generated else one.token)
        if one.logits:
            newest[one.sequence] = next(arrivals)
    assert next(arrivals, None) is None
    return tokens
