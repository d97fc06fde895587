"""The reader of native checkpoints, as a quantizer of transformers: `import mxhw`, then `from_pretrained(folder)`.

Every packed parameter is loaded as bytes and decoded once to a dense one in the model's dtype. What comes out is a
plain model of rounded weights, which can be trained, cast and saved as any other.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING, register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from mxhw.errors import InputError
from mxhw.formats import packed_layout, parse_format, unpack
from mxhw.formats.base import ENCODING_VERSION
from mxhw.models.checkpoint import NATIVE_METHOD
from mxhw.models.export.native import PACKED, VERSION

__all__ = ["NativeConfig", "NativeQuantizer", "register"]

_FLOATS = (torch.float32, torch.bfloat16, torch.float16)


class NativeConfig(QuantizationConfigMixin):  # type: ignore[misc]
    """The `quantization_config` of a native checkpoint.

    Parameters
    ----------
    version, encoding : int
        Of this object, and of the codes of all formats.
    weights : mapping of str to mapping
        Format name, shape and axis by parameter.

    Raises
    ------
    InputError
        If it was written by another version, or a weight is not described as it must be.
    """

    def __init__(
        self, version: object = None, encoding: object = None, weights: object = None, quant_method: str = NATIVE_METHOD
    ) -> None:
        if (version, encoding) != (VERSION, ENCODING_VERSION):
            raise InputError(
                f"quantization_config of mxhw is of version {version!r} with encoding {encoding!r}; this mxhw reads "
                f"{VERSION} and {ENCODING_VERSION}: export the model again, or install the mxhw that wrote it"
            )
        if not isinstance(weights, Mapping) or not weights:
            raise InputError(f"quantization_config of mxhw: weights must be an object, not {weights!r:.60}")
        for name, entry in weights.items():
            _check(name, entry)
        self.quant_method = quant_method
        self.version, self.encoding = version, encoding
        self.weights = dict(weights)
        self.dequantize = True  # what is loaded is dense, and transformers then drops this config from the model


class NativeQuantizer(HfQuantizer):  # type: ignore[misc]
    """Loads packed parameters and decodes them."""

    requires_calibration = True  # a model cannot be quantized by loading it: an export comes first
    is_trainable = True
    quantization_config: NativeConfig

    def is_serializable(self) -> bool:
        """Whether the loaded model can be saved: it can, as the dense model that it is."""
        return True

    def param_needs_quantization(self, model: nn.Module, param_name: str, **named: Any) -> bool:
        """Whether this reader itself checks the length of a stored tensor, with a clearer message."""
        return param_name.removesuffix(PACKED) in self.quantization_config.weights

    def _process_model_before_weight_loading(self, model: nn.Module, **named: Any) -> None:
        """Put byte parameters beside the quantized ones, which stay as plain attributes: they are not to be loaded.

        Models look at the dtype of their weights, and at whether they are initialized, while there is no data yet.
        """
        for name, entry in self.quantization_config.weights.items():
            module, leaf = _owner(model, name)
            dense = module._parameters[leaf]
            if dense is None or dense.shape != torch.Size(entry["shape"]) or dense.dtype not in _FLOATS:
                found = None if dense is None else (tuple(dense.shape), dense.dtype)
                raise InputError(f"checkpoint has {name!r} as {entry['shape']}, and the model has {found}")
            placeholder = dense.detach()
            placeholder._is_hf_initialized = True  # type: ignore[attr-defined]  # a mark of transformers
            del module._parameters[leaf]
            object.__setattr__(module, leaf, placeholder)
            empty = torch.empty(_bytes(entry), dtype=torch.uint8, device=dense.device)
            module.register_parameter(leaf + PACKED, nn.Parameter(empty, requires_grad=False))

    def _process_model_after_weight_loading(self, model: nn.Module, **named: Any) -> nn.Module:
        """Decode the bytes and put dense parameters in their places."""
        for name, entry in self.quantization_config.weights.items():
            module, leaf = _owner(model, name)
            packed = module._parameters.pop(leaf + PACKED)
            assert packed is not None
            value = _decoded(name, entry, packed.detach(), getattr(module, leaf).dtype)
            delattr(module, leaf)
            module.register_parameter(leaf, nn.Parameter(value.to(packed.device)))
        return model


def register() -> None:
    """Make transformers know native checkpoints; once is enough."""
    if NATIVE_METHOD not in AUTO_QUANTIZER_MAPPING:
        register_quantization_config(NATIVE_METHOD)(NativeConfig)
        register_quantizer(NATIVE_METHOD)(NativeQuantizer)


def _check(name: object, entry: object) -> None:
    """Raise an InputError unless `entry` describes a packed parameter."""
    if not isinstance(entry, Mapping) or set(entry) != {"format", "shape", "axis"}:
        raise InputError(f"quantization_config of mxhw: {name!r} must have format, shape and axis, not {entry!r:.80}")
    shape, axis = entry["shape"], entry["axis"]
    if not isinstance(shape, list) or not shape or not all(type(size) is int and size > 0 for size in shape):
        raise InputError(f"quantization_config of mxhw: shape of {name!r} must be positive sizes, not {shape!r:.60}")
    if type(axis) is not int or not -len(shape) <= axis < 0:
        raise InputError(f"quantization_config of mxhw: axis of {name!r} must be -{len(shape)} to -1, not {axis!r:.60}")
    try:
        parse_format(str(entry["format"]))
    except InputError as error:
        raise InputError(f"quantization_config of mxhw: {name!r}: {error}") from None


def _owner(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    """Return the module of a parameter, and the parameter's name there."""
    path, _, leaf = name.rpartition(".")
    try:
        module = model.get_submodule(path)
    except AttributeError:
        module = nn.Module()
    if leaf not in module._parameters and leaf + PACKED not in module._parameters:
        raise InputError(
            f"{type(model).__name__} has no parameter {name!r}, which the checkpoint quantizes; load it with the class "
            "that config.json names under architectures"
        )
    return module, leaf


def _bytes(entry: Mapping[str, Any]) -> int:
    last = packed_layout(parse_format(entry["format"]), tuple(entry["shape"]), entry["axis"])[-1]
    return last.offset + last.size


def _decoded(name: str, entry: Mapping[str, Any], packed: Tensor, dtype: torch.dtype) -> Tensor:
    fmt = parse_format(entry["format"])
    try:
        data = packed.cpu().numpy().tobytes()
        return fmt.decode(unpack(fmt, data, torch.Size(entry["shape"]), entry["axis"], dtype))
    except InputError as error:
        raise InputError(f"packed weight {name!r} of the checkpoint is damaged: {error}") from None
