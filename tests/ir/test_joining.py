"""A tensor that is filled slice by slice becomes a concatenation, and nothing else does."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mxhw.ir import capture_features


class Applied(nn.Module):
    """A function as a module, between two linear layers."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.before, self.after, self.function = nn.Linear(6, 6), nn.LazyLinear(3), function
        self(torch.zeros(2, 6))

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.function(self.before(x)))


def side_by_side(x: Tensor) -> Tensor:
    y = x.new_empty(x.shape[0], 10)
    y[..., :6].copy_(x)
    y[..., 6:].copy_(x[:, :4])
    return y


def overlapping(x: Tensor) -> Tensor:
    y = x.new_empty(x.shape[0], 10)
    y[..., :6].copy_(x)
    y[..., 4:].copy_(x * 2)
    return y


def read_in_between(x: Tensor) -> Tensor:
    y = x.new_empty(x.shape[0], 10)
    y[..., :6].copy_(x)
    z = y.roll(4, -1)
    y[..., 6:].copy_(x[:, :4])
    z[..., :4] = 0
    return y + z


def broadcast(x: Tensor) -> Tensor:
    y = x.new_empty(x.shape[0], 10)
    y[..., :6].copy_(x)
    y[..., 6:].copy_(x[:, :1])
    return y


def targets(module: nn.Module) -> set[str]:
    """The operators of the captured module, which computes what the module does."""
    graph = capture_features(module, torch.zeros(4, 6))
    x = torch.randn(5, 6)
    assert torch.equal(graph.run(x), module(x))
    return {str(node.target) for node in graph.module.graph.nodes if node.op == "call_function"}


def test_slices_side_by_side_become_a_concatenation() -> None:
    module = Applied(side_by_side)
    found = targets(module)
    assert "aten.cat.default" in found
    assert not {"aten.copy_.default", "aten.new_empty.default"} & found
    nodes = capture_features(module, torch.zeros(4, 6)).nodes
    assert nodes["after"].inputs == ("before",)


@pytest.mark.parametrize("function", [overlapping, read_in_between, broadcast])
def test_anything_else_stays_as_it_is(function: Callable[[Tensor], Tensor]) -> None:
    found = targets(Applied(function))
    assert "aten.cat.default" not in found
    assert "aten.copy_.default" in found
