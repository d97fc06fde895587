"""Quantized eager models, written without the graph: weights rewritten, inputs by hooks, attention by a function.

Models that compute attention by themselves (Falcon, Bloom, GPT-J, ...), and Mamba's convolution, step sizes and
read-out, are reached by intercepting torch's functions while the model runs. Only the number formats are shared with
the pass that is tested.
"""

import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mxhw.formats import Format, parse_format

_LINEAR = ("Linear", "FalconLinear")
_PRODUCTS = (torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.bmm, torch.Tensor.bmm)
_PRODUCTS_AND_SUM = (torch.baddbmm, torch.Tensor.baddbmm)


def hook_quantized(model: nn.Module, weight: str, inputs: str, attention: str) -> Callable[[Tensor], Tensor]:
    """Return a function that runs a quantized copy of an eager model and returns its logits."""
    model = copy.deepcopy(model)
    w, x, a = parse_format(weight), parse_format(inputs), parse_format(attention)
    rounded = {}
    for module in model.modules():
        kind = type(module).__name__
        if kind in _LINEAR:
            _quantize(module, w, -1, x, -1)
        elif kind == "Conv1D":  # GPT-2's linear layer: weight [in, out]
            _quantize(module, w, 0, x, -1)
        elif isinstance(module, nn.Conv1d | nn.Conv2d):
            depthwise = module.groups == module.in_channels
            _quantize(module, w, module.weight.dim() - 1 if depthwise else 1, x, 1)
        else:
            continue
        rounded[module.weight.data_ptr()] = module
    intercepting: Any = nullcontext()
    if hasattr(model, "config"):
        if any("Mixer" in type(module).__name__ for module in model.modules()) or not _has_interface(model):
            intercepting = _Products(x, a, rounded)
        else:
            _use(model, _attention(a))

    def run(value: Tensor) -> Tensor:
        with torch.no_grad(), intercepting:
            result: Any = model(value)
        return getattr(result, "logits", result)

    return run


def _quantize(module: Any, weight: Format, weight_axis: int, inputs: Format, input_axis: int) -> None:
    value = weight.fake_quantize(module.weight.detach(), axis=weight_axis)
    module.weight = nn.Parameter(value)  # a new parameter: a tied embedding keeps the old one
    module.register_forward_pre_hook(lambda _, args: (inputs.fake_quantize(args[0], axis=input_axis), *args[1:]))


def _has_interface(model: Any) -> bool:
    return model._can_set_attn_implementation()


def _use(model: Any, attention: Callable[..., Any]) -> None:
    from transformers import AttentionInterface

    AttentionInterface.register("hook_quantized", attention)
    model.set_attn_implementation("hook_quantized")


def _attention(fmt: Format) -> Callable[..., tuple[Tensor, None]]:
    def attend(
        module: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: None,
        scaling: float | None = None,
        sliding_window: int | None = None,
        softcap: float | None = None,
        is_causal: bool | None = None,
        **_: Any,
    ) -> tuple[Tensor, None]:
        assert mask is None
        groups, length = query.shape[1] // key.shape[1], query.shape[2]
        q, k = fmt.fake_quantize(query), fmt.fake_quantize(key).repeat_interleave(groups, 1)
        scores = torch.matmul(q, k.transpose(2, 3)) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        if module.is_causal if is_causal is None else is_causal:
            distance = torch.arange(length)[:, None] - torch.arange(length)[None, :]
            allowed = (distance >= 0) & (distance < (sliding_window or length))
            scores = torch.where(allowed, scores, torch.finfo(scores.dtype).min)
        p = fmt.fake_quantize(torch.softmax(scores, -1))
        v = fmt.fake_quantize(value, axis=-2).repeat_interleave(groups, 1)
        return torch.matmul(p, v).transpose(1, 2).contiguous(), None

    return attend


class _Products(TorchFunctionMode):
    """Rounds both operands of products of two activations, and the activation of products outside of a module."""

    def __init__(self, inputs: Format, attention: Format, weights: dict[int, nn.Module]) -> None:
        super().__init__()
        self.inputs, self.attention, self.weights = inputs, attention, weights

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _PRODUCTS:
            args = self._operands(*args)
        elif func in _PRODUCTS_AND_SUM:
            summand, lhs, rhs = (*args, *(kwargs.pop(name) for name in ("batch1", "batch2") if name in kwargs))
            args = (summand, *self._operands(lhs, rhs))
        elif func is torch.conv1d and "weight" in kwargs:  # not from a module, which gives it by position
            args = (self.inputs.fake_quantize(args[0], axis=1), *args[1:])
        return func(*args, **kwargs)

    def _operands(self, lhs: Tensor, rhs: Tensor) -> tuple[Tensor, Tensor]:
        if rhs.data_ptr() in self.weights:  # inside a linear module
            return lhs, rhs
        if lhs.data_ptr() in self.weights:
            return lhs, self.inputs.fake_quantize(rhs, axis=-2)
        return self.attention.fake_quantize(lhs), self.attention.fake_quantize(rhs, axis=-2)
