"""Layers that are the same are traced a few times and repeated: the graph is the one that tracing all of them gives."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn
from transformers.models.llama import modeling_llama

from mxhw.ir import Graph, capture_language_model, repeated
from mxhw.ir.alike import repeated_layers
from mxhw.models import stream_model
from tests.ir.zoo import LANGUAGE, SEQUENCE, Family, ids, largest_difference, logits

LAYERS = 10
_EXPERTS = {**LANGUAGE["llama"].options, "num_local_experts": 4, "num_experts_per_tok": 2}
FAMILIES = LANGUAGE | {"mixtral": Family("MixtralConfig", "MixtralForCausalLM", _EXPERTS)}


def config_of(name: str, **options: Any) -> Any:
    family = FAMILIES[name]
    count = "n_layer" if "n_layer" in family.options else "num_hidden_layers"
    every = {key: value for key, value in family.options.items() if key != "layer_types"}
    return getattr(transformers, family.config)(**every | {count: LAYERS} | options)


def skeleton(name: str, **options: Any) -> Any:
    """A model of that family with ten layers and without weights."""
    with torch.device("meta"):
        return getattr(transformers, FAMILIES[name].model)(config_of(name, **options)).eval()


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many layers the list of the model had in every export."""
    counts: list[int] = []
    export = repeated.export_model

    def counted(model: nn.Module, *arguments: Any) -> Any:
        counts.append(max(len(module) for module in model.modules() if isinstance(module, nn.ModuleList)))
        return export(model, *arguments)

    monkeypatch.setattr(repeated, "export_model", counted)
    return counts


def traced_whole(model: nn.Module, **options: Any) -> Graph:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repeated, "repeated_layers", lambda model: None)
        return capture_language_model(model, sequence=SEQUENCE, **options)


def assert_the_same(graph: Graph, whole: Graph, folder: Path) -> None:
    assert list(graph.nodes.items()) == list(whole.nodes.items())
    assert graph.blocks == whole.blocks
    assert graph.module.code == whole.module.code
    attributes = whole.attributes
    assert list(graph.attributes) == list(attributes)
    for target, value in graph.attributes.items():
        other = attributes[target]
        transposed = not value.is_contiguous()  # a view that every capture makes anew
        assert value is other or (transposed and (value.shape, value.stride()) == (other.shape, other.stride()))
    assert list(graph.module.state_dict()) == list(whole.module.state_dict())
    for each, name in ((graph, "repeated"), (whole, "whole")):
        each.save(folder / name)
    for file in ("graph.json", "weights.safetensors"):
        assert (folder / "repeated" / file).read_bytes() == (folder / "whole" / file).read_bytes()


@pytest.mark.parametrize("name", ["llama", "qwen2", "gpt_neox", "mixtral", "opt", "phi"])
def test_repeated_layers_are_those_that_tracing_gives(name: str, tmp_path: Path, traced: list[int]) -> None:
    model = skeleton(name)
    graph = capture_language_model(model, sequence=SEQUENCE)
    assert traced == [repeated.TRACED]
    assert {number: len(layers) for number, layers in graph.blocks.items()} == {0: LAYERS}
    assert_the_same(graph, traced_whole(model), tmp_path)
    assert traced == [repeated.TRACED, LAYERS]  # the model has all its layers again


def test_fixed_sizes_are_repeated_too(tmp_path: Path, traced: list[int]) -> None:
    model = skeleton("llama")
    graph = capture_language_model(model, batch=2, sequence=SEQUENCE, dynamic=False)
    assert traced == [repeated.TRACED]
    assert_the_same(graph, traced_whole(model, batch=2, dynamic=False), tmp_path)


def with_a_wide_layer() -> Any:
    model = skeleton("llama")
    with torch.device("meta"):
        model.model.layers[6].mlp = modeling_llama.LlamaMLP(config_of("llama", intermediate_size=64))
    return model


def with_another_epsilon() -> Any:
    model = skeleton("llama")
    model.model.layers[7].input_layernorm.variance_epsilon = 1e-3
    return model


def with_a_shared_parameter() -> Any:
    model = skeleton("llama")
    model.model.layers[8].mlp.up_proj.weight = model.model.layers[5].mlp.up_proj.weight
    return model


class EveryFifth(modeling_llama.LlamaAttention):
    def forward(self, hidden_states: torch.Tensor, **named: Any) -> Any:
        if self.layer_idx % 5 == 4:
            hidden_states = hidden_states * 0.5
        return super().forward(hidden_states=hidden_states, **named)


class EveryFifthCall(modeling_llama.LlamaModel):
    def forward(self, input_ids: torch.Tensor, **named: Any) -> Any:
        x, number = self.embed_tokens(input_ids), 0
        position_ids = torch.arange(x.shape[1], device=x.device).unsqueeze(0)
        rotary = self.rotary_emb(x, position_ids)
        for layer in self.layers:
            number = number + 1
            x = layer(self.norm(x) if number % 5 == 0 else x, position_embeddings=rotary)
        return transformers.modeling_outputs.BaseModelOutputWithPast(last_hidden_state=self.norm(x))


def with_attention_that_knows_its_place() -> Any:
    model = skeleton("llama")
    for layer in model.model.layers:
        layer.self_attn.__class__ = EveryFifth
    return model


def with_a_loop_that_counts() -> Any:
    model = skeleton("llama")
    model.model.__class__ = EveryFifthCall
    return model


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda: skeleton("gemma2"), id="gemma2"),
        pytest.param(lambda: skeleton("gemma3"), id="gemma3"),
        pytest.param(lambda: skeleton("gpt2", scale_attn_by_inverse_layer_idx=True), id="gpt2"),
        with_a_wide_layer,
        with_another_epsilon,
        with_a_shared_parameter,
        with_attention_that_knows_its_place,
        with_a_loop_that_counts,
    ],
)
def test_layers_that_differ_are_all_traced(build: Any, tmp_path: Path, traced: list[int]) -> None:
    model = build()
    assert repeated_layers(model) is None
    graph = capture_language_model(model, sequence=SEQUENCE)
    assert traced == [LAYERS]
    assert_the_same(graph, traced_whole(model), tmp_path)


class Alternating(modeling_llama.LlamaMLP):
    """Computes something else at every other call, which nothing in its attributes tells."""

    calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        Alternating.calls += 1
        return super().forward(x * 0.5 if Alternating.calls % 2 else x)


def test_layers_whose_traces_differ_are_all_traced(tmp_path: Path, traced: list[int]) -> None:
    model = skeleton("llama")
    for layer in model.model.layers:
        layer.mlp.__class__ = Alternating
    assert repeated_layers(model) is not None
    graph = capture_language_model(model, sequence=SEQUENCE)
    assert traced == [repeated.TRACED, LAYERS]
    assert sorted(map(len, graph.blocks.values())) == [LAYERS // 2, LAYERS // 2]
    assert_the_same(graph, traced_whole(model), tmp_path)


def test_few_layers_are_all_traced(traced: list[int]) -> None:
    capture_language_model(skeleton("llama", num_hidden_layers=5), sequence=SEQUENCE)
    assert traced == [5]


@pytest.mark.parametrize("name", ["llama", "opt"])
def test_a_streamed_model_computes_what_the_one_in_memory_does(name: str, tmp_path: Path, traced: list[int]) -> None:
    model = getattr(transformers, FAMILIES[name].model)(config_of(name)).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(tmp_path)
    model.set_attn_implementation("eager")
    streamed = stream_model(tmp_path, sequence=SEQUENCE)
    assert traced == [repeated.TRACED]
    assert [part.name for part in streamed.parts if part.name.endswith(".9")]
    tokens = ids(2, SEQUENCE + 3)
    values = {streamed.parts[0].inputs[0]: tokens}
    for part in streamed.parts:
        with streamed.weights_of(part) as graph, torch.no_grad():
            values.update(zip(part.outputs, graph.module(*(values[each] for each in part.inputs)), strict=True))
    expected = logits(model, tokens)
    assert largest_difference(values[streamed.parts[-1].outputs[0]], expected) == 0.0
    in_memory = capture_language_model(model, sequence=SEQUENCE)
    assert in_memory.nodes == streamed.graph.nodes
    assert largest_difference(in_memory.run(tokens), expected) == 0.0
    assert traced == [repeated.TRACED]  # weights are there: traced whole
