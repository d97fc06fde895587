"""Which function a node of the float graph is: found by running it beside the functions that have integers."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor, fx
from torch.nn import functional

from mxhw.passes.transform.lower.probe import attribute, constants, evaluate

__all__ = ["ActivationName", "Norm", "activation_function", "rms_norm_of"]

ActivationName = Literal["silu", "gelu", "gelu_tanh", "relu"]

_FUNCTIONS: dict[ActivationName, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu,
    "gelu": functional.gelu,
    "gelu_tanh": partial(functional.gelu, approximate="tanh"),
    "relu": functional.relu,
}
_TOLERANCE = 1e-5  # the two GELU differ by 4.7e-4


def activation_function(node: fx.Node) -> ActivationName | None:
    """Return the function that an activation node computes; None if it has no integers."""
    inputs = [each for each in node.all_input_nodes if each.op != "get_attr"]
    if len(inputs) != 1:
        return None
    x = torch.linspace(-9, 9, 721)
    y = evaluate(node, {inputs[0]: x})
    for name, function in _FUNCTIONS.items():
        if isinstance(y, Tensor) and y.shape == x.shape and bool((y - function(x)).abs().max() < _TOLERANCE):
            return name
    return None


class Norm:
    """Gains [D] and epsilon of an RMSNorm."""

    def __init__(self, gains: Tensor, epsilon: float) -> None:
        self.gains, self.epsilon = gains, epsilon

    def __call__(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.epsilon) * self.gains


def rms_norm_of(node: fx.Node, length: int) -> Norm | None:
    """Return the RMSNorm that a node computes over ``length`` elements, with gains w or 1 + w; None if it is none."""
    inputs = [each for each in node.all_input_nodes if each.op != "get_attr"]
    weights = [attribute(each).float().flatten() for each in node.all_input_nodes if each.op == "get_attr"]
    if len(inputs) != 1 or len(weights) > 1 or any(weight.numel() != length for weight in weights):
        return None
    plain = weights[0] if weights else torch.ones(length)
    dtype = next((attribute(each).dtype for each in node.all_input_nodes if each.op == "get_attr"), torch.float32)
    x = torch.randn(2, 4, length, generator=torch.Generator().manual_seed(0))
    x[1] *= 1e-3  # here an epsilon of 1e-6 and one of 1e-5 differ
    y = evaluate(node, {inputs[0]: x.to(dtype)})
    for epsilon in (*constants(node), torch.finfo(dtype).eps):
        for gains in (plain, 1 + plain):
            norm = Norm(gains, epsilon)
            if epsilon > 0 and torch.allclose(y.float(), norm(x), rtol=0.02 if dtype != torch.float32 else 1e-4):
                return norm
    return None
