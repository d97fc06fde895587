"""What a design is asked, and what the software answers: greedy generation in whole runs of the unfolded model."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mxhw.arithmetic.dataflow import ArgMax, Integers, RequestValues
from mxhw.errors import InputError
from mxhw.passes.transform.fold.language import LanguageGraph
from mxhw.passes.transform.lower import LoweredGraph, integer_inputs

__all__ = ["Conversation", "continued", "greedy"]


@dataclass(frozen=True)
class Conversation:
    """Sequences that a design worked on, and the requests that it was given.

    Attributes
    ----------
    sequences : token ids of each, prompts and generated ones, int64 [tokens].
    prompts : how many of them are prompt.
    requests : what was asked, in order.
    """

    sequences: tuple[Tensor, ...]
    prompts: tuple[int, ...]
    requests: RequestValues


def greedy(graph: LanguageGraph, prompts: Sequence[Tensor], tokens: int) -> Conversation:
    """Return what the software generates: prompts in chunks, then a token for each sequence at a time, to the arg-max.

    Raises
    ------
    InputError
        If a prompt is empty, or prompt and tokens exceed the KV memory, or there are more prompts than sequences.
    """
    room = graph.positions_room
    if not 1 <= len(prompts) <= graph.sequences:
        raise InputError(f"prompts must be 1 to the {graph.sequences} sequences of the design, not {len(prompts)}")
    if not 1 <= tokens < room:
        raise InputError(
            f"tokens must be 1 to {room - 1}, fewer than the {room} positions of the KV memory, not {tokens}"
        )
    for prompt in prompts:
        if not 1 <= len(prompt) <= room - tokens:
            raise InputError(
                f"a prompt must have 1 to {room - tokens} tokens, so that it and {tokens} generated ones fit the "
                f"{room} positions of the KV memory, not {len(prompt)}; shorten it, or emit with more keys"
            )
    written = tuple(torch.cat([prompt, *continued(graph.whole, prompt, tokens)]) for prompt in prompts)
    return Conversation(written, tuple(map(len, prompts)), _requests(graph, prompts, tokens))


def continued(whole: LoweredGraph, prompt: Tensor, tokens: int, ends: Collection[int] = ()) -> Iterator[Tensor]:
    """Yield the tokens that follow a prompt, int64 [1] each, up to an end token.

    Each is computed from the whole sequence before it, which is slow and plainly the definition.
    """
    (name,) = whole.outputs
    kind = whole.types[name]
    assert isinstance(kind, Integers)
    chooser, ids = ArgMax(x=kind), prompt
    for _ in range(tokens):
        logits = whole.run(integer_inputs(whole, ids[None]))[name]
        token = chooser.run(logits[0, -1:])
        yield token
        if int(token) in ends:
            return
        ids = torch.cat([ids, token])


def _requests(graph: LanguageGraph, prompts: Sequence[Tensor], tokens: int) -> RequestValues:
    """Return the requests: all prompts in whole chunks, then one request a sequence for each further token."""
    asked = [
        (int(token), position, index, False, position == len(prompt) - 1)
        for index, prompt in enumerate(prompts)
        for position, token in enumerate(prompt.tolist())
    ]
    ends = [(i + 1) % graph.chunk == 0 or i == len(asked) - 1 for i in range(len(asked))]
    rows = list(asked)
    for step in range(tokens - 1):
        for index, prompt in enumerate(prompts):
            rows.append((0, len(prompt) + step, index, True, True))
            ends.append(index == len(prompts) - 1 or (index + 1) % graph.chunk == 0)
    token, position, sequence, generated, logits = (
        torch.tensor(column)[None].long() for column in zip(*rows, strict=True)
    )
    return RequestValues(
        token=token,
        position=position,
        sequence=sequence,
        generated=generated,
        logits=logits,
        last=torch.tensor(ends)[None].long(),
    )
