"""DialectFP4: blocks of 4-bit codes that share a 5-bit exponent and one of 16 "dialects" (sets of 8 magnitudes).

Source: BlockDialect (arXiv 2501.01144v5, ICML 2025), Fig. 4 and sections 3 and 4. Shared exponent SE = floor(log2 amax)
- 2, stored biased by 15 and clamped to 0..31, so larger values than FP16 has saturate. With y = |x| / 2^SE, the
truncated q = floor(4 y), 0..31, decides the index in every dialect without loss (all midpoints are multiples of 1/4;
ties go to the larger magnitude). The sign bit is the sign of the input, zero included.

- ``dialect4`` (weights): the dialect of least squared error over all 16; the lowest id wins a tie. Errors are sums in
  float64 in index order; a float32 estimate decides where it is certain.
- ``dialect4-search`` (weights, beyond the paper): the least squared error over three exponents as well, those of SE,
  SE - 1 and SE + 1 in this order, each clamped; the exponent is the outer loop, the dialect the inner one, and the
  first of equal errors wins.
- ``dialect4-online`` (activations): the block's maximum chooses a pair of dialects, then the one whose beneficial range
  holds more elements wins; equal counts go to the even id. A zero block has dialect 14 here and 0 above.
"""

import ctypes
import re
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor

from mxhw.errors import InputError
from mxhw.formats.base import Encoded, Field, Format, IntegerForm, Parts
from mxhw.formats.kernels import Kernel
from mxhw.formats.layout import look_up, over_block
from mxhw.formats.powers import exponent_of, power_of_two
from mxhw.formats.registry import register_format
from mxhw.formats.selection import first_minimum

__all__ = [
    "DIALECT_EXPONENT_BIAS",
    "DIALECT_RANGES",
    "DIALECT_SEARCH_OFFSETS",
    "DIALECT_TABLE",
    "DIALECT_THRESHOLDS",
    "DialectFormat",
]

_COMMON = (0, 1, 2, 3, 4, 6)
_TOP: tuple[tuple[int, int], ...] = ((11, 15), (9, 15), (11, 14), (9, 14), (10, 13), (8, 13), (10, 12), (8, 12))
_TOP += ((9, 11), (7, 11), (9, 10), (7, 10), (8, 9), (7, 9), (7, 8))
# Magnitude by dialect and index, in units of 1/2 (Fig. 4).
DIALECT_TABLE: tuple[tuple[int, ...], ...] = (*(_COMMON + top for top in _TOP), (0, 1, 2, 3, 4, 5, 6, 8))
# Index = number of thresholds <= q, in units of 1/4: the midpoint of two half-units is their sum in quarters.
DIALECT_THRESHOLDS: tuple[tuple[int, ...], ...] = tuple(
    tuple(low + high for low, high in pairwise(row)) for row in DIALECT_TABLE
)
DIALECT_EXPONENT_BIAS = 15
# What -search adds to the shared exponent, in the order in which equal errors are decided.
DIALECT_SEARCH_OFFSETS = (0, -1, 1)

_EXPONENT_MAX = 31
_BINS = 32
_EMAX = 2
# The estimate of an error (quarter units squared, block of at most 64) is off by less than half of this:
# 64 products 2 r D with |r| <= 1/2, |D| <= 15.5 lose 64 * 2^-24 of their sum 992, the final sum 2^-24 of 15,400.
_ESTIMATE_MARGIN = 0.02
# In quarter units; only where the exponent is clamped does a maximum reach half of this.
_LARGEST_ESTIMATED = 128.0


def _index(dialect: int, q: int) -> int:
    return sum(q >= threshold for threshold in DIALECT_THRESHOLDS[dialect])


def _beneficial_range(dialect: int) -> tuple[int, int]:
    def error(d: int, q: int) -> float:
        return abs(q + 0.5 - 2 * DIALECT_TABLE[d][_index(d, q)])

    better = [q for q in range(_BINS) if error(dialect, q) < error(dialect ^ 1, q)]
    return better[0], better[-1] + 1


# [low, high) of q where a dialect is nearer than its partner in the pair, in units of 1/4.
DIALECT_RANGES: tuple[tuple[int, int], ...] = tuple(_beneficial_range(d) for d in range(16))


@dataclass(frozen=True)
class _Tables:
    """Flat look-up tables: [dialect, q] to index and to value; [pair, q] to vote; for the estimate [q, dialect]."""

    index_of_bin: Tensor
    value_of_bin: Tensor
    vote_of_bin: Tensor
    distance_squared: Tensor
    twice_distance: Tensor


@cache
def _tables() -> _Tables:
    index = torch.tensor([[_index(d, q) for q in range(_BINS)] for d in range(16)])
    half_units = torch.tensor(DIALECT_TABLE).gather(1, index).float()
    within = torch.tensor([[low <= q < high for q in range(_BINS)] for low, high in DIALECT_RANGES]).float()
    distance = (torch.arange(_BINS) + 0.5).unsqueeze(1) - 2 * half_units.t()
    return _Tables(
        index.to(torch.uint8).flatten(),
        (half_units / 2).flatten(),
        (within[0::2] - within[1::2]).flatten(),
        distance.square().contiguous(),
        (2 * distance).contiguous(),
    )


class _KernelParams(ctypes.Structure):
    """`dialect_params` of kernels/dialect.c."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("value", "quarters", "differs", "ranges")),
        *((name, ctypes.c_int32) for name in ("first", "online")),
    )


@dataclass(frozen=True)
class _KernelTables:
    """What the kernel reads: values as [dialect, q] and in quarters as [q, dialect]; per two dialects the bins in which
    they differ, as bits; ranges as [dialect, 2]; the first bin in which any differ."""

    value: Tensor
    quarters: Tensor
    differs: Tensor
    ranges: Tensor
    first: int


@cache
def _kernel_tables() -> _KernelTables:
    value = _tables().value_of_bin.view(16, _BINS)
    unequal = value.unsqueeze(0) != value.unsqueeze(1)
    differs = (unequal.long() << torch.arange(_BINS)).sum(-1).to(torch.uint32)
    first = int(unequal.any(0).any(0).nonzero()[0])
    ranges = torch.tensor(DIALECT_RANGES, dtype=torch.int32)
    return _KernelTables(value, (4 * value).t().contiguous(), differs, ranges, first)


@cache
def _kernel(online: bool) -> Kernel:
    tables = _kernel_tables()
    pointers = (table.data_ptr() for table in (tables.value, tables.quarters, tables.differs, tables.ranges))
    return Kernel("mxhw_dialect", _KernelParams(*pointers, tables.first, online))


@dataclass(frozen=True)
class DialectFormat(Format):
    """DialectFP4 in blocks of 16, 32 or 64.

    Codes are uint8: sign << 3 | index. Metadata "dialect" and "exponent" (stored, biased by 15) are int32
    [..., blocks]; scales are 2^SE.
    """

    size: int = 32
    online: bool = False
    search: bool = False

    has_integer_form = True

    def __post_init__(self) -> None:
        if self.online and self.search:
            raise InputError("dialect4: online and search exclude each other")
        if self.size not in (16, 32, 64):
            raise InputError(f"{self.name}: a block has 16, 32 or 64 elements, not {self.size}")

    @property
    def name(self) -> str:
        return f"dialect4{'-online' * self.online}{'-search' * self.search}{f'-b{self.size}' * (self.size != 32)}"

    @property
    def block(self) -> int:
        return self.size

    @property
    def fields(self) -> tuple[Field, ...]:
        return Field("code", 4, "element"), Field("dialect", 4, "block"), Field("exponent", 5, "block")

    def _encode_blocks(self, blocks: Tensor, peak: Tensor) -> Parts:
        exponent, bins, dialect = self._classify(blocks, peak)
        codes = look_up(_tables().index_of_bin, dialect, 16, bins) | (torch.signbit(blocks).to(torch.uint8) << 3)
        return self._parts(codes, dialect.squeeze(-1), exponent.squeeze(-1))

    def _quantize_blocks(self, blocks: Tensor, peak: Tensor) -> Tensor:
        exponent, bins, dialect = self._classify(blocks, peak)
        magnitude = look_up(_tables().value_of_bin, dialect, 16, bins)
        return magnitude.mul_(power_of_two(exponent - DIALECT_EXPONENT_BIAS)).copysign_(blocks)

    @property
    def has_kernel(self) -> bool:
        return not self.search

    def _kernel(self, x: Tensor) -> Kernel:
        return _kernel(self.online)

    def _decode_blocks(self, parts: Parts) -> Tensor:
        magnitude = self._half_units(parts.codes, parts.metadata["dialect"]) * (0.5 * parts.scales).unsqueeze(-1)
        return torch.where(parts.codes >= 8, -magnitude, magnitude)

    def integers(self, encoded: Encoded) -> IntegerForm:
        half_units = self._half_units(encoded.codes, encoded.metadata["dialect"]).to(torch.int32)
        exponent = encoded.metadata["exponent"] - (DIALECT_EXPONENT_BIAS + 1)
        row = torch.ones(exponent.shape[:-1], device=exponent.device)
        return IntegerForm(
            torch.where(encoded.codes >= 8, -half_units, half_units), torch.ones_like(exponent), exponent, row
        )

    def _patterns(self, encoded: Encoded) -> dict[str, Tensor]:
        return {"code": encoded.codes, **encoded.metadata}

    def _from_patterns(self, stored: dict[str, Tensor]) -> Parts:
        dialect, exponent = stored["dialect"].to(torch.int32), stored["exponent"].to(torch.int32)
        return self._parts(stored["code"].to(torch.uint8), dialect, exponent)

    @staticmethod
    def _parts(codes: Tensor, dialect: Tensor, exponent: Tensor) -> Parts:
        scales = power_of_two(exponent - DIALECT_EXPONENT_BIAS)
        return Parts(codes, scales, {"dialect": dialect, "exponent": exponent})

    @staticmethod
    def _half_units(codes: Tensor, dialect: Tensor) -> Tensor:
        table = torch.tensor(DIALECT_TABLE, dtype=torch.float32).flatten()
        return look_up(table, dialect.unsqueeze(-1), 16, (codes & 7).to(torch.int32))

    def _classify(self, blocks: Tensor, peak: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Stored exponent [..., blocks, 1], q [..., blocks, block] and dialect [..., blocks, 1], all int32."""
        exponent = exponent_of(peak) - (_EMAX - DIALECT_EXPONENT_BIAS)
        if self.search:
            exponent, dialect = self._least_error_of_exponents(blocks, exponent)
            return exponent, _quarters(blocks, exponent)[1], dialect
        exponent.clamp_(0, _EXPONENT_MAX)
        quarters, bins = _quarters(blocks, exponent)
        largest = _quarters(peak, exponent)[0]
        dialect = self._vote(bins, largest) if self.online else self._least_error(quarters, bins, largest)
        return exponent, bins, dialect

    @staticmethod
    def _vote(bins: Tensor, largest: Tensor) -> Tensor:
        """The two-stage rule: pair by the maximum rounded to half units, then more elements in range."""
        half_units = (largest.clamp(max=_BINS - 1).to(torch.int32) + 1) >> 1
        pair = 15 - half_units.clamp_(8, 15)
        balance = over_block(torch.sum, look_up(_tables().vote_of_bin, pair, 8, bins))
        return 2 * pair + (balance < 0).to(torch.int32)

    def _least_error(self, quarters: Tensor, bins: Tensor, largest: Tensor) -> Tensor:
        """The dialect of least squared error over the block, the lowest id among equals.

        With q + 1/2 + r = 4 y and D = q + 1/2 - 2 h, an error is the sum of r^2 + 2 r D + D^2; the first term is
        common to all dialects, the others are sums of rows of a table. Where these leave doubt, or 4 y is out of the
        table, the errors of the dialects in question are summed in float64.
        """
        flat, indices = quarters.reshape(-1, self.size), bins.reshape(-1, self.size)
        estimate, _ = _estimate(flat, indices)
        margin = torch.where(largest.reshape(-1, 1) < _BINS, _ESTIMATE_MARGIN, torch.inf)
        in_doubt = estimate.le_(estimate.amin(-1, keepdim=True) + margin)

        def errors(block: Tensor, dialect: Tensor) -> Tensor:
            values = look_up(_tables().value_of_bin, dialect.to(torch.int32).unsqueeze(-1), 16, indices[block])
            return (flat[block].double() - 4 * values.double()).square_()

        dialect = first_minimum(in_doubt, errors)
        return dialect.to(torch.int32).view(*quarters.shape[:-1], 1)

    def _least_error_of_exponents(self, blocks: Tensor, exponent: Tensor) -> tuple[Tensor, Tensor]:
        """Stored exponent and dialect, int32 [..., blocks, 1], of least squared error around the unclamped exponent.

        Each estimate gets an interval that holds the exact error: in quarter units, all sums of a block stay below
        31 times the sum of |r| plus that of r^2 plus 15,400, and an addition of float32 loses 2^-24 of that.
        """
        flat = blocks.reshape(-1, self.size)
        offsets = torch.tensor(DIALECT_SEARCH_OFFSETS, dtype=torch.int32, device=blocks.device)
        exponents = (exponent.reshape(-1, 1) + offsets).clamp_(0, _EXPONENT_MAX)
        lower: list[Tensor] = []
        upper: list[Tensor] = []
        for choice in torch.split(exponents, 1, -1):
            quarters, bins = _quarters(flat, choice)
            estimate, remainder = _estimate(quarters, bins)
            squares = remainder.square().sum(-1, keepdim=True)
            bound = (remainder.abs().sum(-1, keepdim=True) * 31 + squares) * (2.0**-22 * self.size) + _ESTIMATE_MARGIN
            # Quarter units of the first exponent; what the clamp made equal to it cannot come before it.
            unit = power_of_two(2 * (choice - exponents[:, :1]))
            estimate, bound = (estimate + squares).mul_(unit), bound * unit
            certain = quarters.amax(-1, keepdim=True) < _LARGEST_ESTIMATED
            repeated = (choice == exponents[:, :1]) if lower else torch.zeros_like(certain)
            lower.append(torch.where(certain, estimate - bound, -torch.inf).where(~repeated, torch.inf))
            upper.append(torch.where(certain, estimate + bound, torch.inf))
        in_doubt = (torch.cat(lower, -1) <= torch.cat(upper, -1).amin(-1, keepdim=True)).float()

        def errors(block: Tensor, candidate: Tensor) -> Tensor:
            x, choice = flat[block], exponents[block, candidate // 16].unsqueeze(-1)
            dialect = candidate.to(torch.int32).remainder_(16).unsqueeze(-1)
            values = look_up(_tables().value_of_bin, dialect, 16, _quarters(x, choice)[1])
            return values.mul_(power_of_two(choice - DIALECT_EXPONENT_BIAS)).double().sub_(x.abs().double()).square_()

        best = first_minimum(in_doubt, errors).unsqueeze(-1)
        chosen, dialect = exponents.gather(-1, best // 16), (best % 16).to(torch.int32)
        return chosen.view(exponent.shape), dialect.view(exponent.shape)


def _quarters(blocks: Tensor, exponent: Tensor) -> tuple[Tensor, Tensor]:
    """4 |x| / 2^SE, float32, of stored exponents, and its truncation q, int32."""
    quarters = (blocks * power_of_two((DIALECT_EXPONENT_BIAS + 2) - exponent)).abs_()
    return quarters, quarters.clamp(max=_BINS - 1).to(torch.int32)


def _estimate(quarters: Tensor, bins: Tensor) -> tuple[Tensor, Tensor]:
    """Per dialect the sum over a block of 2 r D + D^2, float32 [blocks, 16], and r, float32 [blocks, block]."""
    tables = _tables()
    remainder = (quarters - bins.float()).sub_(0.5)
    products, squares = tables.twice_distance.to(bins.device), tables.distance_squared.to(bins.device)
    estimate = F.embedding_bag(bins, products, mode="sum", per_sample_weights=remainder)
    return estimate.add_(F.embedding_bag(bins, squares, mode="sum")), remainder


_NAME = re.compile(r"dialect4(-online|-search)?(?:-b(\d+))?")


def _parse(name: str) -> DialectFormat | None:
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    return DialectFormat(int(match[2] or 32), online=match[1] == "-online", search=match[1] == "-search")


register_format(
    "dialect4[-online|-search][-b16|-b64]",
    "DialectFP4, 16 dialects: least squared error (weights; -search: over three exponents as well) or the two-stage "
    "rule (-online, activations)",
    _parse,
    [f"dialect4{rule}{block}" for rule in ("", "-online", "-search") for block in ("", "-b16", "-b64")],
)
