"""Formats in the words of compressed-tensors 0.20: what it can say of a weight or an input, and in which tensors.

Its reader multiplies codes by scales in the dtype of the scales, and gives FP4, FP6 and MXFP8 weights in bfloat16,
whatever the model's dtype is. So a checkpoint with one of those is a bfloat16 model, and scales of INT and FP8 are
exact where that dtype holds them: float32 holds those of every format. Packed zero points, which it writes, it cannot
load into a model of transformers, so that asymmetric formats are left out.

Source: compressed_tensors 0.20, `compressors/*/base.py` and `quantization/lifecycle/forward_helpers.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mxhw.formats import (
    Encoded,
    Format,
    FP8Format,
    IntegerFormat,
    MXFloatFormat,
    NVFP4Format,
    PlainFormat,
)

__all__ = ["InputScheme", "WeightScheme", "input_scheme", "scheme_tensors", "weight_scheme"]

_MX_BLOCK = 32
_MX = {
    "mxfp4": ("mxfp4-pack-quantized", 4, "mxfp4-even"),
    "mxfp6-e2m3": ("mxfp6-pack-quantized", 6, "mxfp6-e2m3-even"),
    "mxfp8-e4m3": ("mxfp8-quantized", 8, "mxfp8-e4m3-rceil"),
}
_GROUPS_OF_32: dict[str, Any] = {"group_size": _MX_BLOCK, "scale_dtype": "torch.uint8", "zp_dtype": "torch.uint8"}
_NV: dict[str, Any] = {"group_size": 16, "scale_dtype": "torch.float8_e4m3fn", "zp_dtype": "torch.float8_e4m3fn"}


@dataclass(frozen=True)
class WeightScheme:
    """How a weight is said.

    Attributes
    ----------
    format : str
        Name of a compression format; "dense" for a weight that is stored as its values.
    arguments : mapping
        Of `QuantizationArgs`.
    dtype : torch.dtype, optional
        The only dtype that the reader gives; None: that of the model.
    """

    format: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    dtype: torch.dtype | None = None


@dataclass(frozen=True)
class InputScheme:
    """How an input is said.

    Attributes
    ----------
    arguments : mapping
        Of `QuantizationArgs`.
    same_as : str, optional
        The format of ours that rounds inputs [batch, tokens, K] to the same values, if their dtype is in `same_in`.
    """

    arguments: Mapping[str, Any]
    same_as: str | None = None
    same_in: tuple[torch.dtype, ...] = (torch.float32, torch.bfloat16)


def weight_scheme(fmt: Format, inputs: Format | None = None) -> WeightScheme | None:
    """Return how compressed-tensors says a weight in `fmt`; None if it cannot.

    `inputs` is the format of the other operand: readers with integer units look for INT8 weights and inputs under a
    name of their own.
    """
    match fmt:
        case PlainFormat():
            return WeightScheme("dense")
        case IntegerFormat(width=8, asymmetric=False) if isinstance(inputs, IntegerFormat) and input_scheme(inputs):
            return WeightScheme("int-quantized", _arguments(8, "int", fmt))
        case IntegerFormat(asymmetric=False):
            return WeightScheme("pack-quantized", _arguments(fmt.width, "int", fmt))
        case FP8Format(element="e4m3"):
            return WeightScheme("float-quantized", _arguments(8, "float", fmt))
        case MXFloatFormat(size=32, tile_rows=1) if fmt.element in _MX:
            name, bits, _ = _MX[fmt.element]
            return WeightScheme(name, _quantization(bits, "float", "group", **_GROUPS_OF_32), torch.bfloat16)
        case NVFP4Format():
            arguments = _quantization(4, "float", "tensor_group", **_NV)
            return WeightScheme("nvfp4-pack-quantized", arguments, torch.bfloat16)
    return None


def input_scheme(fmt: Format) -> InputScheme | None:
    """Return how compressed-tensors says an input in `fmt`, whose scales it finds while it runs; None if it cannot.

    Elements and blocks are those of `fmt`; the rule of the scale is the reader's.
    """
    match fmt:
        case MXFloatFormat(size=32, tile_rows=1) if fmt.element in _MX:
            _, bits, same = _MX[fmt.element]
            return InputScheme(_quantization(bits, "float", "group", dynamic=True, **_GROUPS_OF_32), same)
        case FP8Format(element="e4m3", group=None, per_tensor=False):
            return InputScheme(_quantization(8, "float", "token", dynamic=True), "fp8-e4m3", (torch.float32,))
        case IntegerFormat(width=8, group=None, per_tensor=False, asymmetric=False) if fmt.scale_dtype != "e8m0":
            return InputScheme(_quantization(8, "int", "token", dynamic=True))
    return None


def _arguments(bits: int, kind: str, fmt: IntegerFormat | FP8Format) -> dict[str, Any]:
    strategy = "tensor" if fmt.per_tensor else "channel" if fmt.group is None else "group"
    return _quantization(bits, kind, strategy, group_size=fmt.group)


def _quantization(bits: int, kind: str, strategy: str, *, dynamic: bool = False, **more: Any) -> dict[str, Any]:
    basic = {"num_bits": bits, "type": kind, "strategy": strategy, "symmetric": True, "dynamic": dynamic}
    return basic | {key: value for key, value in more.items() if value is not None}


def scheme_tensors(scheme: WeightScheme, encoded: Encoded) -> dict[str, Tensor]:
    """Return the tensors of a layer by their local names ("weight_packed", ...), from codes of whole blocks [O, K].

    Scales of INT and FP8 are float32. That of the whole tensor in NVFP4 is left to the caller.
    """
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32

    codes = encoded.codes.flatten(-2)
    match scheme.format:
        case "pack-quantized":
            return {
                "weight_packed": pack_to_int32(codes, scheme.arguments["num_bits"]),
                "weight_scale": _scales(scheme, encoded),
                "weight_shape": torch.tensor(encoded.shape),
            }
        case "float-quantized":
            return {"weight": codes.view(torch.float8_e4m3fn), "weight_scale": _scales(scheme, encoded)}
        case "int-quantized":
            return {"weight": codes, "weight_scale": _scales(scheme, encoded)}
        case "nvfp4-pack-quantized":
            scale = encoded.metadata["scale"].to(torch.uint8).view(torch.float8_e4m3fn)
            return {"weight_packed": _pairs(codes), "weight_scale": scale}
    scale = encoded.metadata["exponent"].to(torch.uint8)
    match scheme.format:
        case "mxfp4-pack-quantized":
            return {"weight_packed": _pairs(codes), "weight_scale": scale}
        case "mxfp6-pack-quantized":
            return {"weight_packed": _fours(codes), "weight_scale": scale}
        case "mxfp8-quantized":
            return {"weight": codes.view(torch.float8_e4m3fn), "weight_scale": scale}
    raise AssertionError(f"no tensors for {scheme.format}")


def _scales(scheme: WeightScheme, encoded: Encoded) -> Tensor:
    """Float scales [O, groups], or [1] for the whole tensor."""
    return encoded.scales[:1, 0] if scheme.arguments["strategy"] == "tensor" else encoded.scales


def _pairs(codes: Tensor) -> Tensor:
    """Two codes of 4 bits in a byte, the first one low."""
    return codes[:, 0::2] | (codes[:, 1::2] << 4)


def _fours(codes: Tensor) -> Tensor:
    """Four codes of 6 bits in three bytes, the first one lowest."""
    a, b, c, d = codes.to(torch.int32).reshape(len(codes), -1, 4).unbind(-1)
    word = a | b << 6 | c << 12 | d << 18
    return torch.stack([word, word >> 8, word >> 16], -1).bitwise_and(0xFF).to(torch.uint8).flatten(-2)
