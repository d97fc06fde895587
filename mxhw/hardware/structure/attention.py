"""The products of attention, the softmax between them, and the caches of keys and values."""

from dataclasses import dataclass

from mxhw.hardware.structure.unit import MemoryShape, Unit, queue

__all__ = ["AttentionUnit", "Scores", "SoftmaxWeights", "Values"]


@dataclass(frozen=True, kw_only=True)
class AttentionUnit(Unit):
    """What both products have.

    Attributes
    ----------
    heads, kv_heads, head_dim : of the model; heads that share keys follow each other.
    lanes : products a cycle.
    keys : tokens of the longest sequence; ``most``: those that a token looks back at, itself included (a window).
    code_bits : of a key or value.
    scale_bits : of the scale of a token's head.
    banks : sequences times layers whose cache the unit keeps.
    outside : the cache lies in memory outside; two tokens' codes are kept (no RTL yet).
    dialect : operands are DialectFP4, which has another way to multiply (no RTL yet).
    """

    heads: int
    kv_heads: int
    head_dim: int
    lanes: int
    keys: int
    most: int
    code_bits: int
    scale_bits: int
    banks: int = 1
    outside: bool = False
    dialect: bool = False

    @property
    def has_rtl(self) -> bool:
        return not (self.outside or self.dialect)

    @property
    def words(self) -> int:
        """Words of a head: cycles of one key or value."""
        return self.head_dim // self.lanes

    @property
    def token_bits(self) -> int:
        """Bits of a token's keys, or values, with their scales."""
        return self.kv_heads * (self.head_dim * self.code_bits + self.scale_bits)

    def looked_at(self, position: int) -> int:
        """Return the keys that the token at a position (from 0) meets."""
        return min(position + 1, self.most)

    def memories(self) -> tuple[MemoryShape, ...]:
        tokens = 2 if self.outside else self.banks * self.keys
        stored = self.kv_heads * self.words
        return (
            MemoryShape("cache", tokens * stored, self.lanes * self.code_bits, writes=stored),
            MemoryShape("scales", tokens * self.kv_heads, self.scale_bits, writes=self.kv_heads),
        )


@dataclass(frozen=True, kw_only=True)
class Scores(AttentionUnit):
    """Queries times keys: a score each ``words`` cycles, heads after each other."""

    query_bits: int
    score_bits: int

    def memories(self) -> tuple[MemoryShape, ...]:
        words, heads = 2 * self.heads * self.words, 2 * self.heads
        return (
            *super().memories(),
            MemoryShape("queries", words, self.lanes * self.query_bits, writes=words / 2),
            MemoryShape("query scales", heads, self.scale_bits, writes=self.heads),
        )


@dataclass(frozen=True, kw_only=True)
class Values(AttentionUnit):
    """Weights times values; the sums of a row are divided in parts of ``output_lanes``."""

    weight_bits: int
    output_bits: int
    output_lanes: int = 1

    @property
    def sum_bits(self) -> int:
        """Bits of a signed sum of weights times values."""
        largest = (1 << self.weight_bits - 1) * self.most * ((1 << self.code_bits - 1) - 1)
        return largest.bit_length() + 1

    @property
    def largest_scale_bits(self) -> int:
        """Bits that are kept of a sequence's head for its largest scale; with a window the last place of each scale."""
        if self.most == self.keys:
            return self.scale_bits
        return (1 << self.scale_bits) * ((max(2, self.keys) - 1).bit_length() + 1)

    def memories(self) -> tuple[MemoryShape, ...]:
        shapes = [*super().memories()]
        if self.words > 1:
            shapes.append(MemoryShape("sums", self.words, self.lanes * self.sum_bits))
        shapes.append(MemoryShape("reciprocals", RECIPROCAL_TABLE_WORDS, RECIPROCAL_TABLE_BITS, constant=True))
        if self.banks > 1 or self.most < self.keys:
            shapes.append(MemoryShape("largest scales", self.banks * self.kv_heads, self.largest_scale_bits))
        if self.lanes > self.output_lanes:
            shapes += queue("sums that wait", self.words, self.lanes * self.sum_bits)
        return tuple(shapes)


RECIPROCAL_TABLE_WORDS, RECIPROCAL_TABLE_BITS = 32, 27


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
            MemoryShape("row", self.most + 1, self.score_bits),
            MemoryShape("table", self.table_words, self.table_bits, constant=True),
        )
