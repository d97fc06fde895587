"""`mxhw::fake_quantize` as an operator of torch: gradients, export, compilation, `out=` and in-place."""

import pytest
import torch

from mxhw.errors import InputError
from mxhw.formats import parse_format
from tests.formats.draws import differences

NAMES = ["mxfp4", "int8", "int4-g32-asym", "nvfp4", "bitmod4", "dialect4", "dialect4-online"]
OP = torch.ops.mxhw.fake_quantize


class Layer(torch.nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.format = parse_format(name)
        self.linear = torch.nn.Linear(32, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.format.fake_quantize(self.linear.weight)
        return torch.nn.functional.linear(self.format.fake_quantize(torch.relu(x)), weight, self.linear.bias)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_pass_straight_through(name):
    fmt = parse_format(name)
    x = torch.randn(3, 64, requires_grad=True)
    factor = torch.randn(3, 64)
    for rounded in (fmt.fake_quantize(x), OP(x, name, -1)):
        x.grad = None
        (rounded * factor).sum().backward()
        assert x.grad.equal(factor)
        assert differences(rounded.detach(), fmt.fake_quantize(x.detach())) == 0


def test_no_gradient_is_recorded_where_none_is_wanted():
    fmt, x = parse_format("mxfp4"), torch.randn(2, 32, requires_grad=True)
    with torch.no_grad():
        assert not fmt.fake_quantize(x).requires_grad
        assert fmt.fake_quantize(x, out=torch.empty(2, 32)) is not None
    assert not fmt.fake_quantize(x.detach()).requires_grad
    assert fmt.fake_quantize(x).requires_grad
    with pytest.raises(InputError, match="mxfp4: out records no gradient"):
        fmt.fake_quantize(x, out=torch.empty(2, 32))


@pytest.mark.parametrize("name", NAMES)
def test_a_quantized_layer_learns(name):
    torch.manual_seed(0)
    layer, x, target = Layer(name), torch.randn(64, 32), torch.randn(64, 16)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.02)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(layer(x), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("name", NAMES)
def test_out_and_in_place_fill_what_is_given(name):
    x = torch.randn(4, 64)
    expected = parse_format(name).fake_quantize(x)
    out = torch.empty_like(x)
    assert torch.ops.mxhw.fake_quantize.out(x, name, -1, out=out).data_ptr() == out.data_ptr()
    assert differences(out, expected) == 0
    same = x.clone()
    assert torch.ops.mxhw.fake_quantize_(same, name, -1).data_ptr() == same.data_ptr()
    assert differences(same, expected) == 0


@pytest.mark.parametrize("name", NAMES)
def test_torch_finds_nothing_wrong_with_the_operator(name):
    for x in (torch.randn(3, 64), torch.randn(2, 64, requires_grad=True), torch.randn(64, 3).t()):
        torch.library.opcheck(OP.default, (x, name, -1))


def test_an_exported_graph_has_one_node_for_each_quantizer():
    layer, x = Layer("dialect4"), torch.randn(5, 32)
    program = torch.export.export(layer, (x,), dynamic_shapes=({0: torch.export.Dim("n", min=1, max=64)},))
    targets = [node.target for node in program.graph.nodes if node.op == "call_function"]
    assert targets.count(OP.default) == 2
    longer = torch.randn(11, 32)
    assert program.module()(longer).equal(layer(longer))


def test_a_compiled_layer_gives_the_same_values_and_gradients():
    layer, x = Layer("mxfp4"), torch.randn(5, 32)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    layer(x).sum().backward()
    expected = layer.linear.weight.grad.clone()
    layer.linear.weight.grad = None
    result = compiled(x)
    assert result.equal(layer(x))
    result.sum().backward()
    assert layer.linear.weight.grad.equal(expected)


def test_an_unknown_format_is_named():
    with pytest.raises(InputError, match="unknown format 'mxfp5'"):
        OP(torch.ones(2, 32), "mxfp5", -1)
