"""BitMoD: 3- or 4-bit floats in groups of 128 whose code "-0" is one of four special values, chosen per group.

Source: Chen et al., BitMoD (arXiv 2411.11745, HPCA 2025), section III, and its released quantizer. Rules: scale of a
candidate = amax / (largest magnitude of its grid), so that +-EA grids clip on their short side; x / scale goes to the
nearest grid value, midpoints to the lower one; of the candidates in the order +ER, -ER, +EA, -EA the first with the
least squared error wins. ``bitmod3`` and ``bitmod4`` then quantize the group scales to unsigned 8 bit against one
float32 scale per row (codes stay those of the unquantized scale); ``-sf32`` and ``-sf16`` store float scales.

4-bit grids are in half units: grid value 12 is 6.0 of the paper. All quotients and values are float32; errors are
sums of squares in float64 in index order. A float32 estimate decides where it is certain.
"""

import re
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor

from mxhw.errors import InputError
from mxhw.formats.base import Encoded, Field, Format, IntegerForm, Parts
from mxhw.formats.layout import look_up
from mxhw.formats.powers import round_to_float
from mxhw.formats.registry import register_format
from mxhw.formats.scales import FLOAT_SCALES, scaled, second_level
from mxhw.formats.selection import first_minimum

__all__ = ["BITMOD_GRIDS", "BITMOD_SPECIAL_VALUES", "BitModFormat"]

# Magnitudes by index; 3-bit in units of 1, 4-bit (E2M1) in units of 1/2.
BITMOD_GRIDS: dict[int, tuple[int, ...]] = {3: (0, 1, 2, 4), 4: (0, 1, 2, 3, 4, 6, 8, 12)}
# What the code "-0" means, by selector: +ER, -ER, +EA, -EA.
BITMOD_SPECIAL_VALUES: dict[int, tuple[int, ...]] = {3: (3, -3, 6, -6), 4: (10, -10, 16, -16)}

_GROUP = 128
# Midpoints are multiples of 1/2, so ceil(2 v) tells on which side of each v lies, midpoints counting as below.
_BIN_LIMIT = 32
_BINS = 2 * _BIN_LIMIT + 1
# The estimate and the exact rule differ by some roundings of float32: at most 5e-6 of a scale per distance, thus 6e-5
# of a scale (at most 1/4 of the maximum) in the root of a sum of 128 squares; the sum itself is good to 1e-5 of itself.
_RELATIVE_MARGIN = 1.0 + 5e-5
_ABSOLUTE_MARGIN = 2e-5
# Below this maximum scales approach the subnormals, whose quotients are less precise: no estimate, exact sums only.
_SMALLEST_ESTIMATED = 2.0**-100


@dataclass(frozen=True)
class _Tables:
    """Look-up tables of one width: [selector, bin] to grid value and to code, [selector, code] to grid value."""

    value_of_bin: Tensor
    code_of_bin: Tensor
    value_of_code: Tensor
    largest: Tensor


@cache
def _tables(width: int) -> _Tables:
    magnitudes, specials = BITMOD_GRIDS[width], BITMOD_SPECIAL_VALUES[width]
    grids = [[*magnitudes, special, *(-m for m in magnitudes[1:])] for special in specials]
    nearest = []
    for grid in grids:
        order = sorted(range(len(grid)), key=grid.__getitem__)
        for twice in range(-_BIN_LIMIT, _BIN_LIMIT + 1):
            nearest.append(order[sum(twice > grid[low] + grid[high] for low, high in pairwise(order))])
    code_of_bin = torch.tensor(nearest).view(len(specials), _BINS)
    value_of_code = torch.tensor(grids, dtype=torch.float32)
    largest = torch.tensor([max(magnitudes[-1], abs(special)) for special in specials], dtype=torch.float32)
    return _Tables(
        value_of_code.gather(1, code_of_bin).flatten(),
        code_of_bin.to(torch.uint8).flatten(),
        value_of_code.flatten(),
        largest,
    )


def _bins(blocks: Tensor, scale: Tensor) -> Tensor:
    """ceil(2 x / scale), limited, less its smallest value: int32 0.._BINS-1. A scale of zero counts as one."""
    quotient = blocks / scale.where(scale > 0, 1.0)
    return quotient.mul_(2.0).ceil_().clamp_(-_BIN_LIMIT, _BIN_LIMIT).to(torch.int32).add_(_BIN_LIMIT)


@dataclass(frozen=True)
class BitModFormat(Format):
    """BitMoD of 3 or 4 bits.

    Codes are uint8: sign above index into ``BITMOD_GRIDS``; sign without index is the special value; zero is code 0.
    Metadata "selector" is int32 [..., blocks]; with ``scale_dtype`` "s8" also "multiplier", int32 [..., blocks], and
    "row_scale", float32 [...].
    """

    width: int
    scale_dtype: str = "s8"

    def __post_init__(self) -> None:
        if self.width not in BITMOD_GRIDS:
            raise InputError(f"bitmod{self.width}: BitMoD has 3 or 4 bits, not {self.width}")
        if self.scale_dtype not in ("s8", "float32", "float16"):
            raise InputError(
                f"bitmod{self.width}: scale_dtype must be s8, float32 or float16, not {self.scale_dtype!r}"
            )

    @property
    def name(self) -> str:
        suffix = "" if self.scale_dtype == "s8" else f"-{FLOAT_SCALES[self.scale_dtype].suffix}"
        return f"bitmod{self.width}{suffix}"

    @property
    def block(self) -> int:
        return _GROUP

    @property
    def fields(self) -> tuple[Field, ...]:
        code, selector = Field("code", self.width, "element"), Field("selector", 2, "block")
        if self.scale_dtype == "s8":
            return code, Field("multiplier", 8, "block"), selector, Field("row_scale", 32, "row")
        return code, Field("scale", FLOAT_SCALES[self.scale_dtype].bits, "block"), selector

    @property
    def has_integer_form(self) -> bool:  # type: ignore[override]
        return self.scale_dtype == "s8"

    def _encode_blocks(self, blocks: Tensor, peak: Tensor) -> Parts:
        tables = _tables(self.width)
        selector, scale = self._select(blocks, peak)
        codes = look_up(tables.code_of_bin, selector, 4, _bins(blocks, scale))
        stored, metadata = self._stored_scale(scale)
        return Parts(codes, stored.squeeze(-1), {"selector": selector.squeeze(-1), **metadata})

    def _quantize_blocks(self, blocks: Tensor, peak: Tensor) -> Tensor:
        selector, scale = self._select(blocks, peak)
        values = look_up(_tables(self.width).value_of_bin, selector, 4, _bins(blocks, scale))
        return scaled(values, self._stored_scale(scale)[0])

    def _decode_blocks(self, parts: Parts) -> Tensor:
        return scaled(self._grid_values(parts.codes, parts.metadata["selector"]), parts.scales.unsqueeze(-1))

    def integers(self, encoded: Encoded) -> IntegerForm:
        if not self.has_integer_form:
            return super().integers(encoded)
        values = self._grid_values(encoded.codes, encoded.metadata["selector"]).to(torch.int32)
        multiplier = encoded.metadata["multiplier"]
        return IntegerForm(values, multiplier, torch.zeros_like(multiplier), encoded.metadata["row_scale"])

    def _grid_values(self, codes: Tensor, selector: Tensor) -> Tensor:
        return look_up(_tables(self.width).value_of_code, selector.unsqueeze(-1), 4, codes.to(torch.int32))

    def _stored_scale(self, scale: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The scale [..., blocks, 1] that elements are decoded with, and the metadata that makes it."""
        if self.scale_dtype != "s8":
            return FLOAT_SCALES[self.scale_dtype].round(scale), {}
        multiplier, row = second_level(scale.squeeze(-1), smallest=0)
        return (multiplier * row.unsqueeze(-1)).unsqueeze(-1), {"multiplier": multiplier, "row_scale": row}

    def _patterns(self, encoded: Encoded) -> dict[str, Tensor]:
        patterns = {"code": encoded.codes, "selector": encoded.metadata["selector"]}
        if self.scale_dtype != "s8":
            return patterns | {"scale": FLOAT_SCALES[self.scale_dtype].pattern(encoded.scales)}
        row_scale = FLOAT_SCALES["float32"].pattern(encoded.metadata["row_scale"])
        return patterns | {"multiplier": encoded.metadata["multiplier"], "row_scale": row_scale}

    def _from_patterns(self, stored: dict[str, Tensor]) -> Parts:
        metadata = {"selector": stored["selector"].to(torch.int32)}
        if self.scale_dtype == "s8":
            row = FLOAT_SCALES["float32"].value(stored["row_scale"])
            metadata |= {"multiplier": stored["multiplier"].to(torch.int32), "row_scale": row}
            scales = metadata["multiplier"] * row.unsqueeze(-1)
        else:
            scales = FLOAT_SCALES[self.scale_dtype].value(stored["scale"])
        return Parts(stored["code"].to(torch.uint8), scales, metadata)

    def _select(self, blocks: Tensor, peak: Tensor) -> tuple[Tensor, Tensor]:
        """Selector (int32) and unquantized scale (float32), both [..., blocks, 1]."""
        tables = _tables(self.width)
        largest = tables.largest.to(peak.device)
        estimate = self._estimate(blocks, peak).reshape(-1, 4)
        margin = torch.where(peak.reshape(-1, 1) < _SMALLEST_ESTIMATED, torch.inf, _ABSOLUTE_MARGIN)
        in_doubt = estimate.le_(estimate.amin(-1, keepdim=True) * _RELATIVE_MARGIN + margin)

        def errors(block: Tensor, candidate: Tensor) -> Tensor:
            x = blocks.reshape(-1, _GROUP)[block]
            scale = peak.reshape(-1, 1)[block] / largest[candidate].unsqueeze(-1)
            selector = candidate.to(torch.int32).unsqueeze(-1)
            values = scaled(look_up(tables.value_of_bin, selector, 4, _bins(x, scale)), scale)
            return (values.double() - x.double()).square_()

        selector = first_minimum(in_doubt, errors).view(peak.shape)
        return selector.to(torch.int32), peak / largest[selector]

    def _estimate(self, blocks: Tensor, peak: Tensor) -> Tensor:
        """Root of each candidate's error over the group's largest magnitude, float32 [..., blocks, 4].

        The nearest of a grid and one more value is the nearer of both, so that two candidates of one scale share the
        distance to the basic grid, which is a small float's rounding.
        """
        estimates = []
        for low, high in ((0, 1), (2, 3)):
            largest = float(_tables(self.width).largest[low])
            quotient = blocks * (largest / peak.clamp(min=_SMALLEST_ESTIMATED))
            grid = round_to_float(quotient, mantissa_bits=self.width - 3, smallest_exponent=self.width - 3)
            basic = grid.clamp_(-BITMOD_GRIDS[self.width][-1], BITMOD_GRIDS[self.width][-1]).sub_(quotient).square_()
            for selector in (low, high):
                special = (quotient - float(BITMOD_SPECIAL_VALUES[self.width][selector])).square_()
                error = torch.minimum(special, basic, out=special).sum(-1)
                estimates.append(error.sqrt_().div_(largest))
        return torch.stack(estimates, -1)


_NAME = re.compile(r"bitmod(\d+)(?:-(sf32|sf16))?")


def _parse(name: str) -> BitModFormat | None:
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    return BitModFormat(int(match[1]), {None: "s8", "sf32": "float32", "sf16": "float16"}[match[2]])


register_format(
    "bitmod3|bitmod4[-sf32|-sf16]",
    "BitMoD: FP3 or FP4 with a special value per group of 128; group scales of 8 bits, or float with -sf32, -sf16",
    _parse,
    [f"bitmod{b}{s}" for b in (3, 4) for s in ("", "-sf32", "-sf16")],
)
