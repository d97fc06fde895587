"""The products of attention, the softmax between them, and the caches of keys and values."""

from dataclasses import dataclass

from mxhw.hardware.structure.unit import MemoryShape, Unit

__all__ = ["AttentionUnit", "Scores", "SoftmaxWeights", "Values"]

_SCALE_BITS = 8
_ROWS_OF_SCORES = 2  # rows that the ring of the softmax holds


@dataclass(frozen=True, kw_only=True)
class AttentionUnit(Unit):
    """What both products have.

    Attributes
    ----------
    heads, kv_heads, head_dim : of the model; heads that share keys follow each other.
    lanes : products a cycle.
    keys : tokens of the longest sequence; ``most``: those that a token looks back at, itself included (a window).
    code_bits : of a key or value.
    banks : sequences times layers whose cache the unit keeps.
    outside : the cache lies in memory outside; two tokens' codes are kept (no RTL yet).
    """

    heads: int
    kv_heads: int
    head_dim: int
    lanes: int
    keys: int
    most: int
    code_bits: int
    banks: int = 1
    outside: bool = False

    @property
    def has_rtl(self) -> bool:
        return not self.outside

    @property
    def words(self) -> int:
        """Words of a head: cycles of one key or value."""
        return self.head_dim // self.lanes

    @property
    def token_bits(self) -> int:
        """Bits of a token's keys, or values, with their scales."""
        return self.kv_heads * (self.head_dim * self.code_bits + _SCALE_BITS)

    def looked_at(self, position: int) -> int:
        """Return the keys that the token at a position (from 0) meets."""
        return min(position + 1, self.most)

    def memories(self) -> tuple[MemoryShape, ...]:
        tokens = 2 if self.outside else self.banks * self.keys
        stored = self.kv_heads * self.words
        return (
            MemoryShape("cache", tokens * stored, self.lanes * self.code_bits, writes=stored),
            MemoryShape("scales", tokens * self.kv_heads, _SCALE_BITS, writes=self.kv_heads),
        )


@dataclass(frozen=True, kw_only=True)
class Scores(AttentionUnit):
    """Queries times keys: a score each ``words`` cycles, heads after each other."""

    query_bits: int
    score_bits: int


@dataclass(frozen=True, kw_only=True)
class Values(AttentionUnit):
    """Weights times values; the sums of a row are divided in parts of ``output_lanes``."""

    weight_bits: int
    output_bits: int
    output_lanes: int = 1


@dataclass(frozen=True, kw_only=True)
class SoftmaxWeights(Unit):
    """Exponentials of scores against the largest of their row; a score a cycle."""

    heads: int
    most: int
    score_bits: int
    weight_bits: int
    table_words: int
    table_bits: int

    def memories(self) -> tuple[MemoryShape, ...]:
        return (
            MemoryShape("rows", _ROWS_OF_SCORES * self.most, self.score_bits),
            MemoryShape("table", self.table_words, self.table_bits, constant=True),
        )
