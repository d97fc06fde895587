"""The float types themselves: ``fp32`` (unchanged), ``bf16`` and ``fp16`` (nearest even, saturating)."""

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

from mxhw.formats.base import Encoded, Field, Format, Parts
from mxhw.formats.kernels import Kernel
from mxhw.formats.registry import register_format
from mxhw.formats.scales import FLOAT_SCALES

__all__ = ["PlainFormat"]

_TYPES = {"fp32": FLOAT_SCALES["float32"], "bf16": FLOAT_SCALES["bfloat16"], "fp16": FLOAT_SCALES["float16"]}


class _KernelParams(ctypes.Structure):
    """`plain_params` of kernels/plain.c."""

    _fields_ = (("type", ctypes.c_int32), ("largest", ctypes.c_float))


_KERNELS = {
    name: Kernel("mxhw_plain", _KernelParams(kind.kernel_type, kind.largest), elementwise=True)
    for name, kind in _TYPES.items()
}


@dataclass(frozen=True)
class PlainFormat(Format):
    """A float type without blocks (every element is its own); codes are its bit patterns, int16 or int32."""

    type_name: str

    @property
    def name(self) -> str:
        return self.type_name

    @property
    def block(self) -> int:
        return 1

    @property
    def fields(self) -> tuple[Field, ...]:
        return (Field("code", _TYPES[self.type_name].bits, "element"),)

    def _quantize_chunk(self, blocks: Tensor) -> Tensor:
        values = self._rounded(blocks).float()
        return values.where(torch.isfinite(blocks), torch.nan)

    def _kernel(self, x: Tensor) -> Kernel:
        return _KERNELS[self.type_name]

    def _encode_blocks(self, blocks: Tensor, peak: Tensor) -> Parts:
        return self._parts(self._rounded(blocks).view(_TYPES[self.type_name].pattern_dtype))

    def _decode_blocks(self, parts: Parts) -> Tensor:
        return _TYPES[self.type_name].value(parts.codes)

    def _patterns(self, encoded: Encoded) -> dict[str, Tensor]:
        return {"code": encoded.codes}

    def _from_patterns(self, stored: dict[str, Tensor]) -> Parts:
        return self._parts(stored["code"].to(_TYPES[self.type_name].pattern_dtype))

    def _rounded(self, blocks: Tensor) -> Tensor:
        dtype = _TYPES[self.type_name].dtype
        limit = _TYPES[self.type_name].largest
        return blocks.clamp(-limit, limit).to(dtype)

    @staticmethod
    def _parts(codes: Tensor) -> Parts:
        return Parts(codes, torch.ones(codes.shape[:-1], device=codes.device), {})


register_format("fp32", "32-bit float, unchanged", lambda name: PlainFormat(name) if name == "fp32" else None)
register_format("bf16", "bfloat16, nearest even", lambda name: PlainFormat(name) if name == "bf16" else None)
register_format("fp16", "float16, nearest even", lambda name: PlainFormat(name) if name == "fp16" else None)
