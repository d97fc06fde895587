"""What flows between the units of an integer graph: the type of a stream, and the integers of a run.

A value is ``integer * 2**exponent`` with an exponent that is one constant of the stream, or of a block of codes. Each
stream carries one vector per token, tokens in order; ranges are symmetric (the most negative code does not occur).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mxhw.arithmetic.functions.softmax import SoftmaxSpec, SoftmaxWeights
from mxhw.arithmetic.mac import block_element
from mxhw.formats import DIALECT_TABLE

__all__ = ["BlockCodes", "BlockValues", "Indices", "Integers", "KeyWeights", "Scores", "StreamType", "StreamValue"]

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
class Scores:
    """Base-2 scores: for each token, head after head, one signed score per key that the token sees, first key first.

    A run holds int64 [batch, heads, tokens, keys], 0 where a key is not seen; keys are the tokens of the same run.
    """

    heads: int
    keys: int
    spec: SoftmaxSpec


@dataclass(frozen=True, kw_only=True)
class KeyWeights:
    """Weights of keys, in the order of :class:`Scores`. A run holds the :class:`SoftmaxWeights` of its scores."""

    heads: int
    keys: int
    spec: SoftmaxSpec


StreamType = Integers | Indices | BlockCodes | Scores | KeyWeights
StreamValue = Tensor | BlockValues | SoftmaxWeights
