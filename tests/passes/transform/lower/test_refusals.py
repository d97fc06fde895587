"""What has no integers is refused, all of it at once; rules of other packages are found."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, fx, nn

from mxhw.arithmetic.dataflow import ReLU
from mxhw.errors import InputError
from mxhw.ir import Assignment, Graph, capture_features
from mxhw.models import capture
from mxhw.passes.transform.lower import (
    IntegerModel,
    Lowering,
    NotLoweredError,
    calibrate,
    lower_graph,
    register_lowering,
    registry,
)


class Mixed(nn.Module):
    """A view that puts two parts of a vector together in another order, and one that takes a part."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(16, 16), nn.Linear(16, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        return self.b(torch.cat([y[..., 8:], y[..., :8]], -1)) + self.c(y[..., :8])


class Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(16, 16), nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.a(x)) * 2.0
        return self.b(y) + torch.exp(self.b(x))


def missing(graph: Graph, assignment: Assignment, ranges, **given) -> dict[str, str]:
    with pytest.raises(NotLoweredError) as caught:
        lower_graph(graph, assignment, ranges, **given)
    assert "\n" not in str(caught.value)
    return {name: reason for name, _, reason in caught.value.missing}


def test_everything_that_is_missing_is_listed() -> None:
    graph = capture_features(Odd().eval(), torch.randn(1, 16))
    ranges = calibrate(graph, torch.randn(8, 16))
    found = missing(graph, Assignment("odd", {}), ranges)
    assert set(found) == {"a", "b", "b_2", "act", "mul", "exp"}
    with pytest.raises(NotLoweredError, match=r"Odd has no integer arithmetic for 6 of 7 nodes: linear a, b") as caught:
        lower_graph(graph, Assignment("odd", {}), ranges)
    for words in ("no format of its weight and input", "exp exp: no lowering is registered", "act act: only SiLU"):
        assert words in str(caught.value)


def test_views_that_change_the_order_are_refused() -> None:
    graph = capture_features(Mixed().eval(), torch.randn(1, 16))
    formats = {key: "int8" if key.endswith("weight") else "int8-e8m0" for key in graph.sites}
    found = missing(graph, Assignment("mixed", formats), calibrate(graph, torch.randn(8, 16)))
    assert set(found) == {"b", "c"}
    assert "put together from several values" in found["b"]
    assert "a part of a vector" in found["c"]


def test_many_names_are_counted(tiny: Graph, ranges) -> None:
    with pytest.raises(NotLoweredError, match=r"15 of \d+ nodes: linear .*q_proj, .*, .*, .* and 11 more: no format"):
        lower_graph(tiny, Assignment("tiny", {}), ranges)


def test_half_an_assignment_says_which_half_lacks(tiny: Graph, assignment: Assignment, ranges) -> None:
    formats = {key: name for key, name in assignment.formats.items() if key != "lm_head:input"}
    assert missing(tiny, replace(assignment, formats=formats), ranges) == {"lm_head": "no format of its input"}
    block = lower_graph(tiny, replace(assignment, formats=formats), ranges, nodes="model.layers.0")
    assert len(block.steps) == 34  # what lies outside is not asked for


@pytest.mark.parametrize(
    ("key", "name", "axis", "reason"),
    [
        ("qk:lhs", "mxfp8-e4m3", None, "queries in mxfp8-e4m3"),
        ("qk:rhs", "int8-g32", None, "keys in int8-g32"),
        ("qk:cache", "int4-e8m0", None, "keys rounded twice, to int4-e8m0 and to int8-e8m0"),
        ("pv:cache", "mxfp4", None, "values in mxfp4"),
        ("pv:cache", "mxfp4", -2, "a cache of values in blocks of tokens"),
    ],
)
def test_formats_that_attention_cannot_take(key, name, axis, reason, tiny, assignment, ranges) -> None:
    site = f"model.layers.1.self_attn.{key}"
    other = replace(assignment, formats={**assignment.formats, site: name}, axes={} if axis is None else {site: axis})
    found = missing(tiny, other, ranges)
    assert list(found) == [site.rpartition(":")[0]]
    assert reason in found[site.rpartition(":")[0]]


def test_values_take_int8_where_their_format_needs_later_tokens(tiny, assignment, ranges) -> None:
    site = "model.layers.0.self_attn.pv"
    formats = {key: name for key, name in assignment.formats.items() if key != f"{site}:cache"}
    for given, bits in (("mxfp4", 8), ("int4-e8m0", 4), (None, 8)):
        extra = {} if given is None else {f"{site}:rhs": given}
        lowered = lower_graph(tiny, replace(assignment, formats={**formats, **extra}), ranges, nodes="model.layers.0")
        assert lowered.types["model.layers.0.self_attn.v_proj.quantize"].bits == bits


def model_of(kind: str, **changes):
    import transformers

    small = {
        "vocab_size": 32,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "max_position_embeddings": 32,
        "initializer_range": 0.3,
    }
    config = getattr(transformers, f"{kind}Config")(**{**small, **changes})
    return getattr(transformers, f"{kind}ForCausalLM")(config).eval()


def integers_of(model, **given):
    graph = capture(model, batch=1, sequence=8)
    x = torch.randint(0, 32, (2, 8))
    ranges = calibrate(graph, x)
    formats = {
        key: "int8" if site.operand == "weight" else "int8-e8m0"
        for key, site in graph.sites.items()
        if site.operand in ("weight", "input")
    }
    return graph, lower_graph(graph, Assignment(graph.signature.model, formats), ranges, **given), x


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("Llama", {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0,
                                       "high_freq_factor": 4.0, "original_max_position_embeddings": 16}}),
        ("Qwen2", {"use_sliding_window": False}),  # biases of q, k and v
        # No shorter than what there is room for.
        pytest.param("Mistral", {"sliding_window": 8}, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_other_families_are_near_float(kind: str, changes: dict) -> None:
    model = model_of(kind, **changes)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.5)
    graph, lowered, x = integers_of(model)
    logits, wanted = IntegerModel(lowered).run(x), graph.run(x)
    assert float((logits - wanted).abs().max() / wanted.abs().max()) < 0.1


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        # A norm of every head.
        pytest.param("Qwen3", {}, "operand 0 is a part of a vector", marks=pytest.mark.slow),
        pytest.param("Llama", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0,
                                                   "original_max_position_embeddings": 8}},
                     "not a rotation of whole heads", marks=pytest.mark.slow),
        ("Gemma2", {"attn_logit_softcapping": 20.0, "hidden_activation": "gelu_pytorch_tanh",
                    "query_pre_attn_scalar": 8}, "a softcap"),
        pytest.param("GPTNeoX", {}, "partial RoPE", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_other_families_are_refused_with_the_reason(kind: str, changes: dict, reason: str) -> None:
    with pytest.raises(NotLoweredError, match=reason):
        integers_of(model_of(kind, **changes))


def test_attention_is_not_cut(tiny: Graph, assignment: Assignment, ranges) -> None:
    found = missing(tiny, assignment, ranges, nodes="model.layers.0.self_attn.pv")
    assert "choose all nodes of an attention" in found["model.layers.0.self_attn.pv"]


def test_a_rule_of_another_package_is_found_and_may_not_take_anothers_place() -> None:
    graph = capture_features(nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 4)).eval(), torch.randn(1, 16))
    x = torch.randn(8, 16)
    formats = {key: "int8" if key.endswith("weight") else "int8-e8m0" for key in graph.sites}
    given = graph, Assignment("net", formats), calibrate(graph, x)
    assert list(missing(*given)) == ["1"]
    for key in ("aten.tanh.default", "Tanh"):
        try:

            @register_lowering(key)
            def rule(lowering: Lowering, node: fx.Node) -> None:
                stream = lowering.operand(node, 0)
                operation = ReLU(x=stream.integers, y=stream.integers)
                lowering.give(node, lowering.step("1", "1", operation, stream))

            assert "1" in lower_graph(*given).steps
            with pytest.raises(InputError, match=f"{key!r} has a lowering already"):
                register_lowering(key)(lambda lowering, node: None)
        finally:
            registry._RULES.pop(key)


def test_windows_that_break_the_model_are_refused(tiny: Graph) -> None:
    with pytest.raises(InputError, match="must be"):
        calibrate(tiny, torch.zeros(4, dtype=torch.int64))
    graph = capture_features(nn.Sequential(nn.Linear(4, 4)).eval(), torch.randn(1, 4))
    with pytest.raises(InputError, match="not finite"):
        calibrate(graph, torch.full((2, 4), torch.nan))
