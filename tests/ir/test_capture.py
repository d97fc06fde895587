"""A captured graph computes exactly what the model computes, at any size, and counts the same multiplications."""

import pytest
import torch
from torch import nn
from transformers import LlamaForCausalLM, Qwen2ForCausalLM

from mxhw.errors import InputError
from mxhw.ir import capture_features, capture_language_model
from mxhw.models import load_model
from tests.ir.zoo import MODELS, SEQUENCE, captured, counted_macs, eager_model, ids, largest_difference, logits

SIZES = ((1, SEQUENCE), (3, 20), (1, 1), (2, 64))


@pytest.mark.parametrize("name", MODELS)
def test_graph_equals_the_eager_model_bit_for_bit_at_every_size(name: str) -> None:
    for batch, sequence in SIZES:
        tokens = ids(batch, sequence)
        assert largest_difference(captured(name).run(tokens), logits(eager_model(name), tokens)) == 0.0


def test_the_comparison_sees_a_changed_weight() -> None:
    graph, tokens = captured("llama"), ids(2, 8)
    before = graph.run(tokens)
    weight = graph.weight("model.layers.1.mlp.down_proj")
    original = weight[0, 0].item()
    try:
        weight.data[0, 0] += 1e-2
        assert largest_difference(graph.run(tokens), before) > 0
    finally:
        weight.data[0, 0] = original


@pytest.mark.parametrize("name", MODELS)
def test_macs_equal_those_that_torch_counts(name: str) -> None:
    for batch, sequence in SIZES:
        assert captured(name).macs(batch, sequence) == counted_macs(eager_model(name), ids(batch, sequence))


@pytest.mark.parametrize("name", MODELS)
def test_gemm_sizes_multiply_to_the_macs(name: str) -> None:
    graph = captured(name)
    assert sum(info.gemm(3, 20).macs for info in graph.gemms) == graph.macs(3, 20)
    assert sum(info.gemm(3, 20).macs for info in graph.gemms[1:]) != graph.macs(3, 20)


@pytest.mark.parametrize("name", MODELS)
def test_decoder_layers_share_one_block(name: str) -> None:
    (layers,) = captured(name).blocks.values()
    assert len(layers) == 2


def test_layers_of_different_width_do_not_share_a_block() -> None:
    model = MODELS["llama"]()
    model.model.layers[1].mlp.gate_proj = nn.Linear(32, 40, bias=False)
    model.model.layers[1].mlp.up_proj = nn.Linear(32, 40, bias=False)
    model.model.layers[1].mlp.down_proj = nn.Linear(40, 32, bias=False)
    assert len(capture_language_model(model, sequence=8).blocks) == 2


def test_layers_with_different_windows_do_not_share_a_block() -> None:
    config = MODELS["qwen2"]().config
    config.use_sliding_window, config.sliding_window = True, 4
    config.layer_types = ["full_attention", "sliding_attention"]
    model = Qwen2ForCausalLM(config).eval()
    graph = capture_language_model(model, sequence=8)
    assert len(graph.blocks) == 2
    model.set_attn_implementation("eager")
    tokens = ids(1, 12)
    assert largest_difference(graph.run(tokens), logits(model, tokens)) == 0.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_demo_model_is_captured_exactly(dtype: torch.dtype) -> None:
    model = load_model("demo", dtype=dtype).model
    graph = capture_language_model(model)
    model.set_attn_implementation("eager")
    for batch, sequence in ((1, 128), (2, 40)):
        tokens = ids(batch, sequence, 256)
        assert largest_difference(graph.run(tokens), logits(model, tokens)) == 0.0
        assert graph.macs(batch, sequence) == counted_macs(model, tokens)


def test_stories_model_is_captured_exactly(shared) -> None:
    model = load_model(shared / "models" / "stories260K").model
    graph = capture_language_model(model)
    model.set_attn_implementation("eager")
    tokens = ids(2, 50, 512)
    assert largest_difference(graph.run(tokens), logits(model, tokens)) == 0.0
    assert graph.macs(2, 50) == counted_macs(model, tokens)


def test_names_follow_the_modules() -> None:
    names = list(captured("llama").nodes)
    layer = "model.layers.0"
    expected = ["input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.rope"]
    expected += ["self_attn.qk", "self_attn.softmax", "self_attn.pv", "self_attn.o_proj", "add"]
    expected += ["post_attention_layernorm", "mlp.gate_proj", "mlp.act_fn", "mlp.up_proj", "mlp.mul", "mlp.down_proj"]
    assert names[2 : 2 + 17] == [f"{layer}.{name}" for name in [*expected, "add_2"]]
    assert names[-1] == "lm_head"


def test_inputs_name_the_producers_behind_views() -> None:
    nodes = captured("llama").nodes
    assert nodes["model.layers.0.self_attn.o_proj"].inputs == ("model.layers.0.self_attn.pv",)
    assert nodes["model.layers.0.add_2"].inputs == ("model.layers.0.add", "model.layers.0.mlp.down_proj")
    assert nodes["model.embed_tokens"].inputs == ("input",)


def test_attention_is_one_causal_product_per_batch_and_head() -> None:
    nodes = captured("llama").nodes
    qk, pv = nodes["model.layers.0.self_attn.qk"].gemm(2, 10), nodes["model.layers.0.self_attn.pv"].gemm(2, 10)
    assert (qk.m, qk.n, qk.k, qk.count, qk.causal) == (10, 10, 8, 8, True)
    assert (pv.m, pv.n, pv.k, pv.count, pv.causal) == (10, 8, 10, 8, True)
    linear = nodes["lm_head"].gemm(2, 10)
    assert (linear.m, linear.n, linear.k, linear.count, linear.causal) == (20, 96, 32, 1, False)


def test_sites_are_reduced_along_the_right_axis() -> None:
    sites = captured("gpt2").sites
    assert sites["transformer.h.0.attn.pv:rhs"].axis == -2
    assert {site.axis for key, site in sites.items() if not key.endswith("pv:rhs")} == {-1}
    assert sites["transformer.h.0.attn.c_attn:weight"].shape == (96, 32)  # [out, in], though stored as [in, out]


def test_capture_leaves_the_model_as_it_was() -> None:
    model: LlamaForCausalLM = MODELS["llama"]().train()
    model.lm_head.eval()
    attention = model.config._attn_implementation
    capture_language_model(model, sequence=8)
    assert model.config._attn_implementation == attention
    assert model.training and not model.lm_head.training


def test_a_failed_capture_leaves_the_model_as_it_was_too() -> None:
    model = MODELS["llama"]()
    model.model.layers[0].mlp.forward = lambda x: x if x.sum() > 0 else -x  # data-dependent: no export
    attention = model.config._attn_implementation
    with pytest.raises(InputError, match=r"^LlamaForCausalLM cannot be captured by torch\.export: "):
        capture_language_model(model, sequence=8)
    assert model.config._attn_implementation == attention


def test_static_capture_runs_at_its_size_only() -> None:
    graph = capture_language_model(eager_model("llama"), batch=1, sequence=6, dynamic=False)
    tokens = ids(1, 6)
    assert largest_difference(graph.run(tokens), logits(eager_model("llama"), tokens)) == 0.0
    assert graph.gemms[0].gemm().m == 6
    with pytest.raises(InputError, match=r"^graph was captured for batch 1 and sequence 6 only, not 2 and 6"):
        graph.run(ids(2, 6))
    with pytest.raises(InputError, match=r"^graph was captured for batch 1"):
        graph.macs(1, 7)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"batch": 0}, r"^batch must be a positive integer, not 0"),
        ({"sequence": "8"}, r"^sequence must be a positive integer, not '8'"),
        ({"sequence": 65}, r"^sequence 65 is longer than the model's context of 64 positions"),
    ],
)
def test_impossible_sizes_are_refused(sizes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        capture_language_model(eager_model("llama"), **sizes)


def test_padding_is_refused_by_the_dialects_attention() -> None:
    model = MODELS["llama"]().eval()
    capture_language_model(model, sequence=8)
    model.set_attn_implementation("mxhw")
    tokens, mask = ids(2, 6), torch.ones(2, 6, dtype=torch.long)
    with torch.no_grad():
        whole = model(tokens, attention_mask=mask, use_cache=False).logits
    model.set_attn_implementation("eager")
    assert largest_difference(whole, logits(model, tokens)) == 0.0
    model.set_attn_implementation("mxhw")
    mask[0, :2] = 0
    with pytest.raises(InputError, match=r"^attention mask has padding"):
        model(tokens, attention_mask=mask, use_cache=False)


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 8), nn.GELU(), nn.Linear(8, 4, bias=False)).eval()


@pytest.mark.parametrize("batch", [1, 7])
def test_mlp_is_captured_exactly(batch: int) -> None:
    module = mlp()
    graph = capture_features(module, batch=2)
    x = torch.randn(batch, 16)
    assert torch.equal(graph.run(x), module(x))
    assert graph.macs(batch) == batch * (16 * 24 + 24 * 8 + 8 * 4)
    assert [info.op for info in graph.nodes.values()] == ["linear", "act", "linear", "act", "linear"]
    assert list(graph.nodes) == ["0", "1", "2", "3", "4"]
    assert graph.gemms[0].gemm(batch).m == batch


def test_mlp_on_tokens_is_symbolic_in_both_dimensions() -> None:
    module = mlp()
    graph = capture_features(module, torch.zeros(1, 5, 16))
    x = torch.randn(3, 9, 16)
    assert torch.equal(graph.run(x), module(x))
    assert graph.gemms[0].gemm(3, 9).m == 27


def test_module_without_a_linear_needs_an_example() -> None:
    with pytest.raises(InputError, match=r"^ReLU has no Linear that tells its input's shape; give example=tensor"):
        capture_features(nn.ReLU())
    with pytest.raises(InputError, match=r"^example must be a floating-point tensor"):
        capture_features(mlp(), torch.zeros(2, 16, dtype=torch.long))


def test_capture_prints_nothing(capfd) -> None:
    model = MODELS["gpt2"]()
    capfd.readouterr()
    capture_language_model(model, sequence=8)
    assert capfd.readouterr() == ("", "")
