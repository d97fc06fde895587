"""KV cache sites: a graph with a quantized cache computes what a plain list of tokens, rounded by definition, gives."""

import json
from functools import cache
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from mxhw.errors import InputError
from mxhw.flow.assignments import uniform_assignment
from mxhw.ir import Assignment, DecodeGraph, Graph, capture_decoder
from mxhw.passes.analysis import ledger
from mxhw.passes.transform import Quantize, QuantizeConfig
from tests.ir.slow_cache import Rule, slow_cache
from tests.ir.zoo import WINDOW, captured, eager_model, ids, largest_difference, logits

NOISE = 1e-6  # of the largest logit
PER_TOKEN: tuple[Rule, Rule] = (("mxint4-b4", -1), ("int4-g4-asym", -1))
PER_BLOCK: tuple[Rule, Rule] = (("mxint4-b4", -2), ("int3-g3-asym", -2))
MIXED: tuple[Rule, Rule] = (("mxfp4-b8", -1), ("mxint3-b5", -2))
VALUES_ONLY: tuple[Rule, Rule] = (None, ("mxint3-b6", -2))


@cache
def decoder(name: str) -> DecodeGraph:
    return capture_decoder(eager_model(name), name=name)


def assignment(graph: Graph, keys: Rule, values: Rule, **more: str) -> Assignment:
    """These rules for all layers, and the formats of `more` for sites by operand."""
    rules = {"attn_qk": keys, "attn_pv": values}
    chosen = {key: rules[graph.nodes[site.node].op] for key, site in graph.sites.items() if site.operand == "cache"}
    formats = {key: rule[0] for key, rule in chosen.items() if rule}
    formats |= {key: more[site.operand] for key, site in graph.sites.items() if site.operand in more}
    return Assignment(graph.signature.model, formats, axes={key: rule[1] for key, rule in chosen.items() if rule})


def quantized(graph: Graph, keys: Rule, values: Rule, arithmetic: str = "float", **more: str) -> Graph:
    config = QuantizeConfig(assignment=assignment(graph, keys, values, **more), arithmetic=arithmetic)
    return Quantize(config)(graph).graph


def stepped(graph: DecodeGraph, tokens: Tensor, lengths: list[int]) -> Tensor:
    parts = tokens.split(lengths, dim=1)
    out, held = graph.prefill(parts[0])
    outputs = [out]
    for part in parts[1:]:
        out, held = graph.step(part, held)
        outputs.append(out)
    return torch.cat(outputs, dim=1)


def slowly(name: str, tokens: Tensor, lengths: list[int], keys: Rule, values: Rule) -> Tensor:
    """The logits of the eager model with a list of tokens as cache."""
    model = eager_model(name)
    held = slow_cache(model.config.num_hidden_layers, keys, values)
    with torch.no_grad():
        return torch.cat([model(part, past_key_values=held).logits for part in tokens.split(lengths, dim=1)], dim=1)


@pytest.mark.parametrize("rules", [PER_TOKEN, PER_BLOCK, MIXED, VALUES_ONLY])
@pytest.mark.parametrize("name", ["llama", "qwen2", "gpt2", "opt"])
def test_decoding_equals_the_list_of_tokens_bit_for_bit(name: str, rules: tuple[Rule, Rule]) -> None:
    tokens, lengths = ids(2, 24), [7, 1, 1, 1, 4, 1, 1, 6, 1, 1]
    found = stepped(quantized(decoder(name), *rules), tokens, lengths)
    assert largest_difference(found, slowly(name, tokens, lengths, *rules)) == 0.0
    assert largest_difference(found, stepped(decoder(name), tokens, lengths)) > 1e-3


@pytest.mark.parametrize("rules", [PER_TOKEN, PER_BLOCK, MIXED])
@pytest.mark.parametrize("name", ["mistral", "gemma2"])
def test_decoding_with_a_sliding_window_equals_the_list_that_forgets_nothing(
    name: str, rules: tuple[Rule, Rule]
) -> None:
    tokens, lengths = ids(2, 30), [13, *[1] * 9, 5, 1, 1, 1]
    slow = slowly(name, tokens, lengths, *rules)
    noise = NOISE * float(slow.abs().max())
    assert largest_difference(stepped(quantized(decoder(name), *rules), tokens, lengths), slow) <= noise
    assert largest_difference(stepped(decoder(name), tokens, lengths), slow) > 100 * noise


def test_a_sliding_window_drops_whole_blocks() -> None:
    graph = quantized(decoder("mistral"), *PER_BLOCK)  # blocks of 4 keys and 3 values
    tokens = ids(1, 40)
    _, held = graph.prefill(tokens[:, :2])
    for before, after in pairwise(range(2, 41)):
        _, held = graph.step(tokens[:, before:after], held)
        kept = {tensor.shape[2] for tensor in (*held.keys, *held.values)}
        assert kept == {after - max(after - (WINDOW - 1), 0) // 12 * 12}


@pytest.mark.parametrize("rules", [PER_TOKEN, PER_BLOCK, MIXED])
def test_a_whole_window_reads_the_cache_as_it_is_after_the_run(rules: tuple[Rule, Rule]) -> None:
    tokens = ids(2, 23)
    slow = slowly("llama", tokens, [23], *rules)
    noise = NOISE * float(slow.abs().max())
    assert largest_difference(quantized(captured("llama"), *rules).run(tokens), slow) <= noise
    assert largest_difference(quantized(decoder("llama"), *rules).run(tokens), slow) == 0.0


def test_a_whole_window_equals_steps_per_token_but_not_per_block() -> None:
    tokens, steps = ids(1, 16), [1] * 16
    for rules, same in ((PER_TOKEN, True), (PER_BLOCK, False)):
        graph = quantized(decoder("llama"), *rules)
        difference = largest_difference(graph.run(tokens), stepped(graph, tokens, steps))
        assert (difference <= NOISE * float(graph.run(tokens).abs().max())) == same


def test_generation_with_a_quantized_cache_equals_the_list_of_tokens() -> None:
    start = ids(1, 9)
    found = quantized(decoder("llama"), *PER_BLOCK).generate(start, 12)
    lengths = [9, *[1] * 11]
    slow = slowly("llama", found[:, :-1], lengths, *PER_BLOCK)
    assert torch.equal(found[:, 9:], slow[:, 8:].argmax(-1))


def test_what_is_stored_stays_as_it_is() -> None:
    graph = quantized(decoder("llama"), *PER_BLOCK)
    tokens = ids(1, 20)
    _, held = graph.prefill(tokens[:, :9])
    for number in range(9, 20):
        before = held
        _, held = graph.step(tokens[:, number : number + 1], before)
        for old, new, block in ((before.keys[1], held.keys[1], 4), (before.values[1], held.values[1], 3)):
            full = number // block * block
            assert torch.equal(new[:, :, :full], old[:, :, :full])
            completes = (number + 1) % block == 0
            assert torch.equal(new[:, :, full:number], old[:, :, full:]) != (completes and number > full)


def test_the_operand_is_rounded_after_the_cache_and_not_stored() -> None:
    plain = quantized(decoder("llama"), *PER_BLOCK)
    both = quantized(decoder("llama"), *PER_BLOCK, rhs="mxfp8-e4m3", lhs="mxfp8-e4m3")
    tokens = ids(1, 10)
    (one, held), (other, also) = plain.prefill(tokens), both.prefill(tokens)
    assert torch.equal(held.keys[0], also.keys[0]) and torch.equal(held.values[0], also.values[0])
    assert not torch.equal(one, other)


def test_hardware_arithmetic_multiplies_what_the_cache_holds() -> None:
    exact = {"lhs": "int8-e8m0", "rhs": "int8-e8m0", "weight": "bitmod4", "input": "int8-e8m0"}
    tokens, lengths = ids(1, 12), [6, *[1] * 6]
    found = stepped(quantized(decoder("llama"), *PER_BLOCK, "hardware", **exact), tokens, lengths)
    emulated = stepped(quantized(decoder("llama"), *PER_BLOCK, **exact), tokens, lengths)
    without = stepped(quantized(decoder("llama"), None, None, **exact), tokens, lengths)
    assert largest_difference(found, emulated) < 0.02 * largest_difference(emulated, without)


def test_defaults_leave_the_cache_alone() -> None:
    graph = captured("llama")
    formats = uniform_assignment(graph).formats
    caches = {key for key, site in graph.sites.items() if site.operand == "cache"}
    assert len(caches) == 4 and not caches & formats.keys()
    assert formats.keys() | caches == graph.sites.keys()
    tokens = ids(1, 9)
    assert torch.equal(quantized(graph, None, None).run(tokens), logits(eager_model("llama"), tokens))


def test_ledger_counts_a_cached_element() -> None:
    graph = captured("llama")

    def bits(keys: Rule, values: Rule, sequence: int = 24) -> float:
        return ledger(graph, assignment(graph, keys, values), sequence=sequence).bits_per_cached_element

    assert bits(None, None) == 32
    per_key = 4 + 8 / 4  # mxint4-b4
    assert bits(("mxint4-b4", -1), ("mxint4-b4", -1)) == per_key
    assert bits(("mxint4-b4", -1), None) == (per_key + 32) / 2
    assert bits(("mxint4-b4", -2), ("mxint4-b4", -2), 27) == (24 * per_key + 3 * 32) / 27
    assert bits(("mxint4-b4", -2), ("mxint4-b4", -2), 3) == 32
    weights = ledger(graph, assignment(graph, *PER_BLOCK, weight="mxfp4"))
    assert weights.bits_per_attention_operand == 32 and weights.bits_per_weight < 5


def test_assignment_with_axes_goes_through_json(tmp_path) -> None:
    given = assignment(captured("llama"), *PER_BLOCK)
    given.save(tmp_path / "assignment.json")
    assert Assignment.load(tmp_path / "assignment.json") == given
    content = json.loads((tmp_path / "assignment.json").read_text())
    assert set(content["axes"].values()) == {-2}
    content["axes"] = {"model.layers.0.self_attn.qk:cache": "-2"}
    (tmp_path / "assignment.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"axis of 'model\.layers\.0\.self_attn\.qk:cache' must be -1 or -2, not '-2'"):
        Assignment.load(tmp_path / "assignment.json")


@pytest.mark.parametrize(
    ("formats", "axes", "message"),
    [
        ({"qk:cache": "nvfp4"}, {}, r"^site 'model\.layers\.0\.self_attn\.qk:cache': nvfp4 cannot round a cache"),
        ({"pv:cache": "int8"}, {"pv:cache": -2}, r"^site '.*pv:cache': int8 cannot round a cache along axis -2"),
        ({"pv:cache": "mxfp4"}, {"pv:cache": 0}, r"^site '.*pv:cache': axis of a cache must be -1"),
        ({}, {"pv:rhs": -1}, r"^axes name '.*pv:rhs', but only the axis of a 'cache' site can be chosen"),
        ({}, {"pv:cash": -1}, r"^no site '.*pv:cash'.*did you mean"),
    ],
)
def test_impossible_cache_formats_are_refused_by_site(formats: dict, axes: dict, message: str) -> None:
    prefix = "model.layers.0.self_attn."
    given = Assignment(
        "llama",
        {prefix + key: name for key, name in formats.items()},
        axes={prefix + key: axis for key, axis in axes.items()},
    )
    for graph in (captured("llama"), decoder("llama")):
        with pytest.raises(InputError, match=message):
            Quantize(QuantizeConfig(assignment=given))(graph)


def test_a_quantized_cache_is_not_that_of_the_float_graph() -> None:
    graph = quantized(decoder("llama"), *PER_TOKEN)
    _, held = decoder("llama").prefill(ids(1, 5))
    with pytest.raises(InputError, match=r"^cache is of another graph.*a quantized copy is another one too"):
        graph.step(ids(1, 1), held)


def test_stored_graph_keeps_the_quantized_cache(tmp_path) -> None:
    graph = quantized(decoder("mistral"), *PER_BLOCK)
    graph.save(tmp_path)
    start = ids(1, 9)
    assert torch.equal(Graph.load(tmp_path).generate(start, 20), graph.generate(start, 20))
