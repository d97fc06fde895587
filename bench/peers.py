"""Other libraries' fake quantization, as functions of a tensor, where they are installed.

Each is called as its own documentation has it, on the tensor that mxhw gets, in eager mode; none writes into a tensor
that exists, so each returns a new one. A library that is absent, or a call that fails, is a line that says so.
"""

import logging
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import torch
from torch import Tensor

__all__ = ["peers"]

Quantizer = Callable[[], object]


def peers(x: Tensor) -> tuple[dict[str, Quantizer], list[str]]:
    """Return the calls that work on `x`, by name, and a line for each library or call that does not."""
    found: dict[str, Quantizer] = {}
    notes = []
    logging.disable(logging.WARNING)  # what they say of missing GPU libraries
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for library, make in (("torchao", _torchao), ("microxcaling", _microxcaling), ("brevitas", _brevitas)):
            try:
                calls = make(x)
            except Exception as error:
                notes.append(f"{library}: not measured, {_short(error)}")
                continue
            for name, call in calls.items():
                try:
                    call()
                except Exception as error:
                    notes.append(f"{library} {name}: not measured, {_short(error)}")
                else:
                    found[f"{library} {name}"] = call
            notes.append(f"{library} {_version(library)}")
    logging.disable(logging.NOTSET)
    return found, notes


def _torchao(x: Tensor) -> dict[str, Quantizer]:
    from torchao.prototype.mx_formats.constants import DTYPE_FP6_E2M3, DTYPE_FP6_E3M2
    from torchao.prototype.mx_formats.mx_tensor import to_dtype, to_mx
    from torchao.prototype.mx_formats.nvfp4_tensor import NVFP4Tensor
    from torchao.quantization.quant_primitives import (
        MappingType,
        choose_qparams_affine,
        dequantize_affine,
        quantize_affine,
    )

    def mx(element: torch.dtype | str) -> Quantizer:
        def run() -> Tensor:
            scale, data = to_mx(x, element, 32)
            return to_dtype(data, scale, element, 32, x.dtype)

        return run

    def int4(group: int = 128) -> Tensor:
        block = (1, group)
        limits = {"quant_min": -8, "quant_max": 7}
        scale, zero = choose_qparams_affine(x, MappingType.SYMMETRIC, block, torch.int8, **limits)
        codes = quantize_affine(x, block, scale, zero, torch.int8, **limits)
        return dequantize_affine(codes, block, scale, zero, torch.int8, **limits, output_dtype=x.dtype)

    def nvfp4() -> Tensor:
        return NVFP4Tensor.to_nvfp4(x, per_tensor_scale=(x.abs().amax() / (6 * 448)).float()).dequantize()

    return {
        "mxfp4": mx(torch.float4_e2m1fn_x2),
        "mxfp6-e2m3": mx(DTYPE_FP6_E2M3),
        "mxfp6-e3m2": mx(DTYPE_FP6_E3M2),
        "mxfp8-e4m3": mx(torch.float8_e4m3fn),
        "mxfp8-e5m2": mx(torch.float8_e5m2),
        "int4-g128": int4,
        "nvfp4": nvfp4,
    }


def _microxcaling(x: Tensor) -> dict[str, Quantizer]:
    from mx.mx_ops import _quantize_mx

    def run(element: str) -> Quantizer:
        return lambda: _quantize_mx(x, 8, element, block_size=32, axes=[-1], round="even", custom_cuda=False)

    names = {
        "mxfp4": "fp4_e2m1",
        "mxfp6-e2m3": "fp6_e2m3",
        "mxfp6-e3m2": "fp6_e3m2",
        "mxfp8-e4m3": "fp8_e4m3",
        "mxfp8-e5m2": "fp8_e5m2",
        "mxint8": "int8",
    }
    return {name: run(element) for name, element in names.items()}


def _brevitas(x: Tensor) -> dict[str, Quantizer]:
    from brevitas.nn import QuantLinear
    from brevitas.quant.mx_quant_ocp import MXFloat8e4m3Weight, MXInt8Weight

    def run(quantizer: type) -> Quantizer:
        linear = QuantLinear(x.shape[1], x.shape[0], bias=False, weight_quant=quantizer, dtype=x.dtype)
        linear.weight.data = x
        linear.eval()

        def quantized() -> object:
            with torch.no_grad():
                return linear.quant_weight().value

        return quantized

    return {"mxfp8-e4m3": run(MXFloat8e4m3Weight), "mxint8": run(MXInt8Weight)}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "of unknown version"


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text:.100}"
