"""Operations that say what a language model's hardware works on: which token in which layer, with whose constants.

    requests ─▶ TokenSelect ─▶ embedding ─▶ Enter ─▶ one block for all layers ─▶ Keep ─▶ norm, head ─▶ ArgMax ─┐
        │           ▲                         │ ▲                                │ │                          │
        └─▶ PassOrder ─▶ Field …    (returned)  └────────────────────────────────┘ └────── (feedback) ◀───────┘

A pass is one token through one layer. Requests come in chunks: all tokens of a chunk pass a layer before one of them
enters the next. Streams have tokens of their own number here: a run holds values [1, tokens], and how many tokens the
output has depends on what the inputs say. There is no scheduling in here: the order of passes is that of the requests.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from mxhw.arithmetic.dataflow.operation import Operation
from mxhw.arithmetic.dataflow.streams import Indices, Integers, Passes, PassValues, Requests, RequestValues
from mxhw.arithmetic.functions.checks import check_integer
from mxhw.errors import InputError

__all__ = ["ArgMax", "Enter", "Field", "Keep", "PassOrder", "TokenSelect", "chunk_numbers", "newest_logits"]

FieldName = Literal["position", "sequence", "layer", "bank"]
Kept = Literal["returned", "final"]


def chunk_numbers(last: Tensor, chunk: int) -> Tensor:
    """Return the number of each request's chunk [requests]: one ends at ``last`` [requests], or is ``chunk`` long."""
    at = torch.arange(len(last))
    starts = torch.cat([last.new_ones(1), last[:-1]])[: len(last)] != 0
    inside = at - torch.where(starts, at, 0).cummax(0).values
    return (starts | (inside % chunk == 0)).cumsum(0) - 1


def newest_logits(sequence: Tensor, logits: Tensor) -> Tensor:
    """Return which logits are the newest ones of each request's sequence before it; all [requests]. -1: none are."""
    number = torch.where(logits != 0, logits.cumsum(0) - 1, -1)
    newest = torch.full_like(sequence, -1)
    for each in set(sequence.tolist()):
        own = (sequence == each).nonzero().flatten()
        newest[own[1:]] = number[own[:-1]].cummax(0).values
    return newest


@dataclass(frozen=True, eq=False, kw_only=True)
class PassOrder(Operation):
    """Requests as passes: chunk after chunk, in each of them layer after layer, in each layer token after token.

    Attributes
    ----------
    chunk : requests after which a chunk ends where none of them is its ``last``.
    """

    kind: ClassVar[str] = "pass_order"
    x: Requests
    layers: int
    chunk: int

    def __post_init__(self) -> None:
        check_integer("layers", self.layers, 1)
        check_integer("chunk", self.chunk, 1)

    @property
    def inputs(self) -> tuple[Requests]:
        return (self.x,)

    @property
    def output(self) -> Passes:
        return Passes(layers=self.layers, sequences=self.x.sequences, keys=self.x.keys)

    def run(self, requests: RequestValues) -> PassValues:
        """Return the passes; InputError if the last chunk does not end, so that its further layers never come."""
        chunks = chunk_numbers(requests.last[0], self.chunk)
        length = int((chunks == chunks[-1]).sum())
        if self.layers > 1 and not requests.last[0, -1] and length < self.chunk:
            raise InputError(f"the last request of a run must end its chunk; only {length} of {self.chunk} are there")
        layers = torch.arange(self.layers)
        order = torch.argsort((chunks * self.layers + layers.unsqueeze(-1)).flatten(), stable=True)
        request = order % len(chunks)
        position, sequence, logits = (
            getattr(requests, name)[:, request] for name in ("position", "sequence", "logits")
        )
        return PassValues(position=position, sequence=sequence, layer=(order // len(chunks))[None], logits=logits)


@dataclass(frozen=True, eq=False, kw_only=True)
class Field(Operation):
    """One field of requests or passes; "bank" is ``layer * sequences + sequence``: which KV cache a pass uses."""

    kind: ClassVar[str] = "field"
    x: Requests | Passes
    name: FieldName

    def __post_init__(self) -> None:
        allowed = get_args(FieldName) if isinstance(self.x, Passes) else ("position", "sequence")
        if self.name not in allowed:
            raise InputError(f"name must be one of {', '.join(allowed)}, not {self.name!r}")

    @property
    def inputs(self) -> tuple[Requests | Passes]:
        return (self.x,)

    @property
    def output(self) -> Indices:
        counts = self.x.counts
        return Indices(count=counts["layer"] * counts["sequence"] if self.name == "bank" else counts[self.name])

    def run(self, x: RequestValues | PassValues) -> Tensor:
        if self.name != "bank":
            found: Tensor = getattr(x, self.name)
            return found
        assert isinstance(x, PassValues), "requests have no bank"
        return x.layer * self.x.sequences + x.sequence


@dataclass(frozen=True, eq=False, kw_only=True)
class TokenSelect(Operation):
    """The token of each request: its own, or what the arg-max said of the newest logits of its sequence before it.

    Before the first logits of a sequence that is token 0. The logits must be of an earlier chunk, since a chunk's
    tokens have to be known before any of its logits are.

    Attributes
    ----------
    chunk : as :class:`PassOrder` has it.
    """

    kind: ClassVar[str] = "token_select"
    x: Requests
    chunk: int

    def __post_init__(self) -> None:
        check_integer("chunk", self.chunk, 1)

    @property
    def inputs(self) -> tuple[Requests, Indices]:
        return self.x, Indices(count=self.x.vocabulary)

    @property
    def output(self) -> Indices:
        return Indices(count=self.x.vocabulary)

    def run(self, requests: RequestValues, feedback: Tensor) -> Tensor:
        """Return the tokens; ``feedback`` [1, logits] is the arg-max of all logits that are asked for, in order.

        Raises
        ------
        InputError
            If there is not one arg-max for all logits, or a request waits for logits of its own chunk.
        """
        asked = requests.logits[0].nonzero().flatten()
        if feedback.shape[-1] != len(asked):
            raise InputError(f"feedback must be the arg-max of {len(asked)} logits, not {feedback.shape[-1]} tokens")
        newest, generated = newest_logits(requests.sequence[0], requests.logits[0]), requests.generated[0] != 0
        known = generated & (newest >= 0)
        chunks = chunk_numbers(requests.last[0], self.chunk)
        source = torch.cat([asked, asked.new_zeros(1)])[newest]
        if len(wrong := (known & (chunks[source] == chunks)).nonzero()):
            raise InputError(f"request {int(wrong[0])} takes the arg-max of logits of its own chunk, which never comes")
        given = torch.where(known, torch.cat([feedback[0], feedback.new_zeros(1)])[newest], 0)
        return torch.where(generated, given, requests.token[0])[None]


@dataclass(frozen=True, eq=False, kw_only=True)
class Enter(Operation):
    """What a block takes: passes of layer 0 a vector that is embedded, those of other layers one that has returned."""

    kind: ClassVar[str] = "enter"
    x: Integers
    passes: Passes

    def __post_init__(self) -> None:
        _check_layers(self.passes, "returns")

    @property
    def inputs(self) -> tuple[Passes, Integers, Integers]:
        return self.passes, self.x, self.x

    @property
    def output(self) -> Integers:
        return self.x

    def run(self, passes: PassValues, embedded: Tensor, returned: Tensor) -> Tensor:
        """Return [1, passes, length]; InputError unless each pass has its vector, and each vector its pass."""
        first = passes.layer[0] == 0
        _check_count("embedded", embedded, int(first.sum()))
        _check_count("returned", returned, int((~first).sum()))
        hidden = embedded.new_zeros(1, len(first), self.x.length)
        hidden[:, first], hidden[:, ~first] = embedded, returned
        return hidden


@dataclass(frozen=True, eq=False, kw_only=True)
class Keep(Operation):
    """Some of what a block gives; the other vectors are dropped.

    Attributes
    ----------
    which : "returned": those of passes of all layers but the last. "final": those of the last layer whose logits are
        asked for.
    """

    kind: ClassVar[str] = "keep"
    x: Integers
    passes: Passes
    which: Kept

    def __post_init__(self) -> None:
        if self.which not in get_args(Kept):
            raise InputError(f"which must be one of {', '.join(get_args(Kept))}, not {self.which!r}")
        if self.which == "returned":
            _check_layers(self.passes, "returns")

    @property
    def inputs(self) -> tuple[Passes, Integers]:
        return self.passes, self.x

    @property
    def output(self) -> Integers:
        return self.x

    def kept(self, passes: PassValues) -> Tensor:
        """Return whether each vector is kept [passes]."""
        is_last = passes.layer[0] == self.passes.layers - 1
        return ~is_last if self.which == "returned" else is_last & (passes.logits[0] != 0)

    def run(self, passes: PassValues, x: Tensor) -> Tensor:
        _check_count("x", x, passes.shape[1])
        return x[:, self.kept(passes)]


@dataclass(frozen=True, eq=False, kw_only=True)
class ArgMax(Operation):
    """The index of a vector's largest element, the first of equal ones."""

    kind: ClassVar[str] = "arg_max"
    x: Integers

    @property
    def inputs(self) -> tuple[Integers]:
        return (self.x,)

    @property
    def output(self) -> Indices:
        return Indices(count=self.x.length)

    def run(self, x: Tensor) -> Tensor:
        return x.argmax(-1)


def _check_layers(passes: Passes, what: str) -> None:
    if passes.layers < 2:
        raise InputError(f"layers must be at least 2 where something {what}, not {passes.layers!r}")


def _check_count(name: str, value: Tensor, count: int) -> None:
    if value.shape[1] != count:
        raise InputError(f"{name} must have a vector for each of {count} passes, not {value.shape[1]}")
