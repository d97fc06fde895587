"""Decoding with the captured graph is decoding with the model: the same tokens, and the same logits bit for bit."""

import json
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from transformers import DynamicCache

from mxhw.errors import InputError
from mxhw.ir import DecodeGraph, Graph, capture_decoder, capture_language_model, size_at
from mxhw.models import capture_decoder as capture_named
from mxhw.models import load_model
from tests.ir.zoo import CONTEXT, LANGUAGE, WINDOW, captured, counted_macs, eager_model, ids, largest_difference, logits
from tests.ir.zoo_experts import MIXTURES, eager_mixture

NAMES = ["llama", "qwen2", "mistral", "gpt2", "opt", "gemma2"]
NOISE = 1e-6  # of the largest logit: products of other sizes add in another order


@cache
def decoder(name: str) -> DecodeGraph:
    return capture_decoder(eager_model(name), name=name)


def generated(model: nn.Module, prompt: Tensor, tokens: int, **options) -> Tensor:
    options = {"pad_token_id": 0, "attention_mask": torch.ones_like(prompt), **options}
    return model.generate(prompt, max_new_tokens=tokens, do_sample=False, **options)


def stepped(graph: DecodeGraph, tokens: Tensor, lengths: list[int]) -> Tensor:
    """The logits of all tokens, given to the graph in runs of these lengths."""
    first, *rest = tokens.split(lengths, dim=1)
    out, held = graph.prefill(first)
    outputs = [out]
    for part in rest:
        out, held = graph.step(part, held)
        outputs.append(out)
    return torch.cat(outputs, dim=1)


def stepped_by_transformers(model: nn.Module, tokens: Tensor, lengths: list[int]) -> Tensor:
    held = DynamicCache(config=model.config)
    with torch.no_grad():
        return torch.cat([model(part, past_key_values=held).logits for part in tokens.split(lengths, dim=1)], dim=1)


@pytest.mark.parametrize("name", NAMES)
def test_generation_equals_that_of_the_model(name: str) -> None:
    for batch, prompt, tokens in ((1, CONTEXT - 24, 24), (3, 1, 10), (2, WINDOW + 3, 3)):
        start = ids(batch, prompt)
        mine = decoder(name).generate(start, tokens)
        assert mine.shape == (batch, prompt + tokens)
        assert torch.equal(mine, generated(eager_model(name), start, tokens))


@pytest.mark.parametrize("name", NAMES)
def test_cached_logits_equal_those_of_transformers_bit_for_bit(name: str) -> None:
    tokens, lengths = ids(2, 30), [7, 1, 1, 1, 3, 1, 10, 1, 1, 4]
    theirs = stepped_by_transformers(eager_model(name), tokens, lengths)
    assert largest_difference(stepped(decoder(name), tokens, lengths), theirs) == 0.0


@pytest.mark.parametrize("name", NAMES)
def test_cached_logits_equal_a_run_without_cache_but_for_rounding(name: str) -> None:
    tokens = ids(2, 24)
    whole = logits(eager_model(name), tokens)
    assert largest_difference(stepped(decoder(name), tokens, [1] * 24), whole) <= NOISE * float(whole.abs().max())
    assert largest_difference(decoder(name).run(tokens), whole) <= NOISE * float(whole.abs().max())


@pytest.mark.parametrize("name", ["gemma3", "phi3", "falcon_alibi", "gpt_oss"])
def test_alternating_windows_alibi_and_sinks_decode_exactly(name: str) -> None:
    model = eager_mixture(name) if name in MIXTURES else eager_model(name)
    tokens, lengths = ids(2, 20), [9, 1, 1, 4, 1, 4]
    theirs = stepped_by_transformers(model, tokens, lengths)
    assert largest_difference(stepped(capture_decoder(model), tokens, lengths), theirs) == 0.0


def test_the_comparison_sees_a_cache_that_forgets_a_token() -> None:
    tokens = ids(1, 12)
    graph = decoder("llama")
    _, held = graph.prefill(tokens[:, :8])
    zeroed = held.keys[0].clone()
    zeroed[:, :, 3] = 0
    whole = logits(eager_model("llama"), tokens)[:, 8:]
    right = graph.step(tokens[:, 8:], held)[0]
    wrong = graph.step(tokens[:, 8:], replace(held, keys=(zeroed, *held.keys[1:])))[0]
    noise = NOISE * float(whole.abs().max())
    assert largest_difference(right, whole) <= noise < largest_difference(wrong, whole)


def test_the_comparison_sees_a_window_that_is_one_token_shorter() -> None:
    tokens, lengths = ids(1, 20), [12, *[1] * 8]
    graph = decoder("mistral")
    longer, shorter = (
        DecodeGraph(graph.module, graph.signature, [replace(each, window=window) for each in graph.layers])
        for window in (WINDOW + 1, WINDOW - 1)
    )
    theirs = stepped_by_transformers(eager_model("mistral"), tokens, lengths)
    noise = NOISE * float(theirs.abs().max())
    assert largest_difference(stepped(shorter, tokens, lengths), theirs) > noise
    assert largest_difference(stepped(longer, tokens, lengths), theirs) <= noise  # the mask hides what is too old


def test_a_sliding_window_keeps_what_it_can_reach_and_no_more() -> None:
    _, held = decoder("mistral").prefill(ids(1, 20))
    assert {keys.shape[2] for keys in (*held.keys, *held.values)} == {WINDOW - 1}
    assert held.tokens == 20
    _, held = decoder("gemma2").prefill(ids(1, 20))
    assert {keys.shape[2] for keys in held.keys} == {WINDOW - 1, 20}


def test_steps_leave_the_given_cache_as_it_is() -> None:
    graph = decoder("llama")
    _, held = graph.prefill(ids(1, 4))
    before = [tensor.clone() for tensor in (*held.keys, *held.values)]
    one, other = (graph.step(following, held)[0] for following in (ids(1, 2), ids(1, 2)))
    assert not torch.equal(one, other)
    assert all(map(torch.equal, before, (*held.keys, *held.values)))


def test_an_end_token_stops_each_sequence_as_in_transformers() -> None:
    graph, start = decoder("llama"), ids(4, 6)
    free = graph.generate(start, 24)
    end = int(free[0, 6 + 4])
    theirs = generated(eager_model("llama"), start, 24, eos_token_id=end, pad_token_id=end)
    assert torch.equal(graph.generate(start, 24, eos=end), theirs)
    alone = graph.generate(start[:1], 24, eos=[end])
    assert torch.equal(alone, theirs[:1, : alone.shape[1]]) and alone[0, -1] == end
    assert 6 < alone.shape[1] <= 6 + 5 < free.shape[1]


@pytest.mark.parametrize("name", NAMES)
def test_nodes_that_can_be_quantized_are_those_of_the_graph_without_cache(name: str) -> None:
    graph = decoder(name)
    assert list(graph.sites) == list(captured(name).sites)
    assert [info.name for info in graph.gemms] == [info.name for info in captured(name).gemms]
    assert {key: site.axis for key, site in graph.sites.items()} == {
        key: site.axis for key, site in captured(name).sites.items()
    }
    assert graph.blocks == captured(name).blocks


@pytest.mark.parametrize("name", NAMES)
def test_work_of_a_prefill_is_that_of_the_graph_without_cache(name: str) -> None:
    assert decoder(name).macs(2, 20) == captured(name).macs(2, 20) == counted_macs(eager_model(name), ids(2, 20))


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma2"])
def test_work_and_sizes_of_a_step_are_those_that_run(name: str) -> None:
    graph = decoder(name)
    for past in (0, 3, 20):
        layers = [min(past, layer.window - 1) if layer.window else past for layer in graph.layers]
        for layer, kept in zip(graph.layers, layers, strict=True):
            assert kept <= past and layer.heads == 2
        attention = [info for info in graph.gemms if info.op != "linear"]
        for number, info in enumerate(attention):
            kept = layers[number // 2]
            gemm = info.gemm(2, 3, past)
            assert {gemm.n, gemm.k} == {3 + kept, 8}
            assert size_at(info.macs, 2, 3, past) == gemm.macs == 2 * 4 * 3 * (3 + kept) * 8
        linear = sum(info.gemm(2, 3, past).macs for info in graph.gemms if info.op == "linear")
        assert graph.macs(2, 3, past) == linear + sum(2 * 2 * 4 * 3 * (3 + kept) * 8 for kept in layers)


def test_inputs_name_the_cache() -> None:
    nodes = decoder("llama").nodes
    assert nodes["model.layers.0.self_attn.qk"].inputs == ("model.layers.0.self_attn.rope", "cache")
    assert nodes["model.layers.0.self_attn.pv"].inputs[1:] == ("cache", "model.layers.0.self_attn.v_proj")


def test_demo_model_decodes_exactly() -> None:
    loaded = load_model("demo")
    graph = capture_named(loaded)
    loaded.model.set_attn_implementation("eager")
    start = loaded.encode(b"The river ")[None]
    assert torch.equal(graph.generate(start, 40), generated(loaded.model, start, 40))
    assert graph.signature.model == "demo"


def test_stories_model_decodes_exactly(shared) -> None:
    loaded = load_model(shared / "models" / "stories260K")
    graph = capture_decoder(loaded.model)
    loaded.model.set_attn_implementation("eager")
    start = loaded.encode(b"Once upon a time")[None]
    mine = graph.generate(start, 80, eos=loaded.end_tokens)
    assert torch.equal(mine, generated(loaded.model, start, 80, eos_token_id=loaded.end_tokens))
    assert loaded.decode(mine[0]).startswith(b"Once upon a time, there was a ")


@pytest.mark.parametrize("name", ["gpt2", "gemma2"])
def test_stored_graph_decodes_as_before(name: str, tmp_path) -> None:
    decoder(name).save(tmp_path)
    again = Graph.load(tmp_path)
    assert isinstance(again, DecodeGraph) and again.layers == decoder(name).layers
    assert again.nodes == decoder(name).nodes
    start = ids(2, 6)
    assert torch.equal(again.generate(start, 20), decoder(name).generate(start, 20))


@pytest.mark.parametrize(
    "broken",
    [
        lambda layers: layers[:1],
        lambda layers: [],
        lambda layers: [{**layers[0], "heads": 0}, layers[1]],
        lambda layers: [{**layers[0], "dtype": "int64"}, layers[1]],
        lambda layers: [{**layers[0], "more": 1}, layers[1]],
        lambda layers: "layers",
    ],
)
def test_broken_layers_in_a_stored_graph_are_refused(broken, tmp_path) -> None:
    decoder("llama").save(tmp_path)
    file = tmp_path / "graph.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "cache": broken(content["cache"])}))
    with pytest.raises(InputError, match=r"graph\.json describes no valid graph"):
        Graph.load(tmp_path)


def test_copies_decode_too() -> None:
    copy = decoder("mistral").with_sites({})
    assert isinstance(copy, DecodeGraph)
    start = ids(1, 4)
    assert torch.equal(copy.generate(start, 12), decoder("mistral").generate(start, 12))


def test_capture_leaves_the_model_as_it_was() -> None:
    model = LANGUAGE["llama"].build().train()
    attention = model.config._attn_implementation
    capture_decoder(model)
    assert model.config._attn_implementation == attention and model.training


def test_bad_tokens_and_lengths_are_refused() -> None:
    graph = decoder("llama")
    _, held = graph.prefill(ids(2, 60))
    for call, message in (
        (lambda: graph.prefill(ids(1, 0)), r"^token ids must be integers \[batch, sequence\]"),
        (lambda: graph.prefill(ids(1, 65)), r"^65 tokens are more than the context of 64"),
        (lambda: graph.prefill(torch.tensor([[96]])), r"^token ids must be from 0 to 95, not 96"),
        (lambda: graph.step(ids(2, 5), held), r"^60 tokens and 5 new ones are more than the context of 64 positions"),
        (lambda: graph.generate(ids(1, 60), 5), r"^60 tokens and 5 new ones are more than the context"),
        (lambda: graph.generate(ids(1, 0), 5), r"^token ids must be integers"),
        (lambda: graph.generate(ids(1, 4), 0), r"^max_new_tokens must be a positive integer, not 0"),
        (lambda: graph.generate(ids(1, 4), True), r"^max_new_tokens must be a positive integer, not True"),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_caches_that_do_not_fit_are_refused() -> None:
    graph = decoder("llama")
    _, held = graph.prefill(ids(2, 6))
    _, other = decoder("qwen2").prefill(ids(2, 6))
    short = replace(held, keys=tuple(keys[:, :, 1:] for keys in held.keys))
    for given, batch, message in (
        (other, 2, r"^cache is of another graph than this one of llama"),
        (held, 1, r"^cache holds 2 sequences, but ids are of 1"),
        (short, 2, r"^cache of layer 0 has keys and values \[2, 2, 5, 8\] and \[2, 2, 6, 8\], not \[2, 2, 6, 8\]"),
        (None, 2, r"^cache must be what prefill or step of this graph returned, not NoneType"),
    ):
        with pytest.raises(InputError, match=message):
            graph.step(ids(batch, 1), given)


def test_models_that_keep_no_keys_and_values_are_refused() -> None:
    with pytest.raises(InputError, match=r"^BertForMaskedLM keeps no keys and values from token to token"):
        capture_decoder(LANGUAGE["bert"].build())
    with pytest.raises(InputError, match=r"^MambaForCausalLM keeps no keys and values"):
        capture_decoder(eager_model("mamba"))
    with pytest.raises(InputError, match=r"^BloomForCausalLM takes no position_ids, so it has no decode graph"):
        capture_decoder(eager_model("bloom"))
    with pytest.raises(InputError, match=r"^Linear is no language model of Hugging Face"):
        capture_named(nn.Linear(2, 2))


def test_a_graph_without_weights_tells_its_work_and_does_not_run() -> None:
    with torch.device("meta"):
        model = LANGUAGE["mistral"].build()
    graph = capture_decoder(model.eval())
    assert graph.macs(1, 1, 40) == decoder("mistral").macs(1, 1, 40)
    with pytest.raises(InputError, match=r"has no weights"):
        graph.prefill(ids(1, 4))


def test_bfloat16_decodes_exactly() -> None:
    model = LANGUAGE["llama"].build().eval().to(torch.bfloat16)
    model.set_attn_implementation("eager")
    graph, tokens, lengths = capture_decoder(model), ids(2, 16), [6, 1, 1, 8]
    assert largest_difference(stepped(graph, tokens, lengths), stepped_by_transformers(model, tokens, lengths)) == 0.0


def test_a_graph_without_cache_has_no_past() -> None:
    graph = capture_language_model(eager_model("llama"), sequence=8)
    assert graph.macs(1, 8, past=50) == graph.macs(1, 8)
