"""Checkpoints for compressed-tensors, which transformers and vLLM read without mxhw.

Every layer that is written has been read back by the library itself, from the very tensors that are stored, and has
the values that the graph computes with, bit for bit; otherwise it is refused. (NVFP4 may be let through with a few
values one step off: about 1 tensor of 75 needs that, and 1 of 14 with Four Over Six.)
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mxhw.errors import InputError
from mxhw.formats import parse_format
from mxhw.models.export.schemes import InputScheme, WeightScheme, input_scheme, scheme_tensors, weight_scheme
from mxhw.models.export.weights import QuantizedWeight, rounded

__all__ = [
    "compressed_config",
    "compressed_tensors",
    "input_of",
    "is_same_input",
    "preferred_dtype",
]

_ELSE = "use --to native"
_KNOWN = "symmetric int2..8, mxfp4, mxfp6-e2m3, mxfp8-e4m3, nvfp4, fp8-e4m3 and floats"
# Steps of float32 that the reciprocal of NVFP4's tensor scale may be off, for products to be equal in bfloat16.
_NEIGHBOURS = (0, 1, -1, 2, -2)
_NVFP4 = "nvfp4-pack-quantized"


def preferred_dtype(weights: Sequence[QuantizedWeight]) -> torch.dtype:
    """Return the dtype that the reader gives some of the weights in, or float32 if it leaves the choice."""
    schemes = [_said(weight) for weight in weights]
    return next((scheme.dtype for scheme in schemes if scheme is not None and scheme.dtype is not None), torch.float32)


def compressed_tensors(
    model: nn.Module, weight: QuantizedWeight, dtype: torch.dtype, nearest: bool = False
) -> tuple[dict[str, Tensor], int]:
    """Return the tensors that stand for a parameter of a model in `dtype`, by their full names.

    The number beside them counts values that the reader gives differently: 0, unless `nearest` allows a few of NVFP4 to
    be one step of bfloat16 off.

    Raises
    ------
    InputError
        If compressed-tensors cannot say the layer or its format, or would not read the same values back.
    """
    scheme = _scheme(model, weight, dtype)
    expected = rounded(weight, dtype)
    if scheme.format == "dense":
        return {weight.parameter: expected}, 0
    try:
        encoded = weight.format.encode(weight.value.to(dtype), axis=weight.axis)
    except InputError as error:
        raise InputError(f"layer {weight.node!r}: {error}") from None
    candidates = [scheme_tensors(scheme, encoded)]
    if scheme.format == _NVFP4:
        g = encoded.metadata["tensor_scale"].flatten()[:1]
        candidates = [{**candidates[0], "weight_global_scale": scale} for scale in _reciprocals(g)]
    wrong: list[int] = []
    for candidate in candidates:
        wrong.append(_count_wrong(candidate, scheme, expected))
        if wrong[-1] == 0:  # nearly always the first one
            break
    count = min(wrong)
    if count:
        _refuse_wrong(weight, dtype, count, scheme, nearest)
    best = candidates[wrong.index(count)]
    return {f"{weight.module}.{name}": value.contiguous() for name, value in best.items()}, count


def _refuse_wrong(weight: QuantizedWeight, dtype: torch.dtype, count: int, scheme: WeightScheme, nearest: bool) -> None:
    """Raise an InputError that says how many values are read back differently and why, unless that is allowed."""
    where = f"layer {weight.node!r}: of {weight.value.numel()} values in {weight.format}"
    if scheme.format != _NVFP4:
        raise InputError(
            f"{where}, compressed-tensors reads {count} differently: it keeps scales in the dtype of the model, and "
            f"{_name(dtype)} does not hold these; {_ELSE}, --dtype float32, or a format whose scales fit "
            "(int4-g128-sbf16)"
        )
    if not nearest:
        raise InputError(
            f"{where}, compressed-tensors reads {count} one step of bfloat16 off: it divides by the reciprocal of the "
            f"tensor's scale; take that with --nearest, or {_ELSE}"
        )


def input_of(weight: QuantizedWeight) -> InputScheme | None:
    """Return how the reader rounds the input of a layer; None if it leaves it as it is."""
    if weight.input_format is None or (scheme := _said(weight)) is None or scheme.format == "dense":
        return None
    found = input_scheme(parse_format(weight.input_format))
    if found is None or weight.value.shape[-1] % found.arguments.get("group_size", 1):
        return None
    return found


def is_same_input(weight: QuantizedWeight, dtype: torch.dtype) -> bool:
    """Whether the reader rounds the input of a layer to the values of the assignment's format, bit for bit."""
    scheme = input_of(weight)
    return scheme is not None and scheme.same_as == weight.input_format and dtype in scheme.same_in


def compressed_config(weights: Sequence[QuantizedWeight]) -> dict[str, Any] | None:
    """Return the quantization_config of config.json: one group per scheme; None if every weight is dense."""
    import compressed_tensors

    groups: list[dict[str, Any]] = []
    for weight in weights:
        scheme, said = _said(weight), input_of(weight)
        if scheme is None or scheme.format == "dense":
            continue
        group = {
            "format": scheme.format,
            "weights": dict(scheme.arguments),
            "input_activations": None if said is None else dict(said.arguments),
        }
        known = next((one for one in groups if all(one[key] == value for key, value in group.items())), None)
        if known is None:
            groups.append(known := {"targets": [], **group})
        known["targets"].append(weight.module)
    if not groups:
        return None
    formats = {group["format"] for group in groups}
    return {
        "quant_method": "compressed-tensors",
        "version": compressed_tensors.__version__,
        "quantization_status": "compressed",
        "format": formats.pop() if len(formats) == 1 else "mixed-precision",
        "config_groups": {f"group_{number}": group for number, group in enumerate(groups)},
        "ignore": [],
    }


def _said(weight: QuantizedWeight) -> WeightScheme | None:
    inputs = None if weight.input_format is None else parse_format(weight.input_format)
    return weight_scheme(weight.format, inputs)


def _scheme(model: nn.Module, weight: QuantizedWeight, dtype: torch.dtype) -> WeightScheme:
    """Return how a layer is said, or raise an InputError that names it and what is in the way."""
    layer, scheme = f"layer {weight.node!r}", _said(weight)
    if scheme is None:
        raise InputError(f"{layer}: compressed-tensors cannot say {weight.format} (it knows {_KNOWN}); {_ELSE}")
    if scheme.format == "dense":
        return scheme
    module = model.get_submodule(weight.module)
    if not isinstance(module, nn.Linear) or weight.parameter != f"{weight.module}.weight" or weight.axis != -1:
        raise InputError(
            f"{layer}: compressed-tensors quantizes Linear layers, and this one is a {type(module).__name__}; {_ELSE}"
        )
    columns, block = weight.value.shape[-1], weight.format.block
    if block is not None and columns % block:
        raise InputError(
            f"{layer}: compressed-tensors wants whole blocks, and {columns} columns are no multiple of the {block} of "
            f"{weight.format}; {_ELSE}"
        )
    if scheme.dtype not in (None, dtype):
        raise InputError(
            f"{layer}: compressed-tensors reads {weight.format} as {_name(scheme.dtype)}, which a {_name(dtype)} model "
            f"cannot multiply by; use --dtype {_name(scheme.dtype)}, or {_ELSE}"
        )
    return scheme


def _count_wrong(tensors: dict[str, Tensor], scheme: WeightScheme, expected: Tensor) -> int:
    """Return how many values the library makes differently of the tensors, once transformers has loaded them."""
    read = _read_back(tensors, scheme, expected.dtype)
    return int((read != expected).sum()) if read.dtype == expected.dtype else expected.numel()


def _read_back(tensors: dict[str, Tensor], scheme: WeightScheme, dtype: torch.dtype) -> Tensor:
    """Return the weight that the library makes of the tensors in a model of `dtype`."""
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    # Float scales are cast to the model's dtype on loading; the tensor scale of NVFP4 stays float32.
    loaded = {
        name: tensor.to(dtype) if name == "weight_scale" and tensor.dtype == torch.float32 else tensor
        for name, tensor in tensors.items()
    }
    described = QuantizationScheme(targets=[], weights=QuantizationArgs(**scheme.arguments), format=scheme.format)
    read: Tensor = BaseCompressor.get_value_from_registry(scheme.format).decompress(loaded, described)["weight"]
    return read.detach()


def _reciprocals(g: Tensor) -> list[Tensor]:
    """Return float32 candidates [1] for 1 / g, nearest first.

    The reader divides block scales by this number where NVFP4 multiplies them by g. The two float32 products may
    differ in the last bit, which matters only at a tie of the bfloat16 that both are rounded to. A neighbour of the
    reciprocal can move one value off its tie; where g has few significant bits, many values lie on ties, and none does.
    """
    bits = (1.0 / g).view(torch.int32)
    return [(bits + step).view(torch.float32) for step in _NEIGHBOURS]


def _name(dtype: torch.dtype | None) -> str:
    return str(dtype).removeprefix("torch.")
