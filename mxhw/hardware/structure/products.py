"""Matrix products: the array, what feeds it, and where its weights come from."""

from dataclasses import dataclass
from typing import Literal

from mxhw.hardware.structure.unit import MemoryShape, Unit, queue, two_halves

__all__ = ["Product", "ProductFamily", "WeightStorage", "rows_of"]

ProductFamily = Literal["bitmod", "dialect"]
WeightStorage = Literal["inside", "layers", "tiles"]
SCALE_BITS = 4  # of the scale of a token of integers
TILES_INSIDE = 9  # row tiles that have begun to come and have not left, at most


@dataclass(frozen=True, kw_only=True)
class Product(Unit):
    """y[rows, n] = x[rows, k] w[n, k]: ``rows`` by ``columns`` processing elements of ``lanes`` multipliers.

    Output stationary: a row tile of ``rows`` tokens is buffered (two of them) and met by all column tiles.

    Attributes
    ----------
    family, weight_type : what the decoders read: "int8", "int6", "fp4", "fp3" (bitmod) or "dialect4".
    terms : cycles a beat of ``lanes`` products (bit-serial terms; 1 for dialect).
    n, k : output channels; elements of the reduction, before padding.
    block : elements along k that share metadata; k is padded to a multiple.
    code_bits, input_bits : of a weight code, of an activation code.
    metadata_bits, input_metadata_bits : per block of a weight column, of an activation row.
    accumulator_bits, output_bits : of an accumulator; of an element of the output stream.
    layers : whose weights the unit serves.
    storage : "inside": memories hold the weights of all layers. "layers": of two, one that works and one that loads
        through a port. "tiles": of two column tiles (no RTL yet).
    port : bits of a beat that weights are loaded in, by a loader inside; 0: none, or one that is a record of its own.
    experts : sets of weights of each layer, of which ``active_experts`` meet a token (no RTL for more than one).
    chunk : tokens that a layer's weights serve once they are loaded, with storage "layers".
    """

    family: ProductFamily
    weight_type: str
    terms: int
    lanes: int
    rows: int
    columns: int
    n: int
    k: int
    block: int
    code_bits: int
    input_bits: int
    metadata_bits: int
    input_metadata_bits: int
    accumulator_bits: int
    output_bits: int
    layers: int = 1
    storage: WeightStorage = "inside"
    port: int = 0
    experts: int = 1
    active_experts: int = 1
    chunk: int = 1

    @property
    def has_rtl(self) -> bool:
        return self.storage != "tiles" and self.experts == 1

    @property
    def scaled(self) -> bool:
        """Whether group sums are multiplied by 8-bit scales, one bit a cycle (bitmod with groups)."""
        return self.family == "bitmod" and self.metadata_bits > 0

    @property
    def blocks(self) -> int:
        """Blocks along k."""
        return -(-self.k // self.block)

    @property
    def chunks(self) -> int:
        """Beats of a row tile: ``lanes`` elements of each row."""
        return self.blocks * self.block // self.lanes

    @property
    def column_tiles(self) -> int:
        """Column tiles that a row tile meets."""
        return -(-self.n // self.columns)

    @property
    def weight_bits(self) -> int:
        """Bits of the weights of one layer as memories hold them, padding and metadata included; of one expert."""
        padded = self.column_tiles * self.columns
        return padded * (self.chunks * self.lanes * self.code_bits + self.blocks * self.metadata_bits)

    def experts_met(self, tokens: int) -> float:
        """Return how many experts are used by at least one of so many tokens: E (1 - (1 - a/E)^tokens).

        That is the expectation where each token chooses ``a`` of ``E`` experts, all alike and for itself.
        """
        return self.experts * (1 - (1 - self.active_experts / self.experts) ** tokens)

    def memories(self) -> tuple[MemoryShape, ...]:
        layers = {"inside": self.layers, "layers": min(2, self.layers), "tiles": 2}[self.storage]
        tiles = layers * (1 if self.storage == "tiles" else self.column_tiles * self.experts)
        used = self.experts_met(self.rows) * self.column_tiles / self.rows
        served = max(self.rows, self.chunk)
        loaded = {"inside": 0.0, "layers": self.experts_met(served) * self.column_tiles / served, "tiles": used}[
            self.storage
        ]
        beat = self.lanes * self.input_bits + self.input_metadata_bits
        shapes = (
            MemoryShape(
                "weights",
                words=tiles * self.chunks,
                bits=self.columns * self.lanes * self.code_bits,
                reads=used * self.chunks,
                writes=loaded * self.chunks,
                constant=self.storage == "inside",
            ),
            MemoryShape(
                "metadata",
                words=tiles * self.blocks,
                bits=self.columns * self.metadata_bits,
                reads=used * self.blocks,
                writes=loaded * self.blocks,
                constant=self.storage == "inside",
            ),
            MemoryShape(
                "activations",
                words=two_halves(self.chunks),
                bits=self.rows * beat,
                reads=used * self.chunks,
                writes=self.chunks / self.rows,
            ),
        )
        return *(shape for shape in shapes if shape.bits), *self._order_memories(beat)

    def _order_memories(self, beat: int) -> tuple[MemoryShape, ...]:
        """Return what brings the tokens of a row tile together, and their sums back in order."""
        if self.rows == 1:
            return ()
        beats = self.chunks if self.family == "dialect" else -(-self.k // self.lanes)
        shapes = queue("row", beats, beat, passes=beats / self.rows) * (self.rows - 1)
        if self.input_metadata_bits == 0:  # one scale a token, which waits for its sums
            shapes += queue("scales", TILES_INSIDE * self.rows, SCALE_BITS, passes=1)
        if self.column_tiles > 1:
            words = self.rows * self.column_tiles
            moved = words / self.rows
            bits = self.columns * self.accumulator_bits
            shapes += (MemoryShape("row tile", two_halves(words), bits, reads=moved, writes=moved),)
        return shapes


def rows_of(unit: Unit) -> int:
    """Return the tokens that a unit computes at once: the rows of a product, else 1."""
    return unit.rows if isinstance(unit, Product) else 1
