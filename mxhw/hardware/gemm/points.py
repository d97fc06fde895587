"""Design points of a GEMM unit: a product's sizes, an array's, and the bits of what flows, as numbers or arrays."""

from dataclasses import dataclass
from functools import cached_property

from mxhw.errors import InputError
from mxhw.hardware.gemm.numbers import Numbers, ceil_divide, maximum, where
from mxhw.hardware.structure import Product
from mxhw.hardware.structure.products import SCALE_BITS

__all__ = ["CAPTURE_LATENCY", "GROUP_SCALE_BITS", "SCALE_LATENCY", "GemmPoints"]

# Cycles from a tile's last step in the sequencer to the capture of its results; more with scales of groups, which are
# multiplied a bit a cycle and folded. A test holds them against `rtl_templates/gemm`.
CAPTURE_LATENCY = 3
GROUP_SCALE_BITS = 8
SCALE_LATENCY = GROUP_SCALE_BITS + 1

_SMALLEST = {"m": 0, "metadata_bits": 0, "input_metadata_bits": 0, "token_bits": 0, "scaled": 0}


@dataclass(frozen=True, kw_only=True)
class GemmPoints:
    """``count`` products y[m, n] = x[m, k] w[n, k] on ``rows`` by ``columns`` processing elements of ``lanes``.

    Every field is a number, a NumPy array or a torch tensor; they broadcast to [..., points]. Output stationary: a row
    tile of ``rows`` tokens is buffered (two of them) and met by all column tiles; N is padded to whole columns, K to
    whole blocks, M to whole row tiles.

    Attributes
    ----------
    m, n, k, count : sizes of a product, and how many follow each other.
    rows, columns, lanes : of the array.
    terms : cycles a beat of ``lanes`` products.
    block : elements along k that share metadata of the weight: a multiple of the lanes; 1: nothing is shared, k is
        padded to whole beats.
    input_block : the same of x; above 1 it is that of the weight.
    scaled : 1 where sums of groups are multiplied by 8-bit scales, a bit a cycle; else 0.
    code_bits, input_bits : of a weight code, of an activation code.
    metadata_bits, input_metadata_bits : per block of a weight column, of an activation row.
    token_bits : of an activation row, once (its scale).
    accumulator_bits, output_bits : of an accumulator; of an element of the output stream.
    relaxed : sizes of arrays and bits may be any real numbers (floating-point tensors): ceilings are replaced by the
        least function without steps that is nowhere below them (see :func:`.numbers.ceil_divide`), so that cycles,
        traffic and memories have derivatives and are upper bounds of the exact ones at whole numbers.

    Raises
    ------
    InputError
        If a number is too small, or lanes do not divide a block.
    """

    m: Numbers
    n: Numbers
    k: Numbers
    rows: Numbers
    columns: Numbers
    lanes: Numbers
    terms: Numbers = 1
    block: Numbers = 1
    input_block: Numbers = 1
    scaled: Numbers = 0
    count: Numbers = 1
    code_bits: Numbers = 8
    input_bits: Numbers = 8
    metadata_bits: Numbers = 0
    input_metadata_bits: Numbers = 0
    token_bits: Numbers = 0
    accumulator_bits: Numbers = 32
    output_bits: Numbers = 32
    relaxed: bool = False

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if _any(value < (smallest := _SMALLEST.get(name, 1))) and name != "relaxed":
                raise InputError(f"{name} of a GEMM must be at least {smallest}, not {_least(value)}")
        if not self.relaxed and _any((self.block > 1) & (self.block % self.lanes != 0)):
            raise InputError(f"lanes of a GEMM must divide its blocks of {self.block}, not {self.lanes}")

    @classmethod
    def of(cls, product: Product, tokens: Numbers) -> "GemmPoints":
        """Return the points of a unit of a design that so many tokens pass."""
        is_dialect = product.family == "dialect"
        return cls(
            m=tokens,
            n=product.n,
            k=product.k,
            rows=product.rows,
            columns=product.columns,
            lanes=product.lanes,
            terms=product.terms,
            block=product.block,
            input_block=product.block if is_dialect else 1,
            scaled=int(product.scaled),
            code_bits=product.code_bits,
            input_bits=product.input_bits,
            metadata_bits=product.metadata_bits,
            input_metadata_bits=product.input_metadata_bits,
            token_bits=0 if is_dialect else SCALE_BITS,
            accumulator_bits=product.accumulator_bits,
            output_bits=product.output_bits,
        )

    @cached_property
    def blocks(self) -> Numbers:
        """Blocks along k; beats where nothing is shared."""
        return where(self.block > 1, ceil_divide(self.k, self.block), self._beats_of_k)

    @cached_property
    def chunks(self) -> Numbers:
        """Beats of a row tile: ``lanes`` elements of each row, padding included."""
        return self._beats(self.block)

    @cached_property
    def input_beats(self) -> Numbers:
        """Beats in which a token comes."""
        return self._beats(self.input_block)

    @cached_property
    def row_tiles(self) -> Numbers:
        """Row tiles of all products."""
        return self.count * ceil_divide(self.m, self.rows, relaxed=self.relaxed)

    @cached_property
    def column_tiles(self) -> Numbers:
        """Column tiles that a row tile meets."""
        return ceil_divide(self.n, self.columns, relaxed=self.relaxed)

    @cached_property
    def tile_cycles(self) -> Numbers:
        """Cycles in which the array works at a tile."""
        return self.chunks * self.terms

    @cached_property
    def period(self) -> Numbers:
        """Cycles between tiles: of the array, or of the drain, which gives a row a cycle and is filled in one more."""
        return maximum(self.tile_cycles, self.rows + 1)

    @cached_property
    def latency(self) -> Numbers:
        """Cycles from the last step of a tile to the capture of its results."""
        return CAPTURE_LATENCY + SCALE_LATENCY * self.scaled

    @cached_property
    def is_load_bound(self) -> Numbers:
        """Whether a row tile is computed in the cycles in which the next one comes, so that nothing hides its start."""
        return (self.columns >= self.n) & (self.terms <= 1) & (self.rows + 1 <= self.chunks)

    @property
    def _beats_of_k(self) -> Numbers:
        return ceil_divide(self.k, self.lanes, relaxed=self.relaxed)

    def _beats(self, block: Numbers) -> Numbers:
        if self.relaxed:
            return where(block > 1, _whole_blocks(self.k, block) / self.lanes, self._beats_of_k)
        return ceil_divide(where(block > 1, _whole_blocks(self.k, block), self.k), self.lanes)


def _whole_blocks(k: Numbers, block: Numbers) -> Numbers:
    return ceil_divide(k, block) * block


def _any(condition: Numbers) -> bool:
    return condition if isinstance(condition, bool) else bool(condition.any())


def _least(value: Numbers) -> Numbers:
    return value if isinstance(value, int | float) else value.min().item()
