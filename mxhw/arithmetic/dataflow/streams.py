"""What flows between the units of an integer graph: the type of a stream, and the integers of a run.

A value is ``integer * 2**exponent`` with an exponent that is one constant of the stream, or of a block of codes. Each
stream carries one vector per token, tokens in order; ranges are symmetric (the most negative code does not occur).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mxhw.arithmetic.functions.checks import check_integer
from mxhw.arithmetic.functions.softmax import SoftmaxSpec, SoftmaxWeights
from mxhw.arithmetic.mac import block_element
from mxhw.formats import DIALECT_TABLE

__all__ = [
    "BankedScores",
    "BlockCodes",
    "BlockValues",
    "Indices",
    "Integers",
    "KeyWeights",
    "PassValues",
    "Passes",
    "RequestValues",
    "Requests",
    "Scores",
    "StreamType",
    "StreamValue",
    "Words",
]

# The largest scale of a block of codes that was made from int16 mantissas; see BlockCodes.
LARGEST_SCALE = {"integer": 15, "dialect": 14}


@dataclass(frozen=True, kw_only=True)
class Integers:
    """Signed integers, ``length`` a token; value ``m * 2**exponent``. A run holds int64 [batch, tokens, length]."""

    length: int
    bits: int
    exponent: int


@dataclass(frozen=True, kw_only=True)
class Indices:
    """One unsigned index below ``count`` a token: a token id, a position. A run holds int64 [batch, tokens]."""

    count: int


@dataclass(frozen=True, kw_only=True)
class BlockCodes:
    """Codes in blocks with one scale each, made on line from int16 mantissas.

    integer: value ``code * 2**(scale + exponent)``; the scale is the position of the block's leading one plus 1, or 0
    for a block of zeros. dialect: ``half units * 2**(scale + exponent)``; the scale is that position. A length that is
    no multiple of the block is padded with zeros. A run holds :class:`BlockValues`.

    Attributes
    ----------
    kind : what a code is.
    length : elements a token, without padding.
    block : elements that share a scale: all of a token, a head's, or a DialectFP4 block.
    bits : of a code.
    exponent : that of the stream which was quantized, less ``bits - 1`` (integer) or 3 (dialect).
    """

    kind: Literal["integer", "dialect"]
    length: int
    block: int
    bits: int
    exponent: int

    @property
    def blocks(self) -> int:
        """Blocks a token."""
        return -(-self.length // self.block)

    @property
    def padded(self) -> int:
        """Elements a token with padding."""
        return self.blocks * self.block

    @property
    def largest(self) -> int:
        """Bound on the magnitude of ``code << scale``."""
        code = (1 << self.bits - 1) - 1 if self.kind == "integer" else block_element("dialect4").largest
        return code << LARGEST_SCALE[self.kind]


@dataclass(frozen=True)
class BlockValues:
    """Int64: codes [batch, tokens, blocks, block] as stored, scale [batch, tokens, blocks], and dialect like scale."""

    codes: Tensor
    scale: Tensor
    dialect: Tensor | None = None

    @property
    def mantissas(self) -> Tensor:
        """Codes without their scales: signed integers, or signed half units of DialectFP4; [..., blocks, block]."""
        if self.dialect is None:
            return self.codes
        magnitudes = torch.tensor(DIALECT_TABLE)[self.dialect.unsqueeze(-1), self.codes & 7]
        return torch.where(self.codes >> 3 != 0, -magnitudes, magnitudes)

    @property
    def integers(self) -> Tensor:
        """``code << scale``, [..., padded length]."""
        return (self.mantissas << self.scale.unsqueeze(-1)).flatten(-2)


@dataclass(frozen=True, kw_only=True)
class _KeyRows:
    """One row a token and head, of the keys that the token sees.

    Attributes
    ----------
    heads : of queries.
    keys : tokens of the longest sequence.
    spec : of the softmax.
    window : a token sees so many keys, the last of which is its own; None: all up to its own.
    """

    heads: int
    keys: int
    spec: SoftmaxSpec
    window: int | None = None

    def __post_init__(self) -> None:
        if self.window is not None:
            check_integer("window", self.window, 1)

    @property
    def most(self) -> int:
        """Keys that a token sees at most."""
        return min(self.keys, self.window or self.keys)


@dataclass(frozen=True, kw_only=True)
class Scores(_KeyRows):
    """Base-2 scores: for each token, head after head, one signed score per key that the token sees, first key first.

    A run holds int64 [batch, heads, tokens, keys], 0 where a key is not seen; keys are the tokens of the same run.
    Where tokens of several sequences alternate it holds :class:`BankedScores`.
    """


@dataclass(frozen=True, kw_only=True)
class KeyWeights(_KeyRows):
    """Weights of keys, in the order of :class:`Scores`. A run holds the :class:`SoftmaxWeights` of its scores."""


@dataclass(frozen=True)
class BankedScores:
    """Scores of tokens of several sequences in any order; column j is the key at position j of the token's sequence.

    Attributes
    ----------
    scores : int64 [1, heads, tokens, keys], 0 where a key is not seen; as many keys as the longest sequence has.
    seen : bool [tokens, keys].
    """

    scores: Tensor
    seen: Tensor


@dataclass(frozen=True, kw_only=True)
class Requests:
    """What a language model is asked to do: one token of one sequence after the other, in chunks.

    A chunk's tokens pass a layer before one of them enters the next. A run holds :class:`RequestValues`.
    """

    vocabulary: int
    sequences: int
    keys: int

    @property
    def counts(self) -> dict[str, int]:
        """Field → the number of its values, in the order of a payload."""
        flags = dict.fromkeys(("generated", "logits", "last"), 2)
        return {"token": self.vocabulary, "position": self.keys, "sequence": self.sequences, **flags}


@dataclass(frozen=True)
class RequestValues:
    """Int64 [1, requests], all of them.

    Attributes
    ----------
    token : what is read, unless it is ``generated``.
    position, sequence : where the token belongs.
    generated : 1 to read, instead of ``token``, the arg-max of the newest logits of this sequence before.
    logits : 1 if what follows the token is asked for: its last hidden state goes on to norm, head and arg-max.
    last : 1 at the end of a chunk.
    """

    token: Tensor
    position: Tensor
    sequence: Tensor
    generated: Tensor
    logits: Tensor
    last: Tensor

    @property
    def shape(self) -> torch.Size:
        """[1, requests]."""
        return self.token.shape


@dataclass(frozen=True, kw_only=True)
class Passes:
    """One token through one layer, one after the other. A run holds :class:`PassValues`."""

    layers: int
    sequences: int
    keys: int

    @property
    def counts(self) -> dict[str, int]:
        """Field → the number of its values, in the order of a payload."""
        return {"position": self.keys, "sequence": self.sequences, "layer": self.layers, "logits": 2}


@dataclass(frozen=True)
class PassValues:
    """Int64 [1, passes], all of them: what a request said of its token, and the layer."""

    position: Tensor
    sequence: Tensor
    layer: Tensor
    logits: Tensor

    @property
    def shape(self) -> torch.Size:
        """[1, passes]."""
        return self.position.shape


@dataclass(frozen=True, kw_only=True)
class Words:
    """What memories are loaded with: for each layer, one after the other and again from the first one, its words.

    A run holds int64 [1, layers, beats, ceil(bits / 32)]: parts of 32 bits, the lowest first.

    Attributes
    ----------
    bits : of a beat.
    shares : beats a layer of each unit that is loaded, in the order in which they come.
    """

    bits: int
    shares: tuple[int, ...]

    def __post_init__(self) -> None:
        check_integer("bits", self.bits, 1)
        for count in self.shares:
            check_integer("shares", count, 1)

    @property
    def beats(self) -> int:
        """Beats of a layer."""
        return sum(self.shares)


StreamType = Integers | Indices | BlockCodes | Scores | KeyWeights | Requests | Passes | Words
StreamValue = Tensor | BlockValues | BankedScores | SoftmaxWeights | RequestValues | PassValues
