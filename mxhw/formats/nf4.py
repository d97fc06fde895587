"""NF4: 16 values at the quantiles of the normal distribution, in groups scaled by their largest magnitude.

Source: Dettmers et al., QLoRA (arXiv 2305.14314), Appendix E, whose table this is. The scale of a group is its amax,
stored as float32 unless the name ends in ``-sf16``, ``-sbf16`` or ``-s8`` (an unsigned 8-bit multiplier, 1 to 255, of
one float32 scale per row). The quotient t = x / stored scale is float32; t takes the nearest table value, decided by
exact comparison with the midpoint of two table values: above it the upper one, else the lower one. Value = table value
* scale. Zero is +0. QLoRA's second quantization of the scales (8-bit floats in groups of 256) is another format.
"""

import ctypes
import re
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor

from mxhw.errors import InputError
from mxhw.formats.base import Encoded, Field, Format, Parts
from mxhw.formats.kernels import MULTIPLIER_SCALE, Kernel
from mxhw.formats.layout import look_up
from mxhw.formats.registry import register_format
from mxhw.formats.scales import FLOAT_SCALES, scaled, second_level

__all__ = ["NF4_TABLE", "NF4Format"]

# Table value by code; each is a float32.
NF4_TABLE: tuple[float, ...] = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)

_DEFAULT_GROUP = 64
# Bins of 1/16: none holds two midpoints, and no midpoint is within 1e-3 of an edge, where a rounded bin could err.
_BINS = 33
_BINS_PER_UNIT = 16


@dataclass(frozen=True)
class _Tables:
    """By bin: how many midpoints lie below it, and the largest float32 not above the one in it (else infinity)."""

    below: Tensor
    threshold: Tensor
    value: Tensor


@cache
def _tables() -> _Tables:
    # Sums of two table values have fewer bits than float64: the midpoints are exact.
    midpoints = [(low + high) / 2 for low, high in pairwise(NF4_TABLE)]
    bins = [int((midpoint + 1) * _BINS_PER_UNIT) for midpoint in midpoints]
    threshold = torch.full((_BINS,), torch.inf)
    for b, midpoint in zip(bins, midpoints, strict=True):
        nearest = torch.tensor(midpoint)
        # A float32 is above the midpoint where it is above the largest float32 that is not.
        threshold[b] = nearest if float(nearest) <= midpoint else torch.nextafter(nearest, torch.tensor(-torch.inf))
    below = torch.tensor([sum(b < i for b in bins) for i in range(_BINS)], dtype=torch.int32)
    return _Tables(below, threshold, torch.tensor(NF4_TABLE))


class _KernelParams(ctypes.Structure):
    """`nf4_params` of kernels/nf4.c."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("threshold", "low", "high")),
        ("scale", ctypes.c_int32),
        *((name, ctypes.c_float) for name in ("least", "most")),
    )


@cache
def _kernel_tables() -> tuple[Tensor, Tensor, Tensor]:
    """By bin the threshold and the values at most it and above it. The last two bins are alike: one is left out."""
    tables = _tables()
    low = tables.below[:-1]
    high = (low + torch.isfinite(tables.threshold[:-1])).long()
    return tables.threshold[:-1].contiguous(), tables.value[low.long()], tables.value[high]


def _look_up(table: Tensor, index: Tensor) -> Tensor:
    return look_up(table, torch.zeros(1, dtype=torch.int32, device=index.device), 1, index)


@dataclass(frozen=True)
class NF4Format(Format):
    """NF4 in groups of ``group``; codes are uint8, indices into ``NF4_TABLE``.

    Metadata with ``scale_dtype`` "s8": "multiplier", int32 [..., blocks], and "row_scale", float32 [...].
    """

    group: int = _DEFAULT_GROUP
    scale_dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.group < 1:
            raise InputError(f"{self.name}: a group has at least 1 element, not {self.group}")
        if self.scale_dtype not in (*FLOAT_SCALES, "s8"):
            raise InputError(f"scale_dtype must be float32, float16, bfloat16 or s8, not {self.scale_dtype!r}")

    @property
    def name(self) -> str:
        scale = FLOAT_SCALES[self.scale_dtype].suffix if self.scale_dtype in FLOAT_SCALES else self.scale_dtype
        return f"nf4-g{self.group}{'' if self.scale_dtype == 'float32' else f'-{scale}'}"

    @property
    def block(self) -> int:
        return self.group

    @property
    def fields(self) -> tuple[Field, ...]:
        code = Field("code", 4, "element")
        if self.scale_dtype == "s8":
            return code, Field("multiplier", 8, "block"), Field("row_scale", 32, "row")
        return code, Field("scale", FLOAT_SCALES[self.scale_dtype].bits, "block")

    def _encode_blocks(self, blocks: Tensor, peak: Tensor) -> Parts:
        scale, metadata = self._scale(peak)
        return Parts(self._codes(blocks, scale).to(torch.uint8), scale.squeeze(-1), metadata)

    def _quantize_blocks(self, blocks: Tensor, peak: Tensor) -> Tensor:
        scale, _ = self._scale(peak)
        return scaled(_look_up(_tables().value, self._codes(blocks, scale)), scale)

    def _decode_blocks(self, parts: Parts) -> Tensor:
        return scaled(_look_up(_tables().value, parts.codes.to(torch.int32)), parts.scales.unsqueeze(-1))

    def _kernel(self, x: Tensor) -> Kernel:
        return _kernel(self)

    def _scale(self, peak: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The stored scale [..., blocks, 1], never zero, and the metadata that makes it."""
        if self.scale_dtype != "s8":
            return FLOAT_SCALES[self.scale_dtype].round(peak), {}
        multiplier, row = second_level(peak.squeeze(-1), smallest=1)
        row = row.clamp(min=2.0**-149)
        return (multiplier * row.unsqueeze(-1)).unsqueeze(-1), {"multiplier": multiplier, "row_scale": row}

    @staticmethod
    def _codes(blocks: Tensor, scale: Tensor) -> Tensor:
        tables, quotient = _tables(), blocks / scale
        bins = quotient.add(1.0).mul_(_BINS_PER_UNIT).clamp_(0, _BINS - 1).to(torch.int32)
        return _look_up(tables.below, bins).add_(quotient > _look_up(tables.threshold, bins))

    def _patterns(self, encoded: Encoded) -> dict[str, Tensor]:
        if self.scale_dtype != "s8":
            return {"code": encoded.codes, "scale": FLOAT_SCALES[self.scale_dtype].pattern(encoded.scales)}
        row_scale = FLOAT_SCALES["float32"].pattern(encoded.metadata["row_scale"])
        return {"code": encoded.codes, "multiplier": encoded.metadata["multiplier"], "row_scale": row_scale}

    def _from_patterns(self, stored: dict[str, Tensor]) -> Parts:
        codes = stored["code"].to(torch.uint8)
        if self.scale_dtype != "s8":
            return Parts(codes, FLOAT_SCALES[self.scale_dtype].value(stored["scale"]), {})
        row = FLOAT_SCALES["float32"].value(stored["row_scale"])
        multiplier = stored["multiplier"].to(torch.int32)
        return Parts(codes, multiplier * row.unsqueeze(-1), {"multiplier": multiplier, "row_scale": row})


@cache
def _kernel(fmt: NF4Format) -> Kernel:
    params = _KernelParams(*(table.data_ptr() for table in _kernel_tables()))
    if fmt.scale_dtype == "s8":
        params.scale = MULTIPLIER_SCALE
        return Kernel("mxhw_nf4", params, "mxhw_nf4_row")
    stored = FLOAT_SCALES[fmt.scale_dtype]
    params.scale, params.least, params.most = stored.kernel_type, stored.smallest, stored.largest
    return Kernel("mxhw_nf4", params)


_NAME = re.compile(r"nf4(?:-g(\d+))?(?:-(sf32|sf16|sbf16|s8))?")


def _parse(name: str) -> NF4Format | None:
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    types = {scale.suffix: dtype for dtype, scale in FLOAT_SCALES.items()} | {None: "float32", "s8": "s8"}
    return NF4Format(int(match[1] or _DEFAULT_GROUP), types[match[2]])


register_format(
    "nf4[-gN][-sf16|-sbf16|-s8]",
    "NF4: 16 quantiles of the normal distribution in groups of N (64), scale amax as float32 or as the ending says",
    _parse,
    [f"nf4-g{g}{s}" for g in (32, 64, 128) for s in ("", "-sf16", "-sbf16", "-s8")],
)
