"""Everything between products: units of one vector a token, a beat of ``lanes`` elements a cycle."""

from dataclasses import dataclass
from typing import Literal

from mxhw.hardware.structure.unit import MemoryShape, Unit, queue, two_halves

__all__ = [
    "Activation",
    "Add",
    "Bias",
    "Embedding",
    "Encoder",
    "Hadamard",
    "Multiply",
    "Norm",
    "Permute",
    "ReLU",
    "Requantize",
    "Rope",
    "VectorUnit",
]


@dataclass(frozen=True, kw_only=True)
class VectorUnit(Unit):
    """A unit that takes and gives vectors.

    Attributes
    ----------
    length : elements of a vector.
    lanes : elements of a beat; they divide the length.
    """

    length: int
    lanes: int

    @property
    def beats(self) -> int:
        """Beats of a vector."""
        return self.length // self.lanes


def _constants(words: int, bits: int, beats: int) -> tuple[MemoryShape, ...]:
    """Return the memory of constants that a unit walks through with each vector; none for 0 words."""
    return (MemoryShape("constants", words, bits, reads=beats, constant=True),) if words else ()


@dataclass(frozen=True, kw_only=True)
class Requantize(VectorUnit):
    """Sums times 16-bit multipliers, shifted, rounded and saturated.

    Attributes
    ----------
    input_bits, reduced_bits, multiplier_bits, output_bits : of a sum; of what is left of it for the multiplier; of the
        multiplier; of the result.
    kept_bits : of a product after the last shift, before it is saturated; 0: two more than of the result.
    constant_words, constant_bits : of the memory of multipliers, those of all layers; 0: one constant for all.
    constant_terms : powers of two that that one is the sum of; 1: it is a shift; 0: half of its bits.
    """

    input_bits: int
    reduced_bits: int
    multiplier_bits: int
    output_bits: int
    kept_bits: int = 0
    constant_words: int = 0
    constant_bits: int = 0
    constant_terms: int = 0

    def memories(self) -> tuple[MemoryShape, ...]:
        return _constants(self.constant_words, self.constant_bits, self.beats)


@dataclass(frozen=True, kw_only=True)
class Bias(VectorUnit):
    """A saturating sum with constants; ``constant_words`` as of :class:`Requantize`."""

    input_bits: int
    value_bits: int
    output_bits: int
    constant_words: int = 0
    constant_bits: int = 0

    def memories(self) -> tuple[MemoryShape, ...]:
        return _constants(self.constant_words, self.constant_bits, self.beats)


@dataclass(frozen=True, kw_only=True)
class Add(VectorUnit):
    """A saturating sum of two streams."""

    left_bits: int
    right_bits: int
    output_bits: int


@dataclass(frozen=True, kw_only=True)
class Multiply(VectorUnit):
    """A product of two streams, shifted, rounded and saturated."""

    left_bits: int
    right_bits: int
    output_bits: int


@dataclass(frozen=True, kw_only=True)
class ReLU(VectorUnit):
    """``max(x, 0)``."""

    bits: int


@dataclass(frozen=True, kw_only=True)
class Activation(VectorUnit):
    """A function of one element by a table of ``table_words`` of ``table_bits``, one table a lane."""

    function: Literal["silu", "gelu"]
    input_bits: int
    output_bits: int
    table_words: int
    table_bits: int

    def memories(self) -> tuple[MemoryShape, ...]:
        shape = MemoryShape("table", self.table_words, self.table_bits, reads=self.beats, constant=True)
        return (shape,) * self.lanes


@dataclass(frozen=True, kw_only=True)
class Norm(VectorUnit):
    """RMSNorm or LayerNorm: two stores of a vector, a root, gains (and biases) of all layers."""

    kind: Literal["rms_norm", "layer_norm"]
    input_bits: int
    gain_bits: int
    output_bits: int
    constant_words: int = 0
    constant_bits: int = 0

    def memories(self) -> tuple[MemoryShape, ...]:
        delays = NORM_DELAYS[self.kind]
        centred = self.input_bits + (_MEAN_BITS if self.kind == "layer_norm" else 0)
        stores = tuple(
            shape
            for delay, bits in zip(delays, (self.input_bits, centred), strict=True)
            for shape in queue("vector", self.beats + delay + NORM_QUEUES, self.lanes * bits, passes=self.beats)
        )
        root = MemoryShape("root", ROOT_TABLE_WORDS, ROOT_TABLE_BITS, reads=1, constant=True)
        return *stores, root, *_constants(self.constant_words, self.constant_bits, self.beats)


NORM_DELAYS = {"rms_norm": (3, 11), "layer_norm": (7, 11)}  # cycles until the sum, and the root, of a vector is known
NORM_QUEUES = 4  # cycles that a vector and what is known of it spend in their queues
_MEAN_BITS = 3  # more that an element has without its mean
ROOT_TABLE_WORDS, ROOT_TABLE_BITS = 32, 27


@dataclass(frozen=True, kw_only=True)
class Rope(VectorUnit):
    """Rotation of the pairs of ``heads`` heads; a table of ``positions`` angles. One lane."""

    heads: int
    head_dim: int
    positions: int
    span: int
    input_bits: int
    output_bits: int
    table_bits: int

    def memories(self) -> tuple[MemoryShape, ...]:
        table = MemoryShape(
            "angles", self.positions * (self.head_dim // 2), 2 * self.table_bits, reads=self.length / 2, constant=True
        )
        store = MemoryShape("pairs", 2 * self.span, self.input_bits, reads=self.length, writes=self.length)
        return table, store, store


@dataclass(frozen=True, kw_only=True)
class Encoder(VectorUnit):
    """Quantizes a stream: finds the scale (and dialect) of each block while it is stored, then gives codes.

    Attributes
    ----------
    kind : "integer", "dialect" or "mx" (MX encoders stand in no emitted design yet).
    padded : elements of a vector of codes: a multiple of ``block``, by zeros.
    block : elements that share a scale.
    input_bits, code_bits : of an element and of its code.
    metadata_bits : of a block, beside its codes.
    """

    kind: Literal["integer", "dialect", "mx"]
    padded: int
    block: int
    input_bits: int
    code_bits: int
    metadata_bits: int

    def memories(self) -> tuple[MemoryShape, ...]:
        words, beats = two_halves(self.block // self.lanes), self.padded / self.lanes
        first = MemoryShape("block", words, self.lanes * self.input_bits, reads=beats, writes=beats)
        if self.kind != "dialect":
            return (first,)
        return first, MemoryShape("codes", words, self.lanes * _WIDE_CODE, reads=beats, writes=beats)


_WIDE_CODE = 6  # bits of an element of DialectFP4 on its way to the choice of the dialect


@dataclass(frozen=True, kw_only=True)
class Embedding(VectorUnit):
    """A look-up: codes of ``rows`` vectors, a multiplier a row.

    ``outside``: the rows lie in memory outside, and two of them are kept (no RTL yet).
    """

    rows: int
    code_bits: int
    multiplier_bits: int
    output_bits: int
    outside: bool = False

    @property
    def has_rtl(self) -> bool:
        return not self.outside

    @property
    def row_bits(self) -> int:
        """Bits of a row."""
        return self.length * self.code_bits + self.multiplier_bits

    def memories(self) -> tuple[MemoryShape, ...]:
        rows, writes, inside = (2, 1, False) if self.outside else (self.rows, 0, True)
        width = self.lanes * self.code_bits
        return (
            MemoryShape("codes", rows * self.beats, width, self.beats, writes * self.beats, constant=inside),
            MemoryShape("multipliers", rows, self.multiplier_bits, 1, writes, constant=inside),
        )


@dataclass(frozen=True, kw_only=True)
class Hadamard(VectorUnit):
    """A fast Walsh-Hadamard transform of blocks of ``order`` elements: log2(order) stages of sums. No RTL yet."""

    order: int
    bits: int

    @property
    def has_rtl(self) -> bool:
        return False

    def memories(self) -> tuple[MemoryShape, ...]:
        words = two_halves(self.order // self.lanes)
        return (MemoryShape("block", words, self.lanes * self.bits, reads=self.beats, writes=self.beats),)


@dataclass(frozen=True, kw_only=True)
class Permute(VectorUnit):
    """A permutation of a vector: a double buffer, and a table of addresses. No RTL yet."""

    bits: int

    @property
    def has_rtl(self) -> bool:
        return False

    def memories(self) -> tuple[MemoryShape, ...]:
        address = max(1, (self.length - 1).bit_length())
        return (
            MemoryShape("vector", two_halves(self.beats), self.lanes * self.bits, reads=self.beats, writes=self.beats),
            MemoryShape("addresses", self.beats, self.lanes * address, reads=self.beats, constant=True),
        )
