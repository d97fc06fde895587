"""The float types themselves, without scales: ``fp32`` (unchanged), ``bf16``, ``fp16`` and FP8 with ``-unscaled``.

Rounding is to nearest even and saturates.
"""

import ctypes
from dataclasses import dataclass
from math import log2

import torch
from torch import Tensor

from mxhw.formats.base import Encoded, Field, Format, Parts
from mxhw.formats.kernels import Kernel
from mxhw.formats.registry import register_format

__all__ = ["PlainFormat"]


@dataclass(frozen=True)
class _Type:
    dtype: torch.dtype
    pattern_dtype: torch.dtype
    description: str

    @property
    def limits(self) -> torch.finfo:
        return torch.finfo(self.dtype)


_TYPES = {
    "fp32": _Type(torch.float32, torch.int32, "32-bit float, unchanged"),
    "bf16": _Type(torch.bfloat16, torch.int16, "bfloat16, nearest even"),
    "fp16": _Type(torch.float16, torch.int16, "float16, nearest even"),
    "fp8-e4m3-unscaled": _Type(torch.float8_e4m3fn, torch.uint8, "FP8 E4M3 (largest 448) without any scale"),
    "fp8-e5m2-unscaled": _Type(torch.float8_e5m2, torch.uint8, "FP8 E5M2 (largest 57344) without any scale"),
}


class _KernelParams(ctypes.Structure):
    """`plain_params` of kernels/plain.c."""

    _fields_ = (("mantissa", ctypes.c_int32), ("smallest", ctypes.c_int32), ("largest", ctypes.c_float))


_KERNELS = {
    name: Kernel(
        "mxhw_plain",
        _KernelParams(-int(log2(kind.limits.eps)), int(log2(kind.limits.tiny)), kind.limits.max),
        elementwise=True,
    )
    for name, kind in _TYPES.items()
}


@dataclass(frozen=True)
class PlainFormat(Format):
    """A float type without blocks (every element is its own); codes are its bit patterns, uint8, int16 or int32."""

    type_name: str

    @property
    def name(self) -> str:
        return self.type_name

    @property
    def _type(self) -> _Type:
        return _TYPES[self.type_name]

    @property
    def block(self) -> int:
        return 1

    @property
    def fields(self) -> tuple[Field, ...]:
        return (Field("code", self._type.limits.bits, "element"),)

    def _quantize_chunk(self, blocks: Tensor) -> Tensor:
        values = self._rounded(blocks).float()
        return values.where(torch.isfinite(blocks), torch.nan)

    def _kernel(self, x: Tensor) -> Kernel:
        return _KERNELS[self.type_name]

    def _encode_blocks(self, blocks: Tensor, peak: Tensor) -> Parts:
        return self._parts(self._rounded(blocks).view(self._type.pattern_dtype))

    def _decode_blocks(self, parts: Parts) -> Tensor:
        return parts.codes.view(self._type.dtype).float()

    def _patterns(self, encoded: Encoded) -> dict[str, Tensor]:
        return {"code": encoded.codes}

    def _from_patterns(self, stored: dict[str, Tensor]) -> Parts:
        return self._parts(stored["code"].to(self._type.pattern_dtype))

    def _rounded(self, blocks: Tensor) -> Tensor:
        limit = self._type.limits.max
        return blocks.clamp(-limit, limit).to(self._type.dtype)

    @staticmethod
    def _parts(codes: Tensor) -> Parts:
        return Parts(codes, torch.ones(codes.shape[:-1], device=codes.device), {})


def _register(own: str) -> None:
    register_format(own, _TYPES[own].description, lambda name: PlainFormat(name) if name == own else None)


for _name in _TYPES:
    _register(_name)
