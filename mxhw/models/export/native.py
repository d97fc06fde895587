"""Native checkpoints: the packed bytes of any format, which transformers reads once mxhw is imported.

A parameter `NAME` becomes the tensor `NAME_packed`, uint8 [bytes], as :func:`mxhw.formats.pack` lays it out: every
stored bit of the format and nothing else. config.json says how each is read:

    "quantization_config": {"quant_method": "mxhw", "version": 1, "encoding": 1,
                            "weights": {"lm_head.weight": {"format": "bitmod4", "shape": [256, 64], "axis": -1}}}

:mod:`mxhw.models.export.quantizer` is the reader.
"""

from typing import Any

import torch
from torch import Tensor

from mxhw.errors import InputError
from mxhw.formats import pack, unpack
from mxhw.formats.base import ENCODING_VERSION
from mxhw.models.checkpoint import NATIVE_METHOD
from mxhw.models.export.weights import QuantizedWeight, rounded

__all__ = ["PACKED", "VERSION", "native_config", "native_tensors"]

VERSION = 1
PACKED = "_packed"


def native_tensors(weight: QuantizedWeight, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return what is stored in the place of a parameter: its packed bytes.

    Raises
    ------
    InputError
        If a value is not finite, or the bytes do not give back the values that the graph computes with.
    """
    try:
        data = pack(weight.format, weight.format.encode(weight.value.to(dtype), axis=weight.axis))
    except InputError as error:
        raise InputError(f"layer {weight.node!r}: {error}") from None
    read = weight.format.decode(unpack(weight.format, data, weight.value.shape, weight.axis, dtype))
    if not torch.equal(read, rounded(weight, dtype)):
        raise InputError(
            f"layer {weight.node!r}: {weight.format} does not give back what it packed; its fake_quantize and its "
            "decode differ"
        )
    return {weight.parameter + PACKED: torch.frombuffer(bytearray(data), dtype=torch.uint8)}


def native_config(weights: list[QuantizedWeight]) -> dict[str, Any]:
    """Return the quantization_config of config.json."""
    return {
        "quant_method": NATIVE_METHOD,
        "version": VERSION,
        "encoding": ENCODING_VERSION,
        "weights": {
            weight.parameter: {
                "format": weight.format.name,
                "shape": list(weight.value.shape),
                "axis": weight.axis,
            }
            for weight in weights
        },
    }
