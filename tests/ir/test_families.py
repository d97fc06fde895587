"""The table of families: each graph equals its eager model, counts its multiplications, and survives storage."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import MptConfig, MptForCausalLM, T5Config, T5ForConditionalGeneration

from mxhw import capture
from mxhw.errors import InputError
from mxhw.ir import Graph, capture_features, capture_language_model
from mxhw.ir.symbolic import size_at
from tests.ir.zoo import (
    CONTEXT,
    FAMILIES,
    FEATURES,
    PIXELS,
    captured,
    counted_macs,
    eager_model,
    inputs,
    largest_difference,
    logits,
)

SIZES = ((1, 12), (3, 20), (1, 1), (2, CONTEXT))


@pytest.mark.parametrize("name", FAMILIES)
def test_one_capture_equals_the_eager_model_at_every_size(name: str) -> None:
    graph, model = captured(name), eager_model(name)
    for batch, sequence in SIZES:
        x = inputs(name, batch, sequence)
        assert largest_difference(graph.run(x), logits(model, x)) == 0.0
    for batch, sequence in SIZES[1:3]:
        assert graph.macs(batch, sequence) == counted_macs(model, inputs(name, batch, sequence))


@pytest.mark.parametrize("name", FAMILIES)
def test_every_product_can_be_quantized(name: str) -> None:
    """Both operands of whatever multiplies are sites; what the dialect does not cover multiplies nothing."""
    graph = captured(name)
    for info in graph.nodes.values():
        operands = {site.operand for site in info.sites} - {"cache"}
        assert operands in (({"weight", "input"}, {"lhs", "rhs"}) if info.macs else (set(),)), info.name
    assert sum(size_at(info.macs, 1, 8) for info in graph.uncovered) == 0


@pytest.mark.parametrize("name", FAMILIES)
def test_storage_keeps_the_records_and_the_values(name: str, tmp_path: Path) -> None:
    graph = captured(name)
    graph.save(tmp_path)
    loaded = Graph.load(tmp_path)
    assert (loaded.signature, loaded.nodes) == (graph.signature, graph.nodes)
    x = inputs(name, 2, 9)
    assert torch.equal(loaded.run(x), graph.run(x))


def test_the_comparison_sees_one_wrong_operator() -> None:
    """Negative control: Mamba's scan with one state taken from the wrong token."""
    graph, x = captured("mamba").copy(), inputs("mamba", 1, 12)
    (first, _) = graph.module.graph.find_nodes(op="call_function", target=torch.ops.mxhw.scan.default)
    with graph.module.graph.inserting_after(first):
        turned = graph.module.graph.call_function(torch.ops.aten.flip.default, (first, [1]))
    first.replace_all_uses_with(turned, delete_user_cb=lambda user: user is not turned)
    graph.module.recompile()
    assert largest_difference(graph.run(x), logits(eager_model("mamba"), x)) > 0


def test_the_count_sees_one_product_missing() -> None:
    graph, x = captured("bloom"), inputs("bloom", 2, 8)
    products = [info for info in graph.nodes.values() if info.op == "matmul"]
    assert len(products) == 4
    without = sum(size_at(info.macs, 2, 8) for info in graph.nodes.values() if info is not products[0])
    assert without != counted_macs(eager_model("bloom"), x)


def test_products_that_models_write_themselves_become_linear() -> None:
    falcon = captured("falcon_alibi").nodes
    assert falcon["transformer.h.0.mlp.dense_h_to_4h"].op == "linear"
    assert falcon["transformer.h.0.mlp.dense_h_to_4h.add"].op == "add"  # its bias, rounded by itself
    step = captured("mamba").nodes["backbone.layers.0.mixer.dt_proj"]
    assert (step.op, step.input_shapes[1]) == ("linear", (64, 2))
    assert captured("mamba").weight("backbone.layers.0.mixer.conv").shape == (64, 1, 4)


class Stored(nn.Module):
    """A product with a weight that is stored as [in, out], a product with a computed weight, and something unknown."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(16, 8))
        self.low, self.high = nn.Parameter(torch.randn(4, 8)), nn.Parameter(torch.randn(6, 4))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cumsum(x @ self.kernel, dim=-1)
        return nn.functional.linear(y, self.high @ self.low)


def test_products_with_stored_and_with_computed_weights_and_an_unknown_operator(tmp_path: Path) -> None:
    module = Stored().eval()
    graph = capture_features(module, torch.zeros(1, 16))
    x = torch.randn(5, 16)
    assert torch.equal(graph.run(x), module(x))
    assert graph.weight("linear").shape == (8, 16)
    assert [info.target for info in graph.uncovered] == ["aten.cumsum.default"]
    assert {key: site.axis for key, site in graph.sites.items() if site.node == "matmul"} == {
        "matmul:lhs": -1,
        "matmul:rhs": -1,  # [out, in]
    }
    graph.save(tmp_path)
    assert torch.equal(Graph.load(tmp_path).run(x), module(x))


class InPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x * 2
        z = y.view(-1)
        z.add_(1)  # seen through y
        w = x * 3
        w.mul_(2).relu_()
        return y + w


def test_only_writes_that_nothing_else_sees_are_taken_out_of_place() -> None:
    graph = capture_features(InPlace(), torch.zeros(2, 4), dynamic=False)
    x = torch.randn(2, 4)
    assert torch.equal(graph.run(x), InPlace()(x))
    targets = [str(node.target) for node in graph.module.graph.nodes if node.op == "call_function"]
    assert "aten.add_.Tensor" in targets and "aten.relu.default" in targets and "aten.mul_.Tensor" not in targets


def test_vision_models_are_captured_through_the_door() -> None:
    pixels = torch.randn(3, *FEATURES["vit"][1][1:])
    graph = capture(eager_model("vit"), example=pixels[:1])
    assert torch.equal(graph.run(pixels), logits(eager_model("vit"), pixels))
    assert graph.signature.features == (None, 3, PIXELS, PIXELS)
    with pytest.raises(InputError, match=r"^ViTForImageClassification takes pixel_values, not token ids; give example"):
        capture(eager_model("vit"))


def test_attention_of_ones_own_is_put_back() -> None:
    model = eager_model("falcon")
    model.config._attn_implementation = "sdpa"
    try:
        graph = capture_language_model(model, sequence=8)
        assert model.config._attn_implementation == "sdpa"
    finally:
        model.config._attn_implementation = "eager"
    assert "attention" not in {info.op for info in graph.nodes.values()}


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(2, 3, 8, 8, dtype=torch.float64), r"^cnn takes float32 features, not float64"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.long), r"^cnn takes floating-point features, not torch.int64"),
        (torch.zeros(2, 3, 9, 8), r"^cnn takes features of shape \[any, 3, 8, 8\], not \[2, 3, 9, 8\]"),
        (torch.zeros(3, 8, 8), r"^cnn takes features of shape \[any, 3, 8, 8\], not \[3, 8, 8\]"),
        ([[0.0]], r"^cnn takes a tensor, not list"),
    ],
)
def test_features_of_another_type_or_shape_are_refused(x: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        captured("cnn").run(x)


class DataDependent(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if bool(x.sum() > 0) else -x


def test_the_module_that_cannot_be_captured_is_named() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Sequential(DataDependent()))
    with pytest.raises(InputError, match=r"^Sequential cannot be captured .*: in '1\.0' \(DataDependent\): "):
        capture_features(module)


def test_models_that_need_more_than_one_input_are_refused() -> None:
    model = T5ForConditionalGeneration(T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, vocab_size=16))
    with pytest.raises(InputError, match=r"^T5ForConditionalGeneration needs the decoder's token ids beside input_ids"):
        capture(model)


def test_a_length_that_cannot_be_symbolic_is_captured_static() -> None:
    config = MptConfig(d_model=32, n_heads=4, n_layers=1, vocab_size=96, max_seq_len=CONTEXT, expansion_ratio=2)
    model = MptForCausalLM(config).eval()
    with pytest.raises(InputError, match=r"^sizes of 'transformer.*cannot stay symbolic, capture with dynamic=False: "):
        capture_language_model(model, sequence=12)
    model.config._attn_implementation = "eager"
    graph, x = capture_language_model(model, sequence=12, dynamic=False), inputs("llama", 1, 12)
    assert torch.equal(graph.run(x), logits(model, x))
