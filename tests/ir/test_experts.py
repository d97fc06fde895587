"""Mixtures of experts: captured models equal eager ones bit for bit and count the active experts only."""

import copy

import pytest
import torch
from torch import Tensor, nn
from transformers import JetMoeConfig, JetMoeForCausalLM, Llama4ForCausalLM, Llama4TextConfig

from mxhw.errors import InputError
from mxhw.ir import Graph, capture_features, capture_language_model
from mxhw.ir.symbolic import size_at
from tests.ir.zoo import SEQUENCE, counted_macs, ids, largest_difference, logits
from tests.ir.zoo_experts import HIDDEN, MIXTURES, captured_mixture, eager_mixture, made_eager, randomized

SIZES = ((1, SEQUENCE), (3, 20), (1, 1), (2, 64))


@pytest.mark.parametrize("name", MIXTURES)
def test_graph_equals_the_eager_model_bit_for_bit_at_every_size(name: str) -> None:
    for batch, sequence in SIZES:
        tokens = ids(batch, sequence)
        assert largest_difference(captured_mixture(name).run(tokens), logits(eager_mixture(name), tokens)) == 0.0


@pytest.mark.parametrize("name", ["deepseek_v3", "gpt_oss"])
def test_bfloat16_is_exact_too(name: str) -> None:
    model = copy.deepcopy(eager_mixture(name)).to(torch.bfloat16)
    tokens = ids(2, 17)
    assert largest_difference(capture_language_model(model, sequence=8).run(tokens), logits(model, tokens)) == 0.0


def test_a_width_with_a_vector_remainder_is_exact_to_the_last_bits() -> None:
    config = copy.deepcopy(eager_mixture("gpt_oss").config)
    config.intermediate_size = 44
    model = made_eager(randomized(type(eager_mixture("gpt_oss"))(config)))
    tokens = ids(3, 20)
    expected = logits(model, tokens)
    found = capture_language_model(model, sequence=8).run(tokens)
    assert largest_difference(found, expected) <= 1e-6 * float(expected.abs().max())


def test_the_comparison_sees_one_changed_expert_and_sink() -> None:
    for name, parameter in (("mixtral", "mlp.experts.down_proj"), ("gpt_oss", "self_attn.sinks")):
        model = copy.deepcopy(eager_mixture(name))
        tokens = ids(2, SEQUENCE)
        changed = model.get_parameter(f"model.layers.1.{parameter}")
        changed.data[1] += 0.01
        assert largest_difference(captured_mixture(name).run(tokens), logits(model, tokens)) > 0.0


@pytest.mark.parametrize("name", MIXTURES)
def test_macs_are_those_of_the_active_experts(name: str) -> None:
    graph, mixture = captured_mixture(name), MIXTURES[name]
    experts = [info for info in graph.nodes.values() if info.op == "expert_linear"]
    for batch, sequence in SIZES:
        # gate and up are two products hidden → intermediate, down is one back; in each of two layers
        analytic = 2 * batch * sequence * mixture.active * 3 * HIDDEN * mixture.intermediate
        assert sum(size_at(info.macs, batch, sequence) for info in experts) == analytic
        assert graph.macs(batch, sequence) == counted_macs(eager_mixture(name), ids(batch, sequence))


@pytest.mark.parametrize("name", MIXTURES)
def test_products_of_experts_say_how_many_there_are(name: str) -> None:
    mixture = MIXTURES[name]
    info = captured_mixture(name).nodes["model.layers.1.mlp.experts.gate_up_proj"]
    assert (info.experts, info.active_experts) == (mixture.experts, mixture.active)
    weight, given = info.sites
    assert (weight.operand, weight.axis, weight.shape) == (
        "weight",
        -1,
        (mixture.experts, 2 * mixture.intermediate, HIDDEN),
    )
    assert (given.operand, given.axis) == ("input", -1)
    assert [size_at(size, 2, 5) for size in given.shape] == [10, HIDDEN]  # a token is one row, whatever its experts
    assert not info.is_gemm
    down = captured_mixture(name).nodes["model.layers.1.mlp.experts.down_proj"]
    assert [size_at(size, 2, 5) for size in down.sites[1].shape] == [mixture.active, 10, mixture.intermediate]


@pytest.mark.parametrize("name", MIXTURES)
def test_routers_are_linear_layers_followed_by_a_choice(name: str) -> None:
    nodes = captured_mixture(name).nodes
    path = f"model.layers.0.mlp.{'router' if name == 'gpt_oss' else 'gate'}"
    assert nodes[path].op == "linear"
    assert size_at(nodes[path].macs, 2, 5) == 10 * HIDDEN * MIXTURES[name].experts
    assert nodes[f"{path}.router"].inputs == (path,)
    assert f"{path}.router" in nodes["model.layers.0.mlp.experts.gate_up_proj"].inputs


def test_equal_layers_share_a_block_and_windows_part_them() -> None:
    assert len(captured_mixture("mixtral").blocks) == len(captured_mixture("deepseek_v3").blocks) == 1
    assert len(captured_mixture("gpt_oss").blocks) == 2  # one layer slides, one does not


def test_every_node_of_latent_attention_has_a_kind_and_its_producers() -> None:
    nodes = captured_mixture("deepseek_v3").nodes
    assert "other" not in {info.op for info in nodes.values()}
    path = "model.layers.0.self_attn"
    assert nodes[f"{path}.qk"].inputs == (f"{path}.q_b_proj", f"{path}.rope", f"{path}.kv_b_proj")


@pytest.mark.parametrize("name", ["qwen3_moe", "gpt_oss"])
def test_save_and_load_keep_everything(name: str, tmp_path) -> None:
    graph = captured_mixture(name)
    graph.save(tmp_path)
    loaded = Graph.load(tmp_path)
    assert loaded.nodes == graph.nodes
    tokens = ids(2, 9)
    assert torch.equal(loaded.run(tokens), graph.run(tokens))
    weight = "model.layers.0.mlp.experts.down_proj"
    assert loaded.weight(weight).stride() == graph.weight(weight).stride()


def test_weights_stored_turned_are_shared_with_the_model_and_read_as_out_in() -> None:
    stored = eager_mixture("gpt_oss").model.layers[0].mlp.experts.gate_up_proj
    weight = captured_mixture("gpt_oss").weight("model.layers.0.mlp.experts.gate_up_proj")
    assert weight.shape == (4, 128, HIDDEN)
    assert weight.data_ptr() == stored.data_ptr()


def test_capture_leaves_the_experts_as_they_were() -> None:
    model = randomized(MIXTURES["mixtral"].make())
    model.set_experts_implementation("batched_mm")
    capture_language_model(model, sequence=8)
    assert model.config._experts_implementation == "batched_mm"
    model.model.layers[0].mlp.forward = lambda x: x if x.sum() > 0 else -x  # data-dependent: no export
    with pytest.raises(InputError, match="cannot be captured"):
        capture_language_model(model, sequence=8)
    assert model.config._experts_implementation == "batched_mm"


def test_experts_outside_of_the_interface_are_refused_by_name() -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_key_value_heads": 2, "num_local_experts": 4}
    llama = Llama4TextConfig(**sizes, num_attention_heads=4, head_dim=8, intermediate_size_mlp=48, intermediate_size=48)
    with pytest.raises(InputError, match=r"^experts 'model\.layers\.0\.feed_forward\.experts' \(Llama4TextExperts\)"):
        capture_language_model(Llama4ForCausalLM(llama), sequence=8)
    jet = JetMoeConfig(**sizes, kv_channels=8, intermediate_size=48)
    with pytest.raises(InputError, match=r"^experts 'model\.layers\.0\..*' \(JetMoeParallelExperts\) do not go"):
        capture_language_model(JetMoeForCausalLM(jet), sequence=8)
    assert llama._experts_implementation != "mxhw"


def test_a_model_that_cannot_be_switched_is_refused() -> None:
    class Wrapped(nn.Module):  # not a model of transformers, so its experts keep their implementation
        def __init__(self) -> None:
            super().__init__()
            self.experts = eager_mixture("mixtral").model.layers[0].mlp.experts

        def forward(self, x: Tensor) -> Tensor:
            return self.experts(x, torch.zeros(len(x), 1, dtype=torch.int64), torch.ones(len(x), 1))

    with pytest.raises(InputError, match=r"^experts 'experts' \(MixtralExperts\) do not go through"):
        capture_features(Wrapped(), torch.zeros(4, HIDDEN))


def test_custom_operators_are_refused_by_name() -> None:
    library = torch.library.Library("mxhw_test", "FRAGMENT")
    library.define("twice(Tensor x) -> Tensor")
    library.impl("twice", lambda x: 2 * x, "CompositeExplicitAutograd")
    torch.library.register_fake("mxhw_test::twice", torch.empty_like, lib=library)

    class Twice(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.ops.mxhw_test.twice(x)

    with pytest.raises(InputError, match=r"^operator mxhw_test\.twice\.default of 'inner' \(Twice\) is not in the dia"):
        capture_features(_Outer(Twice()), torch.zeros(2, 3))


class _Outer(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)
