"""Talking with a language model that answers requests: prompts in, tokens out as they come.

    conversation = Conversation(model, [[1, 5, 9]], tokens=32, sampling=Sampling(temperature=0.8, seed=1))
    for written in conversation:
        print(written.sequence, written.token)

The model is anything that answers requests (:class:`Engine`): RTL in simulation (`mxhw.sim.language`), or software. The
host says which token comes next: the largest logit, or one drawn from the logits. It never rests on the design for
that: the index that the design says is the largest must be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from mxhw.errors import InputError
from mxhw.sim.language import TokenAnswer, TokenRequest
from mxhw.sim.streams import StreamError

if TYPE_CHECKING:
    from mxhw.sim.beats import Array
    from mxhw.sim.dataflow_design import LanguageModel

__all__ = ["Conversation", "Engine", "Line", "Sampling", "Step", "Written", "check_prompts"]


class Engine(Protocol):
    """What answers requests, with one KV cache a sequence."""

    language: LanguageModel

    @property
    def cycles(self) -> int:
        """Clock cycles since reset."""

    def step(self, requests: Sequence[TokenRequest]) -> list[TokenAnswer]:
        """Work on the requests and return an answer for each that wants logits, in order."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen: the largest logit, or one drawn.

    Draws are from softmax(logits / temperature); temperature 0 takes the largest logit, the first of equals.

    Attributes
    ----------
    top_k : only the largest so many logits take part, the first of equals; None for all.
    seed : of the draws; each sequence has its own, which the others do not change.
    """

    temperature: float = 0.0
    top_k: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not (isfinite(self.temperature) and self.temperature >= 0):
            raise InputError(f"temperature must be 0 (the most likely token) or more, not {self.temperature!r}")
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"top-k must be at least 1 logit, not {self.top_k!r}")
        if self.seed < 0:
            raise InputError(f"seed must be 0 or more, not {self.seed!r}")

    @property
    def greedy(self) -> bool:
        """Whether nothing is drawn."""
        return self.temperature == 0

    def generator(self, sequence: int) -> np.random.Generator:
        """Return the source of the draws of a sequence."""
        return np.random.default_rng([self.seed, sequence])

    def choose(self, logits: Array, draws: np.random.Generator) -> int:
        """Return the next token.

        Parameters
        ----------
        logits : real numbers, float64 [vocabulary].
        """
        if self.greedy:
            return int(np.argmax(logits))
        kept = np.sort(np.argsort(-logits, kind="stable")[: self.top_k])
        bounds = np.cumsum(np.exp((logits[kept] - logits.max()) / self.temperature))
        drawn = int(np.searchsorted(bounds, draws.random() * bounds[-1], side="right"))
        return int(kept[min(drawn, len(kept) - 1)])


@dataclass
class Line:
    """One sequence.

    Attributes
    ----------
    prompt, generated : token ids; an end token is the last of `generated`.
    ended : by an end token or by the number of tokens; None while it goes on.
    """

    prompt: tuple[int, ...]
    generated: list[int] = field(default_factory=list)
    ended: Literal["eos", "tokens"] | None = None


@dataclass(frozen=True)
class Written:
    """A token that came."""

    sequence: int
    token: int


@dataclass(frozen=True)
class Step:
    """Requests that were sent together: how many, the tokens that came of them, and what that took."""

    requests: int
    tokens: int
    cycles: int
    seconds: float


def check_prompts(
    language: LanguageModel, prompts: Sequence[Sequence[int]], tokens: int, sampling: Sampling | None = None
) -> None:
    """Raise InputError unless the model can continue the prompts (token ids) together, by `tokens` tokens each."""
    if sampling is not None and sampling.top_k is not None and sampling.top_k > language.vocabulary:
        raise InputError(f"top-k must be at most the vocabulary of {language.vocabulary}, not {sampling.top_k}")
    if tokens < 1:
        raise InputError(f"tokens must be at least 1, not {tokens!r}")
    if not 1 <= len(prompts) <= language.sequences:
        fewer = "give fewer, or emit the model for more sequences"
        raise InputError(f"the design has KV caches for {language.sequences} sequences, not {len(prompts)}; {fewer}")
    for number, prompt in enumerate(prompts):
        which = f"prompt {number + 1} " if len(prompts) > 1 else "prompt "
        if not prompt:
            raise InputError(f"{which}is empty; give at least one token, for instance --prompt 'The'")
        if wrong := [token for token in prompt if not 0 <= token < language.vocabulary]:
            raise InputError(f"{which}must have token ids from 0 to {language.vocabulary - 1}, not {wrong[0]}")
        if len(prompt) + tokens > language.keys:
            both = f"of {len(prompt)} tokens and {tokens} new ones are {len(prompt) + tokens}"
            less = "give fewer, or emit the model for longer sequences"
            raise InputError(f"{which}{both}, more than the {language.keys} that the KV memory holds; {less}")


class Conversation:
    """Prompts and what a model writes behind them, together: each step has one token of every sequence that goes on.

    Attributes
    ----------
    lines : the sequences, in the order of the prompts.
    steps : what has been sent; the first one is all prompts.
    """

    def __init__(
        self, engine: Engine, prompts: Sequence[Sequence[int]], *, tokens: int, sampling: Sampling | None = None
    ) -> None:
        self._engine, self._language, self._tokens = engine, engine.language, tokens
        self._sampling = Sampling() if sampling is None else sampling
        check_prompts(self._language, prompts, tokens, sampling)
        self.lines = [Line(tuple(prompt)) for prompt in prompts]
        self.steps: list[Step] = []
        self._draws = [self._sampling.generator(number) for number in range(len(prompts))]

    def __iter__(self) -> Iterator[Written]:
        """Send the prompts, then step by step what was chosen; yield every token as it comes."""
        requests = [
            TokenRequest(token=token, position=position, sequence=number, logits=position == len(line.prompt) - 1)
            for number, line in enumerate(self.lines)
            for position, token in enumerate(line.prompt)
        ]
        while requests:
            yield from self._step(requests)
            requests = [
                TokenRequest(
                    token=line.generated[-1],
                    position=len(line.prompt) + len(line.generated) - 1,
                    sequence=number,
                    logits=True,
                )
                for number, line in enumerate(self.lines)
                if line.ended is None
            ]

    def _step(self, requests: Sequence[TokenRequest]) -> Iterator[Written]:
        start, begin = perf_counter(), self._engine.cycles
        answers = self._engine.step(_chunked(requests, self._language.chunk))
        asked = [request for request in requests if request.logits]
        self.steps.append(Step(len(requests), len(asked), self._engine.cycles - begin, perf_counter() - start))
        for request, answer in zip(asked, answers, strict=True):
            yield self._write(request, answer)

    def _write(self, request: TokenRequest, answer: TokenAnswer) -> Written:
        line, number = self.lines[request.sequence], request.sequence
        if answer.token != (largest := int(np.argmax(answer.logits))):
            raise StreamError(
                f"{self._language.tokens} says that logit {answer.token} is the largest of sequence {number},"
                f" position {request.position}, but logit {largest} is ({answer.logits[largest]})",
                self._language.tokens,
                None,
                self._engine.cycles,
            )
        logits = np.ldexp(answer.logits.astype(np.float64), self._language.logits_exponent)
        token = self._sampling.choose(logits, self._draws[number])
        line.generated.append(token)
        if token == self._language.eos:
            line.ended = "eos"
        elif len(line.generated) == self._tokens:
            line.ended = "tokens"
        return Written(number, token)

    @property
    def most(self) -> int:
        """The most tokens that can come, of all sequences together."""
        return self._tokens * len(self.lines)

    @property
    def prefill(self) -> Step:
        """The step of the prompts."""
        return self.steps[0]

    @property
    def decode(self) -> list[Step]:
        """The steps after it; none where each sequence has one token only."""
        return self.steps[1:]

    def to_json(self) -> dict[str, Any]:
        """Return counts, cycles and seconds; cycles and seconds a token are those of the steps after the prompts."""
        steps, decode = self.steps, self.decode
        tokens, cycles = sum(step.tokens for step in decode), sum(step.cycles for step in decode)
        seconds, whole = sum(step.seconds for step in decode), sum(step.seconds for step in steps)
        return {
            "prompt_tokens": self.prefill.requests,
            "generated_tokens": sum(step.tokens for step in steps),
            "cycles": self.prefill.cycles + cycles,
            "prefill_cycles": self.prefill.cycles,
            "decode_cycles": [step.cycles for step in decode],
            "cycles_per_token": cycles / tokens if tokens else None,
            "cycles_last_token": decode[-1].cycles / decode[-1].tokens if decode else None,
            "seconds": whole,
            "prefill_seconds": self.prefill.seconds,
            "simulated_cycles_per_second": (self.prefill.cycles + cycles) / whole,
            "simulated_tokens_per_second": tokens / seconds if tokens else None,
        }


def _chunked(requests: Sequence[TokenRequest], chunk: int) -> list[TokenRequest]:
    """Return the requests with the end of every chunk marked."""
    ends = {*range(chunk - 1, len(requests), chunk), len(requests) - 1}
    return [replace(request, last=number in ends) for number, request in enumerate(requests)]
