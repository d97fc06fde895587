"""FP8 with a scale: ``fp8-e4m3`` and ``fp8-e5m2``, one per vector; ``-gN`` per group of N; ``-tensor`` per tensor.

The scale is amax / (largest value), 448 or 57344, stored as float32 (or as ``-sf16``, ``-sbf16`` say, clamped to the
positive finite range); elements are x / scale, a float32 quotient, to nearest even, saturating; values are the float32
product. The sign of zero is kept. Without any scale: ``fp8-e4m3-unscaled`` in :mod:`mxhw.formats.plain`; with
power-of-two scales: ``mxfp8-e4m3`` in :mod:`mxhw.formats.mx`.

Source: element types of the OCP 8-bit Floating Point Specification (OFP8) v1.0; scaling as in per-token and per-channel
FP8 inference.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from mxhw.errors import InputError
from mxhw.formats.base import Encoded, Field, Format, Parts
from mxhw.formats.elements import ELEMENT_TYPES, ElementType
from mxhw.formats.kernels import Kernel
from mxhw.formats.registry import register_format
from mxhw.formats.scaled_kernel import ScaledKernelParams
from mxhw.formats.scales import FLOAT_SCALES, FloatScale, scaled

__all__ = ["FP8Format"]

_ELEMENTS = {"e4m3": ELEMENT_TYPES["mxfp8-e4m3"], "e5m2": ELEMENT_TYPES["mxfp8-e5m2"]}


@dataclass(frozen=True)
class FP8Format(Format):
    """FP8 of ``element`` e4m3 or e5m2 in groups of ``group`` (None: the whole vector); codes are uint8."""

    element: str
    group: int | None = None
    per_tensor: bool = False
    scale_dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.element not in _ELEMENTS:
            raise InputError(f"element must be one of {', '.join(_ELEMENTS)}, not {self.element!r}")
        if self.group is not None and self.group < 1:
            raise InputError(f"{self.name}: a group has at least 1 element, not {self.group}")
        if self.per_tensor and self.group is not None:
            raise InputError(f"{self.name}: one scale per tensor leaves nothing for a group")
        if self.scale_dtype not in FLOAT_SCALES:
            raise InputError(f"scale_dtype must be one of {', '.join(FLOAT_SCALES)}, not {self.scale_dtype!r}")

    @property
    def name(self) -> str:
        group = f"-g{self.group}" if self.group is not None else ""
        scale = "" if self.scale_dtype == "float32" else f"-{self._stored.suffix}"
        return f"fp8-{self.element}{group}{'-tensor' * self.per_tensor}{scale}"

    @property
    def block(self) -> int | None:
        return self.group

    @property
    def fields(self) -> tuple[Field, ...]:
        per: Literal["tensor", "block"] = "tensor" if self.per_tensor else "block"
        return Field("code", 8, "element"), Field("scale", self._stored.bits, per)

    @property
    def type(self) -> ElementType:
        """The element type."""
        return _ELEMENTS[self.element]

    @property
    def _stored(self) -> FloatScale:
        return FLOAT_SCALES[self.scale_dtype]

    def _scale(self, peak: Tensor) -> Tensor:
        """The stored scale [..., blocks, 1]."""
        peak = peak.amax().expand_as(peak) if self.per_tensor else peak
        return self._stored.round(peak / self.type.largest)

    def _elements(self, blocks: Tensor, scale: Tensor) -> Tensor:
        # A stored scale may be smaller than the exact one by far; rounding knows only values in the type's range.
        return self.type.round((blocks / scale).clamp_(-self.type.largest, self.type.largest))

    def _encode_blocks(self, blocks: Tensor, peak: Tensor) -> Parts:
        scale = self._scale(peak)
        return Parts(self.type.codes(self._elements(blocks, scale)), scale.squeeze(-1), {})

    def _quantize_blocks(self, blocks: Tensor, peak: Tensor) -> Tensor:
        scale = self._scale(peak)
        return scaled(self._elements(blocks, scale), scale)

    def _decode_blocks(self, parts: Parts) -> Tensor:
        return scaled(self.type.values(parts.codes), parts.scales.unsqueeze(-1))

    def _kernel(self, x: Tensor) -> Kernel:
        params = _kernel_params(self)
        return params.for_tensor(x) if self.per_tensor else params.for_blocks(self.group)

    def _patterns(self, encoded: Encoded) -> dict[str, Tensor]:
        scale = self._stored.pattern(encoded.scales)
        return {"code": encoded.codes, "scale": scale.flatten()[0] if self.per_tensor else scale}

    def _from_patterns(self, stored: dict[str, Tensor]) -> Parts:
        codes = stored["code"].to(torch.uint8)
        return Parts(codes, self._stored.value(stored["scale"]).expand(codes.shape[:-1]), {})


@cache
def _kernel_params(fmt: FP8Format) -> ScaledKernelParams:
    stored, type_ = fmt._stored, fmt.type
    return ScaledKernelParams(
        scale=stored.kernel_type,
        least=stored.smallest,
        most=stored.largest,
        mantissa=type_.mantissa_bits,
        smallest=1 - type_.bias,
        largest=type_.largest,
    )


_SCALES = {scale.suffix: name for name, scale in FLOAT_SCALES.items()}
_NAME = re.compile(r"fp8-(e4m3|e5m2)(?:-g(\d+))?(-tensor)?(?:-(sf16|sbf16|sf32))?")


def _parse(name: str) -> FP8Format | None:
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    element, group, tensor, scale = match.groups()
    return FP8Format(element, int(group) if group else None, tensor is not None, _SCALES[scale or "sf32"])


register_format(
    "fp8-e4m3|fp8-e5m2[-gN][-tensor][-sf16|-sbf16]",
    "FP8 with one scale per vector, group of N or tensor, stored as float32 or as the ending says",
    _parse,
    [f"fp8-{element}{options}" for element in _ELEMENTS for options in ("", "-g128", "-tensor", "-sf16")],
)
