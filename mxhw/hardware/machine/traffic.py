"""What moves between a design and memory outside: a list of moves, from which bits and cycles of the port both come.

=============  ================================================================================
weights        codes of products, without padding
metadata       scales and selectors of their blocks
padding        of columns to whole tiles, of k to whole blocks, of words to beats of the port
constants      multipliers, biases and gains
keys, values   read: those of the tokens that a token looks at, its own (which is there) left out
cache writes   a token's keys and values
embedding      a row a token
=============  ================================================================================

Tokens in and out of a design, and the logits that a host asks for, are no memory traffic and not counted.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mxhw.hardware.machine.port import Load, Port
from mxhw.hardware.machine.positions import FloatArray
from mxhw.hardware.structure import AttentionUnit, Bias, Design, Embedding, Norm, Product, Requantize, Scores, Unit

__all__ = ["KINDS", "Move", "Tokens", "moves"]

IntArray = NDArray[np.int64]
Every = Literal["chunk", "tile", "token", "key"]
KINDS = ("weights", "metadata", "padding", "constants", "keys", "values", "cache writes", "embedding")


@dataclass(frozen=True, eq=False)
class Tokens:
    """Tokens in their order, in chunks.

    Attributes
    ----------
    positions : of each token [tokens].
    starts : first token of each chunk [chunks].
    """

    positions: IntArray
    starts: IntArray

    @property
    def counts(self) -> IntArray:
        """Tokens of each chunk [chunks]."""
        return np.diff(np.append(self.starts, len(self.positions)))

    def first(self, tokens: int) -> "Tokens":
        """Return the first tokens of every chunk, at most so many, as chunks."""
        counts = np.minimum(self.counts, tokens)
        ends = np.cumsum(counts)
        at = np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(self.starts - ends + counts, counts)
        return Tokens(self.positions[at], ends - counts)

    def sums(self, values: FloatArray) -> FloatArray:
        """Return the sum of a value of each token over every chunk [chunks]."""
        return np.add.reduceat(values, self.starts) if len(self.starts) else np.zeros(0)


@dataclass(frozen=True)
class Move:
    """A load that is repeated.

    Attributes
    ----------
    step : that it belongs to.
    every : chunk, row tile, token, or key that a token looks at.
    load : of one time.
    kinds : what the bits of one time are.
    unit : whose move it is.
    """

    step: str
    every: Every
    load: Load
    kinds: Mapping[str, float]
    unit: Unit

    @property
    def is_chosen(self) -> bool:
        """Whether it is known only when a router has chosen."""
        return isinstance(self.unit, Product) and self.unit.experts > 1

    def times(self, tokens: Tokens) -> FloatArray:
        """Return how often it is needed in each chunk [chunks]; of experts the expected number."""
        unit, counts = self.unit, tokens.counts
        if self.every == "token":
            return counts.astype(np.float64)
        if self.every == "key":
            assert isinstance(unit, AttentionUnit)
            return tokens.sums(np.minimum(tokens.positions, unit.most - 1).astype(np.float64))
        if not isinstance(unit, Product):
            return np.ones(len(counts))
        if self.every == "chunk":
            return _experts(unit, counts)
        return -(-counts // unit.rows) * _experts(unit, np.minimum(counts, unit.rows))


def moves(design: Design, port: Port, *, constants: int = 0) -> Iterator[Move]:
    """Yield what a part moves through a port: to and from memories outside, and into those that are loaded.

    ``constants``: layers whose constants are kept while they are loaded; 0: those of all layers are inside.
    """
    for name, step in design.steps.items():
        unit = step.unit
        if isinstance(unit, Product) and unit.storage != "inside":
            yield _weights(name, unit, port)
        elif isinstance(unit, AttentionUnit) and unit.outside:
            kind = "keys" if isinstance(unit, Scores) else "values"
            load = Load(unit.token_bits / port.rate, unit.token_bits)
            yield Move(name, "key", load, {kind: load.bits}, unit)
            yield Move(name, "token", load, {"cache writes": load.bits}, unit)
        elif isinstance(unit, Embedding) and unit.outside:
            load = Load(unit.row_bits / port.rate, unit.row_bits)
            yield Move(name, "token", load, {"embedding": load.bits}, unit)
        elif isinstance(unit, Requantize | Bias | Norm) and constants and unit.constant_words:
            load = port.words(unit.constant_words // constants, unit.constant_bits)
            yield Move(name, "chunk", load, {"constants": load.bits}, unit)


def _experts(unit: Product, counts: IntArray) -> FloatArray:
    """Return how many experts are met by so many tokens [chunks]."""
    known = {int(count): unit.experts_met(int(count)) for count in np.unique(counts)}
    return np.asarray([known[count] for count in counts.tolist()], dtype=np.float64)


def _weights(name: str, unit: Product, port: Port) -> Move:
    load = port.tiles(unit) if unit.storage == "tiles" else port.layer(unit)
    codes, metadata = unit.n * unit.k * unit.code_bits, unit.n * -(-unit.k // unit.block) * unit.metadata_bits
    kinds = {"weights": float(codes), "metadata": float(metadata), "padding": load.bits - codes - metadata}
    return Move(name, "tile" if unit.storage == "tiles" else "chunk", load, kinds, unit)
