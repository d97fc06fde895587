"""Quantized experts equal an independently quantized eager model bit for bit."""

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

from mxhw.formats import parse_format
from mxhw.ir import Assignment
from mxhw.passes.transform import Quantize, QuantizeConfig
from tests.ir.zoo import ids, logits
from tests.ir.zoo_experts import MIXTURES, captured_mixture, eager_mixture

NAME = "quantized_eager"
PARAMETERS = ("gate_up_proj", "down_proj")


@pytest.fixture
def quantized_experts() -> Iterator[None]:
    """An experts implementation of its own: the eager loop with rounded inputs."""

    def forward(self: nn.Module, hidden: Tensor, index: Tensor, scores: Tensor) -> Tensor:
        total = torch.zeros_like(hidden)
        for expert in range(self.num_experts):
            token, position = torch.where(index == expert)
            order = position.argsort(stable=True)  # eager experts take their rows by position, then by token
            token, position = token[order], position[order]
            if len(token):
                y = product(self, "gate_up_proj", hidden[token], expert)
                y = product(self, "down_proj", self._apply_gate(y), expert)
                total.index_add_(0, token, y * scores[token, position, None])
        return total

    def product(self: nn.Module, name: str, x: Tensor, expert: int) -> Tensor:
        x, weight = self.input_format.fake_quantize(x), getattr(self, name)[expert]
        if self.is_transposed:
            return x @ weight + getattr(self, f"{name}_bias")[expert]
        return linear(x, weight)

    ALL_EXPERTS_FUNCTIONS[NAME] = forward
    yield
    del ALL_EXPERTS_FUNCTIONS[NAME]


def rounded_model(name: str, weights: str, inputs: str) -> nn.Module:
    """The eager model with rounded weights, and inputs rounded by hooks and by :func:`quantized_experts`."""
    model = copy.deepcopy(eager_mixture(name))
    w, x = parse_format(weights), parse_format(inputs)

    def before(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (x.fake_quantize(args[0]), *args[1:])

    for module in model.modules():
        if isinstance(module, nn.Linear) or type(module).__name__.endswith("Router"):
            module.weight.data = w.fake_quantize(module.weight.detach())
            module.register_forward_pre_hook(before)
        elif type(module).__name__.endswith("Experts"):
            for parameter in PARAMETERS:
                value = getattr(module, parameter)
                value.data = w.fake_quantize(value.detach(), axis=-2 if module.is_transposed else -1)
            module.input_format = x
    model.set_experts_implementation(NAME)
    return model


def assignment_of(name: str, weights: str, inputs: str) -> Assignment:
    """Formats of everything that has a weight."""
    graph = captured_mixture(name)
    formats = {}
    for info in graph.weighted:
        formats |= {f"{info.name}:weight": weights, f"{info.name}:input": inputs}
    return Assignment(name, formats)


@pytest.mark.usefixtures("quantized_experts")
@pytest.mark.parametrize("name", MIXTURES)
@pytest.mark.parametrize(("weights", "inputs"), [("bitmod4", "int8-e8m0"), ("mxfp4", "mxint8")])
def test_equals_an_eager_model_with_rounded_experts_bit_for_bit(name: str, weights: str, inputs: str) -> None:
    tokens = ids(2, 15)
    assignment = assignment_of(name, weights, inputs)
    ours = Quantize(QuantizeConfig(assignment=assignment))(captured_mixture(name)).graph.run(tokens)
    reference = logits(rounded_model(name, weights, inputs), tokens)
    assert torch.equal(ours, reference)
    # negative control: one other format in one place must be seen
    other = Assignment(name, {**assignment.formats, "model.layers.1.mlp.experts.down_proj:weight": "int3"})
    assert not torch.equal(Quantize(QuantizeConfig(assignment=other))(captured_mixture(name)).graph.run(tokens), ours)


def test_no_hardware_multiplies_experts_and_the_report_says_so() -> None:
    graph, tokens = captured_mixture("mixtral"), ids(1, 12)
    assignment = assignment_of("mixtral", "bitmod4", "int8-e8m0")
    experts = [f"model.layers.{layer}.mlp.experts.{p}" for layer in range(2) for p in PARAMETERS]
    result = Quantize(QuantizeConfig(assignment=assignment, arithmetic="hardware"))(graph)
    assert set(experts) <= set(result.report["nodes_without"])
    assert set(result.report["nodes_in_hardware"]) == {info.name for info in graph.gemms if info.op == "linear"}
    covered = sum(info.gemm(1, 12).macs for info in graph.gemms if info.op == "linear")
    assert result.report["mac_coverage"] == pytest.approx(covered / graph.macs(1, 12))
    # they are rounded all the same: with experts in float the result is another
    floating = Assignment("mixtral", {k: v for k, v in assignment.formats.items() if ".experts." not in k})
    without = Quantize(QuantizeConfig(assignment=floating, arithmetic="hardware"))(graph).graph.run(tokens)
    assert not torch.equal(result.graph.run(tokens), without)


def test_a_tokens_input_is_rounded_once_for_all_of_its_experts() -> None:
    graph = captured_mixture("mixtral")
    formats = {f"model.layers.0.mlp.experts.{p}:input": "int8-e8m0" for p in PARAMETERS}
    result = Quantize(QuantizeConfig(assignment=Assignment("mixtral", formats)))(graph)
    assert result.report["quantizers"] == 2
    node = result.graph.fx_node("model.layers.0.mlp.experts.gate_up_proj")
    assert node.args[0].target is torch.ops.mxhw.fake_quantize.default
