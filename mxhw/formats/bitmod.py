"""BitMoD: 3- or 4-bit floats in groups of 128 whose code "-0" is one of four special values, chosen per group.

Source: Chen et al., BitMoD (arXiv 2411.11745, HPCA 2025), section III, and its released quantizer. Rules: scale of a
candidate = amax / (largest magnitude of its grid), so that +-EA grids clip on their short side; x / scale goes to the
nearest grid value, midpoints to the lower one; of the candidates in the order +ER, -ER, +EA, -EA the first with the
least squared error wins. ``bitmod3`` and ``bitmod4`` then quantize the group scales to unsigned 8 bit against one
float32 scale per row (codes stay those of the unquantized scale); ``-sf32`` and ``-sf16`` store float scales.

4-bit grids are in half units: grid value 12 is 6.0 of the paper. All quotients and values are float32; errors are
sums of squares in float64 in index order. A float32 estimate decides where it is certain.

Beyond the paper, as suffixes in this order:

- ``-sv8``: eight special values and a selector of 3 bits; the paper's four come first.
- ``-oneterm`` (3 bit): special values +8, -8, +1/2, -1/2, so that every value is a power of two, one bit-serial term;
  in half units as well.
- ``-clip``: every candidate is also tried with its scale times 0.975, 0.95, ... 0.6 (float32 product of the scale and
  the nearest float32 of the factor); the factor is the outer loop, from 1 down, the special value the inner one.
- ``-gN``: groups of N, a multiple of 16 from 16 to 1024.
"""

import ctypes
import re
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from mxhw.errors import InputError
from mxhw.formats.base import Encoded, Field, Format, IntegerForm, Parts
from mxhw.formats.bitmod_codebooks import (
    BITMOD_CODEBOOKS,
    BITMOD_GRIDS,
    BitModCodebook,
    BitModTables,
    bitmod_bins,
    bitmod_kernel_tables,
    bitmod_tables,
)
from mxhw.formats.kernels import MULTIPLIER_SCALE, Kernel
from mxhw.formats.layout import look_up
from mxhw.formats.powers import round_to_float
from mxhw.formats.registry import register_format
from mxhw.formats.scales import FLOAT_SCALES, scaled, second_level
from mxhw.formats.selection import first_minimum

__all__ = ["BITMOD_CLIP_FACTORS", "BitModFormat"]

# Factors of the scale that -clip tries, in order.
BITMOD_CLIP_FACTORS: tuple[float, ...] = tuple((40 - i) / 40 for i in range(17))

_GROUP = 128
_GROUPS = range(16, 1025, 16)
# The estimate and the exact rule differ by at most 8 roundings of float32 per distance, of values up to the maximum:
# 5e-7 of the maximum, thus 6e-6 of it in the root of a sum of 128 squares; the sum itself is good to 1e-5 of itself.
_RELATIVE_MARGIN = 5e-5
_ABSOLUTE_MARGIN = 2e-5
# Below this maximum scales approach the subnormals, whose quotients are less precise: no estimate, exact sums only.
_SMALLEST_ESTIMATED = 2.0**-100


# The kernel knows these special values, and no search of scales.
_KERNEL_SPECIALS = 4


class _KernelParams(ctypes.Structure):
    """`bitmod_params` of kernels/bitmod.c."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("above", "below", "basic")),
        *((name, ctypes.c_float * _KERNEL_SPECIALS) for name in ("special", "largest")),
        *((name, ctypes.c_int32) for name in ("mantissa", "smallest", "scale")),
        *((name, ctypes.c_float) for name in ("least", "most")),
        *((name, ctypes.c_float) for name in ("relative_margin", "absolute_margin", "smallest_estimated")),
    )


@dataclass(frozen=True)
class BitModFormat(Format):
    """BitMoD of 3 or 4 bits.

    Codes are uint8: sign above index into the magnitudes of ``codebook``; sign without index is the special value; zero
    is code 0. Metadata "selector" is int32 [..., blocks]; with ``scale_dtype`` "s8" also "multiplier", int32
    [..., blocks], and "row_scale", float32 [...].
    """

    width: int
    scale_dtype: str = "s8"
    special_values: str = "four"
    clip: bool = False
    group: int = _GROUP

    def __post_init__(self) -> None:
        if self.width not in BITMOD_GRIDS:
            raise InputError(f"bitmod{self.width}: BitMoD has 3 or 4 bits, not {self.width}")
        if (self.width, self.special_values) not in BITMOD_CODEBOOKS:
            allowed = ", ".join(name for width, name in BITMOD_CODEBOOKS if width == self.width)
            raise InputError(
                f"bitmod{self.width}: special_values must be one of {allowed}, not {self.special_values!r}"
            )
        if self.group not in _GROUPS:
            raise InputError(
                f"bitmod{self.width}: a group has a multiple of 16 from 16 to 1024 weights, not {self.group}"
            )
        if self.scale_dtype not in ("s8", "float32", "float16"):
            raise InputError(
                f"bitmod{self.width}: scale_dtype must be s8, float32 or float16, not {self.scale_dtype!r}"
            )

    @property
    def name(self) -> str:
        options = f"{_SUFFIXES[self.special_values]}{'-clip' * self.clip}{f'-g{self.group}' * (self.group != _GROUP)}"
        scale = "" if self.scale_dtype == "s8" else f"-{FLOAT_SCALES[self.scale_dtype].suffix}"
        return f"bitmod{self.width}{options}{scale}"

    @property
    def block(self) -> int:
        return self.group

    @property
    def codebook(self) -> BitModCodebook:
        """What the codes mean."""
        return BITMOD_CODEBOOKS[self.width, self.special_values]

    @property
    def factors(self) -> tuple[float, ...]:
        """Factors of the scale that are tried, in order."""
        return BITMOD_CLIP_FACTORS if self.clip else (1.0,)

    @property
    def fields(self) -> tuple[Field, ...]:
        code, selector = Field("code", self.width, "element"), Field("selector", self.codebook.selector_bits, "block")
        if self.scale_dtype == "s8":
            return code, Field("multiplier", 8, "block"), selector, Field("row_scale", 32, "row")
        return code, Field("scale", FLOAT_SCALES[self.scale_dtype].bits, "block"), selector

    @property
    def has_integer_form(self) -> bool:  # type: ignore[override]
        return self.scale_dtype == "s8"

    def _encode_blocks(self, blocks: Tensor, peak: Tensor) -> Parts:
        selector, scale = self._select(blocks, peak)
        codes = self._look_up(self._tables.code_of_bin, selector, bitmod_bins(blocks, scale))
        stored, metadata = self._stored_scale(scale)
        return Parts(codes, stored.squeeze(-1), {"selector": selector.squeeze(-1), **metadata})

    def _quantize_blocks(self, blocks: Tensor, peak: Tensor) -> Tensor:
        selector, scale = self._select(blocks, peak)
        values = self._look_up(self._tables.value_of_bin, selector, bitmod_bins(blocks, scale))
        return scaled(values, self._stored_scale(scale)[0])

    @property
    def has_kernel(self) -> bool:
        return not self.clip and len(self.codebook.special_values) == _KERNEL_SPECIALS

    def _kernel(self, x: Tensor) -> Kernel:
        return _kernel(self)

    def _decode_blocks(self, parts: Parts) -> Tensor:
        return scaled(self._grid_values(parts.codes, parts.metadata["selector"]), parts.scales.unsqueeze(-1))

    def integers(self, encoded: Encoded) -> IntegerForm:
        if not self.has_integer_form:
            return super().integers(encoded)
        values = self._grid_values(encoded.codes, encoded.metadata["selector"]).to(torch.int32)
        multiplier = encoded.metadata["multiplier"]
        return IntegerForm(values, multiplier, torch.zeros_like(multiplier), encoded.metadata["row_scale"])

    def _grid_values(self, codes: Tensor, selector: Tensor) -> Tensor:
        return self._look_up(self._tables.value_of_code, selector.unsqueeze(-1), codes.to(torch.int32))

    @property
    def _tables(self) -> BitModTables:
        return bitmod_tables(self.width, self.special_values)

    def _look_up(self, table: Tensor, selector: Tensor, column: Tensor) -> Tensor:
        return look_up(table, selector, len(self.codebook.special_values), column)

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

    def _scale(self, peak: Tensor, candidate: Tensor) -> Tensor:
        """The unquantized scale of a candidate: factors are the outer, special values the inner index."""
        selectors = len(self.codebook.special_values)
        largest, factors = self._tables.largest.to(peak.device), torch.tensor(self.factors, device=peak.device)
        return peak / largest[candidate % selectors] * factors[candidate // selectors]

    def _select(self, blocks: Tensor, peak: Tensor) -> tuple[Tensor, Tensor]:
        """Selector (int32) and unquantized scale (float32), both [..., blocks, 1]."""
        flat, peaks = blocks.reshape(-1, self.group), peak.reshape(-1, 1)
        estimate = self._estimate(flat, peaks)
        relative, margin = self._margins
        in_doubt = estimate.le_(
            estimate.amin(-1, keepdim=True) * relative + torch.where(peaks < _SMALLEST_ESTIMATED, torch.inf, margin)
        )
        in_doubt[:, 1:] *= peaks > 0

        def errors(block: Tensor, candidate: Tensor) -> Tensor:
            x, scale = flat[block], self._scale(peaks[block], candidate.unsqueeze(-1))
            selector = candidate.to(torch.int32).remainder_(len(self.codebook.special_values)).unsqueeze(-1)
            values = scaled(self._look_up(self._tables.value_of_bin, selector, bitmod_bins(x, scale)), scale)
            return (values.double() - x.double()).square_()

        candidate = first_minimum(in_doubt, errors).view(peak.shape)
        selector = candidate % len(self.codebook.special_values)
        return selector.to(torch.int32), self._scale(peak, candidate)

    @property
    def _margins(self) -> tuple[float, float]:
        """How much larger than the least an estimate may be, as a factor and in addition, and still leave doubt."""
        groups = max(1.0, self.group / _GROUP)
        return 1.0 + _RELATIVE_MARGIN * groups, _ABSOLUTE_MARGIN * groups**0.5

    @property
    def _small_float(self) -> tuple[int, int]:
        """Mantissa bits and exponent of the smallest normal value of the basic grid, which is a small float."""
        mantissa_bits = self.width - 3
        return mantissa_bits, self.codebook.magnitudes[1].bit_length() - 1 + mantissa_bits

    def _estimate(self, flat: Tensor, peaks: Tensor) -> Tensor:
        """Root of each candidate's error over the group's largest magnitude, float32 [blocks, candidates].

        The nearest of a grid and one more value is the nearer of both, so that two candidates of one scale share the
        distance to the basic grid, which is a small float's rounding.
        """
        magnitudes, special_values = self.codebook.magnitudes, self.codebook.special_values
        mantissa_bits, smallest_exponent = self._small_float
        estimates = []
        for factor in self.factors:
            for selector in range(0, len(special_values), 2):
                top = float(self._tables.largest[selector]) / factor
                quotient = flat * (top / peaks.clamp(min=_SMALLEST_ESTIMATED))
                grid = round_to_float(quotient, mantissa_bits, smallest_exponent)
                basic = grid.clamp_(-magnitudes[-1], magnitudes[-1]).sub_(quotient).square_()
                for special_value in special_values[selector : selector + 2]:
                    special = (quotient - float(special_value)).square_()
                    error = torch.minimum(special, basic, out=special).sum(-1)
                    estimates.append(error.sqrt_().div_(top))
        return torch.stack(estimates, -1)


@cache
def _kernel(fmt: BitModFormat) -> Kernel:
    floats, tables = ctypes.c_float * _KERNEL_SPECIALS, bitmod_kernel_tables(fmt.width, fmt.special_values)
    mantissa_bits, smallest_exponent = fmt._small_float
    params = _KernelParams(
        *(table.data_ptr() for table in tables),
        floats(*fmt.codebook.special_values),
        floats(*fmt._tables.largest.tolist()),
        mantissa_bits,
        smallest_exponent,
        MULTIPLIER_SCALE,
    )
    if fmt.scale_dtype in FLOAT_SCALES:
        stored = FLOAT_SCALES[fmt.scale_dtype]
        params.scale, params.least, params.most = stored.kernel_type, stored.smallest, stored.largest
    params.relative_margin, params.absolute_margin = fmt._margins
    params.smallest_estimated = _SMALLEST_ESTIMATED
    return Kernel("mxhw_bitmod", params, "mxhw_bitmod_row")


_SUFFIXES = {"four": "", "eight": "-sv8", "oneterm": "-oneterm"}
_NAME = re.compile(r"bitmod(\d+)(-sv8|-oneterm)?(-clip)?(?:-g(\d+))?(?:-(sf32|sf16))?")


def _parse(name: str) -> BitModFormat | None:
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    scale_dtype = {None: "s8", "sf32": "float32", "sf16": "float16"}[match[5]]
    special_values = {suffix: name for name, suffix in _SUFFIXES.items()}[match[2] or ""]
    return BitModFormat(int(match[1]), scale_dtype, special_values, match[3] is not None, int(match[4] or _GROUP))


register_format(
    "bitmod3|bitmod4[-sv8|-oneterm][-clip][-gN][-sf32|-sf16]",
    "BitMoD: FP3 or FP4 with a special value per group of 128; group scales of 8 bits, or float with -sf32, -sf16; "
    "-sv8: eight special values, -oneterm: powers of two only, -clip: scales searched, -gN: groups of N",
    _parse,
    [
        *(f"bitmod{b}{s}" for b in (3, 4) for s in ("", "-sf32", "-sf16", "-clip", "-sv8", "-g64")),
        *("bitmod3-oneterm", "bitmod3-oneterm-clip"),
    ],
)
