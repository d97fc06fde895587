"""Asking, copying and changing a graph; and graphs with fake quantization against a model quantized by hooks."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, fx, nn
from transformers import AttentionInterface

from mxhw.errors import InputError
from mxhw.formats import parse_format
from mxhw.ir import Graph, Hardware
from tests.ir.zoo import MODELS, captured, eager_model, ids, largest_difference, logits

WEIGHT, INPUT, ATTENTION = "mxint4", "int8", "mxfp8-e4m3"


def quantized(graph: Graph, skip: str | None = None) -> Graph:
    """A copy with a fake_quantize node on every operand, but `skip`; the KV cache has an operator of its own."""
    copy = graph.copy()
    for key, site in graph.sites.items():
        if key == skip or site.operand == "cache":
            continue
        format = {"weight": WEIGHT, "input": INPUT}.get(site.operand, ATTENTION)
        source = copy.operand(site.node, site.operand)
        with copy.module.graph.inserting_before(copy.fx_node(site.node)):
            node = copy.module.graph.call_function(torch.ops.mxhw.fake_quantize.default, (source, format, site.axis))
        copy.set_operand(site.node, site.operand, node)
    copy.module.graph.lint()
    copy.module.recompile()
    return copy


def hooked(name: str) -> nn.Module:
    """The same quantization, written without the graph: weights rewritten, inputs by hooks, attention by a function."""
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    model.load_state_dict(eager_model(name).state_dict())
    for module in model.modules():
        kind = type(module).__name__
        if kind in ("Linear", "Conv1D"):
            axis = 0 if kind == "Conv1D" else -1
            weight = parse_format(WEIGHT).fake_quantize(module.weight.detach(), axis=axis)
            module.weight = nn.Parameter(weight)  # a new parameter: a tied embedding keeps the old one
            module.register_forward_pre_hook(lambda _, args: (parse_format(INPUT).fake_quantize(args[0]), *args[1:]))
    AttentionInterface.register("hooked", hooked_attention)
    model.set_attn_implementation("hooked")
    return model


def hooked_attention(module, query, key, value, attention_mask, scaling=None, **_) -> tuple[Tensor, None]:
    format = parse_format(ATTENTION)
    groups, length = query.shape[1] // key.shape[1], query.shape[2]
    query, key = format.fake_quantize(query), format.fake_quantize(key)
    scores = query @ key.repeat_interleave(groups, 1).transpose(2, 3)
    scores = scores * (scaling if scaling is not None else query.shape[-1] ** -0.5)
    allowed = torch.ones(length, length, dtype=torch.bool).tril()
    if window := getattr(module.config, "sliding_window", None):
        allowed &= torch.ones(length, length, dtype=torch.bool).triu(1 - window)
    scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
    probabilities = format.fake_quantize(torch.softmax(scores, -1))
    value = format.fake_quantize(value, axis=-2).repeat_interleave(groups, 1)
    return (probabilities @ value).transpose(1, 2).contiguous(), None


@pytest.mark.parametrize("name", MODELS)
def test_quantized_graph_equals_the_hook_quantized_model(name: str) -> None:
    graph, model = quantized(captured(name)), hooked(name)
    for batch, sequence in ((1, 12), (2, 33)):
        tokens = ids(batch, sequence)
        assert largest_difference(graph.run(tokens), logits(model, tokens)) == 0.0


@pytest.mark.parametrize(
    "site", ["lm_head:weight", "model.layers.0.self_attn.pv:rhs", "model.layers.1.mlp.up_proj:input"]
)
def test_the_comparison_sees_one_site_left_out(site: str) -> None:
    tokens = ids(2, 33)
    graph = quantized(captured("llama"), skip=site)
    assert largest_difference(graph.run(tokens), logits(hooked("llama"), tokens)) > 0


def test_quantizing_the_tied_head_leaves_the_embedding() -> None:
    graph, tokens = captured("llama"), ids(2, 8)
    embedding = graph.fx_node("model.embed_tokens").args[0]
    head = graph.operand("lm_head", "weight")
    assert isinstance(embedding, fx.Node)
    assert (embedding.target, head.target) == ("model.embed_tokens.weight", "lm_head.weight")
    assert graph.weight("lm_head") is graph.module.get_parameter("model.embed_tokens.weight")

    changed = graph.copy()
    lm_head = changed.module.get_submodule("lm_head")
    lm_head.weight = nn.Parameter(torch.zeros_like(graph.weight("lm_head")))
    assert float(changed.run(tokens).abs().max()) == 0.0
    assert largest_difference(graph.run(tokens), logits(eager_model("llama"), tokens)) == 0.0
    assert changed.module.get_parameter("model.embed_tokens.weight") is graph.weight("lm_head")


def test_copy_shares_parameters_and_not_the_structure() -> None:
    graph = captured("llama")
    copy = quantized(graph)
    assert copy.module.get_parameter("lm_head.weight") is graph.weight("lm_head")
    operands = [key for key, site in graph.sites.items() if site.operand != "cache"]
    assert len(copy.module.graph.nodes) == len(graph.module.graph.nodes) + len(operands)
    assert copy.nodes == graph.nodes


def test_weight_of_a_quantized_graph_is_not_given_away_as_the_original() -> None:
    with pytest.raises(InputError, match=r"^weight of 'lm_head' is computed by 'fake_quantize"):
        quantized(captured("llama")).weight("lm_head")


def test_with_sites_changes_those_sites_and_nothing_else() -> None:
    graph = captured("llama")
    key = "lm_head:weight"
    changed = graph.with_sites({key: replace(graph.sites[key], format="mxfp4")})
    assert changed.sites[key].format == "mxfp4"
    assert graph.sites[key].format is None
    assert {k: s for k, s in changed.sites.items() if k != key} == {k: s for k, s in graph.sites.items() if k != key}


def test_with_nodes_adds_hardware() -> None:
    graph = captured("llama")
    hardware = Hardware(component="gemm", parallelism={"rows": 4})
    changed = graph.with_nodes([replace(graph.nodes["lm_head"], hardware=hardware)])
    assert changed.nodes["lm_head"].hardware == hardware
    assert graph.nodes["lm_head"].hardware is None


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda g: g.fx_node("lm_hed"), r"^no node 'lm_hed' in the graph of llama; did you mean 'lm_head'\?"),
        (lambda g: g.weight("lm_hea"), r"^no node 'lm_hea' .*did you mean 'lm_head'\?"),
        (lambda g: g.operand("lm_head", "wieght"), r"^no site 'lm_head:wieght' .*did you mean 'lm_head:weight'\?"),
        (lambda g: g.weight("model.norm"), r"^no site 'model\.norm:weight'"),
        (lambda g: g.with_sites({"lm_head:imput": None}), r"^no site 'lm_head:imput' .*'lm_head:input'\?"),
        (
            lambda g: g.nodes["model.norm"].gemm(),
            r"^node 'model\.norm' is 'rms_norm', not one of attn_pv, attn_",
        ),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(ask, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ask(captured("llama"))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(2, 4), r"^token ids must be integers \[batch, sequence\], not torch\.float32"),
        (torch.zeros(4, dtype=torch.long), r"^token ids must be integers \[batch, sequence\]"),
        (torch.full((1, 4), 96), r"^token ids must be from 0 to 95, not 96 to 96"),
        (torch.full((1, 4), -1), r"^token ids must be from 0 to 95"),
        (torch.zeros(1, 65, dtype=torch.long), r"^65 tokens are more than the context of 64 positions"),
    ],
)
def test_inputs_that_the_model_cannot_take_are_refused(x: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        captured("llama").run(x)


def test_unknown_format_in_a_graph_is_an_input_error() -> None:
    with pytest.raises(InputError):
        torch.ops.mxhw.fake_quantize(torch.zeros(4), "mxfp44", -1)


def test_fake_quantize_never_returns_its_argument() -> None:
    x = torch.randn(4, 8)
    y = torch.ops.mxhw.fake_quantize(x, "fp32", -1)
    assert torch.equal(x, y) and y.data_ptr() != x.data_ptr()
