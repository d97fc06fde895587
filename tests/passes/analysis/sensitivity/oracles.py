"""The definitions of all metrics once more, slowly: Hugging Face's own model, float64, one window and token at a time.

Nothing of the captured graph is used. Rounding is that of the formats, on the float32 weights.
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mxhw.formats import parse_format

Change = Callable[[Tensor], Tensor]


def untied(model: nn.Module, dtype: torch.dtype = torch.float64) -> nn.Module:
    """A copy whose output head has a weight of its own."""
    other = copy.deepcopy(model).to(dtype)
    other.lm_head.weight = nn.Parameter(other.lm_head.weight.detach().clone())
    return other


def rounded_weight(model: nn.Module, name: str, fmt: str, channels: tuple[int, int] | None = None) -> Tensor:
    """The weight of a linear layer, its rows in `channels` rounded by themselves; float32."""
    weight = model.get_submodule(name).weight.detach().clone()
    start, stop = channels or (0, len(weight))
    weight[start:stop] = parse_format(fmt).fake_quantize(weight[start:stop].clone())
    return weight


def with_weights(model: nn.Module, weights: dict[str, Tensor], dtype: torch.dtype = torch.float64) -> nn.Module:
    other = untied(model, dtype)
    for name, weight in weights.items():
        other.get_submodule(name).weight.data = weight.to(dtype)
    return other


@torch.no_grad()
def kl(model: nn.Module, weights: dict[str, Tensor], windows: Tensor) -> float:
    """Mean over predicted tokens of Σ p (log p − log q)."""
    reference, other = untied(model), with_weights(model, weights)
    total, count = 0.0, 0
    for window in windows:
        p, q = (m(window[None]).logits[0].log_softmax(-1) for m in (reference, other))
        for token in range(len(window) - 1):
            total += float((p[token].exp() * (p[token] - q[token])).sum())
            count += 1
    return total / count


@torch.no_grad()
def inputs_of(model: nn.Module, name: str, windows: Tensor) -> list[Tensor]:
    """What a linear layer reads in the float model, token by token, float64."""
    reference, seen = untied(model), []
    hook = reference.get_submodule(name).register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    for window in windows:
        reference(window[None])
    hook.remove()
    return [token for each in seen for token in each.reshape(-1, each.shape[-1])]


def mse(model: nn.Module, weights: dict[str, Tensor], windows: Tensor) -> float:
    total = 0.0
    for name, weight in weights.items():
        exact, energy, error = model.get_submodule(name).weight.detach().double(), 0.0, 0.0
        for x in inputs_of(model, name, windows):
            energy += float((exact @ x).square().sum())
            error += float((exact @ x - weight.double() @ x).square().sum())
        total += error / energy
    return total


def hessian(model: nn.Module, weights: dict[str, Tensor], windows: Tensor, *, diagonal: bool = False) -> float:
    total = 0.0
    for name, weight in weights.items():
        inputs = inputs_of(model, name, windows)
        second_moments = sum(torch.outer(x, x) for x in inputs) / len(inputs)
        if diagonal:
            second_moments = second_moments.diag().diag()
        change = weight.double() - model.get_submodule(name).weight.detach().double()
        total += float(torch.trace(change @ second_moments @ change.t()))
    return total


def gradients(model: nn.Module, names: list[str], window: Tensor) -> list[Tensor]:
    """Of the summed negative log likelihood of a window's tokens, by weights; float64."""
    reference = untied(model)
    logits = reference(window[None]).logits[0]
    loss = -sum(logits[i].log_softmax(-1)[window[i + 1]] for i in range(len(window) - 1))
    return list(torch.autograd.grad(loss, [reference.get_submodule(name).weight for name in names]))


def taylor(model: nn.Module, weights: dict[str, Tensor], windows: Tensor, *, elementwise: bool = False) -> float:
    total, names = 0.0, list(weights)
    for window in windows:
        for name, gradient in zip(names, gradients(model, names, window), strict=True):
            change = weights[name].double() - model.get_submodule(name).weight.detach().double()
            product = gradient * change
            total += float((product.abs() if elementwise else product).sum())
    return abs(total) / (windows.shape[0] * (windows.shape[1] - 1))


def fisher(model: nn.Module, weights: dict[str, Tensor], windows: Tensor, *, batched: bool = False) -> float:
    names, found = list(weights), []
    for window in windows:
        found.append(gradients(model, names, window))
    if batched:  # not the definition: gradients are added before they are squared
        found = [[sum(each) for each in zip(*found, strict=True)]]
    total = 0.0
    for each in found:
        for name, gradient in zip(names, each, strict=True):
            change = weights[name].double() - model.get_submodule(name).weight.detach().double()
            total += float((gradient.square() * change.square()).sum())
    return total / 2 / (windows.shape[0] * (windows.shape[1] - 1))


class Eager:
    """Hugging Face's model with other weights, or inputs changed on their way into layers, as an evaluator takes it."""

    def __init__(self, model: nn.Module, weights: dict[str, Tensor], inputs: dict[str, Change] | None = None) -> None:
        self.model = with_weights(model, weights, torch.float32)
        for name, change in (inputs or {}).items():
            self.model.get_submodule(name).register_forward_pre_hook(lambda _, args, f=change: (f(args[0]),))

    @torch.no_grad()
    def run(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x).logits
        return logits


def input_expansion(model: nn.Module, names: list[str], fmt: str, windows: Tensor, order: int) -> float:
    """`taylor` (1) or `fisher` (2) of the inputs of layers."""
    total = 0.0
    for window in windows:
        reference, seen = untied(model, torch.float32), []

        def keep(_: nn.Module, args: tuple[Tensor], seen: list[Tensor] = seen) -> tuple[Tensor]:
            x = args[0].clone()  # as this layer alone reads it
            seen.append(x)
            return (x,)

        for name in names:
            reference.get_submodule(name).register_forward_pre_hook(keep)
        logits = reference(window[None]).logits[0]
        loss = -sum(logits[i].log_softmax(-1)[window[i + 1]] for i in range(len(window) - 1))
        for x, gradient in zip(seen, torch.autograd.grad(loss, seen), strict=True):
            change = parse_format(fmt).fake_quantize(x.detach()).double() - x.detach().double()
            total += float((gradient.double() ** order * change**order).sum())
    return (abs(total) if order == 1 else total / 2) / (windows.shape[0] * (windows.shape[1] - 1))
