"""The dialect's operators for experts and attention sinks: values, fake kernels, gradients."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear

from mxhw.ir.operators import attention_softmax, expert_linear


def routed(active: int, tokens: int, experts: int) -> Tensor:
    """Different experts for every token, [active, tokens]."""
    return torch.rand(tokens, experts).topk(active).indices.t()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("repeated", [False, True])
def test_expert_linear_is_the_eager_loop(bias: bool, repeated: bool) -> None:
    experts, active, tokens = 5, 3, 14
    x, w = torch.randn(tokens, 16), torch.randn(experts, 24, 16)
    b = torch.randn(experts, 24) if bias else None
    chosen = routed(active, tokens, experts)
    found = torch.ops.mxhw.expert_linear(x.expand(active, -1, -1) if repeated else x, w, chosen, b)
    for expert in range(experts):
        position, token = torch.where(chosen == expert)
        expected = linear(x[token], w[expert])
        assert torch.equal(found[position, token], expected if b is None else expected + b[expert])


def test_expert_linear_reads_active_experts_only() -> None:
    x, w = torch.randn(4, 8), torch.randn(3, 8, 8)
    w[1] = math.nan
    assert torch.isfinite(expert_linear(x, w, torch.tensor([[0, 2, 2, 0]]))).all()
    assert not torch.isfinite(expert_linear(x, w, torch.tensor([[0, 1, 2, 0]]))).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_expert_sum_adds_in_the_order_of_the_experts(dtype: torch.dtype) -> None:
    active, tokens = 6, 30
    y, chosen = torch.randn(active, tokens, 16).to(dtype), routed(active, tokens, 9)
    loop = torch.zeros(tokens, 16, dtype=dtype)
    for expert in range(9):
        position, token = torch.where(chosen == expert)
        loop.index_add_(0, token, y[position, token])
    assert torch.equal(torch.ops.mxhw.expert_sum(y, chosen), loop)
    in_order_of_routing = torch.zeros_like(loop)
    for summand in y:
        in_order_of_routing = in_order_of_routing + summand
    assert not torch.equal(in_order_of_routing, loop)


def test_operators_keep_their_promises_to_torch() -> None:
    x, w, chosen = torch.randn(6, 8), torch.randn(4, 10, 8), routed(2, 6, 4)
    tests = ("test_schema", "test_faketensor")
    torch.library.opcheck(torch.ops.mxhw.expert_linear, (x, w, chosen, torch.randn(4, 10)), test_utils=tests)
    torch.library.opcheck(torch.ops.mxhw.expert_sum, (torch.randn(2, 6, 8), chosen), test_utils=tests)
    softmax = (torch.randn(2, 3, 5, 5), None, True, 2, 0.0, torch.randn(3))
    torch.library.opcheck(torch.ops.mxhw.attn_softmax, softmax, test_utils=tests)


@pytest.mark.filterwarnings("ignore:.*an autograd kernel was not registered")
def test_gradients_pass_through_experts_and_sinks() -> None:
    x, w = torch.randn(5, 4, dtype=torch.float64), torch.randn(3, 6, 4, dtype=torch.float64)
    b, chosen = torch.randn(3, 6, dtype=torch.float64), routed(2, 5, 3)

    def experts(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return torch.ops.mxhw.expert_sum(torch.ops.mxhw.expert_linear(x, w, chosen, b), chosen)

    def softmax(s: Tensor, sinks: Tensor) -> Tensor:
        return torch.ops.mxhw.attn_softmax(s, None, True, 0, 0.0, sinks)

    inputs = [value.requires_grad_() for value in (x, w, b)]
    assert torch.autograd.gradcheck(experts, inputs)
    scores, sinks = torch.randn(1, 2, 3, 3, dtype=torch.float64), torch.randn(2, dtype=torch.float64)
    assert torch.autograd.gradcheck(softmax, [scores.requires_grad_(), sinks.requires_grad_()])


def test_a_sink_takes_its_share_of_the_probability() -> None:
    s, sinks = torch.randn(2, 3, 4, 4), torch.tensor([0.5, -1.0, 3.0])
    found = attention_softmax(s, None, True, 0, 0.0, sinks)
    kept = torch.ones(4, 4, dtype=torch.bool).tril()
    exponentials = s.double().exp() * kept
    expected = exponentials / (exponentials.sum(-1, keepdim=True) + sinks.double().exp()[:, None, None])
    assert torch.allclose(found.double(), expected, atol=1e-6)
    without = attention_softmax(s, None, True, 0, 0.0, torch.full((3,), -math.inf))
    assert torch.allclose(without, attention_softmax(s, None, True, 0, 0.0), atol=1e-6)
    assert float((found - without).abs().max()) > 0.01
