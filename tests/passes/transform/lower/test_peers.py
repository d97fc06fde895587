"""Equal layers are lowered to steps that differ in constants only, however different their weights and values are."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mxhw.arithmetic.dataflow import Integers, Linear, Operation
from mxhw.ir import Assignment, Graph, capture_features
from mxhw.models import capture
from mxhw.passes.transform import Quantize, QuantizeConfig
from mxhw.passes.transform.lower import IntegerModel, LoweredGraph, calibrate, integer_inputs, lower_graph
from mxhw.passes.transform.lower.peers import Peers, shared_ranges
from mxhw.passes.transform.lower.views import info_of
from tests.passes.transform.lower.alone import Alone
from tests.passes.transform.lower.graphs import error

LAYERS, TOKENS = 3, 16
CONSTANTS = {"encoded", "weight_format", "multipliers", "gains", "biases", "values"}
FORMATS = {"int8": "int8-e8m0", "bitmod4": "int8-e8m0", "dialect4": "dialect4-online"}
PREFIX = {"Llama": "model.layers", "GPT2": "transformer.h"}


def model_of(kind: str) -> nn.Module:
    """A random model of three layers whose weights, gains and biases are 3 times larger from one to the next."""
    import transformers

    torch.manual_seed(3)
    if kind == "Llama":
        config = transformers.LlamaConfig(
            vocab_size=64,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=LAYERS,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=64,
            attention_bias=True,
            mlp_bias=True,
            initializer_range=0.1,
        )
    else:
        config = transformers.GPT2Config(
            vocab_size=64, n_embd=32, n_layer=LAYERS, n_head=4, n_positions=64, initializer_range=0.1
        )
    model = getattr(transformers, f"{kind}ForCausalLM" if kind == "Llama" else "GPT2LMHeadModel")(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith(PREFIX[kind]):
                layer = int(name.split(".")[2])
                if parameter.dim() == 1:
                    parameter.copy_((1.0 if name.endswith("weight") else 0.0) + 0.3 * torch.randn_like(parameter))
                parameter *= 3.0 ** (layer - 1) if parameter.dim() == 2 else 2.0**layer
    return model


def assigned(graph: Graph, weight: str, changes: Mapping[str, str] | None = None) -> Assignment:
    """Weights in a format, inputs in the one that goes with it; by layer what ``changes`` says."""
    formats = {}
    for key, site in graph.sites.items():
        own = next((name for prefix, name in (changes or {}).items() if key.startswith(prefix)), weight)
        if site.operand in ("weight", "input"):
            formats[key] = own if site.operand == "weight" else FORMATS.get(own, "int8-e8m0")
    return Assignment(graph.signature.model, formats)


class Model:
    """A captured model, its ranges, and what it is lowered to."""

    def __init__(self, kind: str) -> None:
        self.graph = capture(model_of(kind), batch=1, sequence=TOKENS)
        self.x = torch.randint(0, 64, (3, TOKENS), generator=torch.Generator().manual_seed(4))
        self.ranges = calibrate(self.graph, self.x)
        self.layers = [f"{PREFIX[kind]}.{layer}" for layer in range(LAYERS)]

    def lowered(self, assignment: Assignment, **given: Any) -> LoweredGraph:
        return lower_graph(self.graph, assignment, self.ranges, **given)


@pytest.fixture(scope="module")
def llama() -> Model:
    return Model("Llama")


@pytest.fixture(scope="module")
def gpt2() -> Model:
    return Model("GPT2")


def shapes(value: Any) -> Any:
    """What of an operation is no constant."""
    if is_dataclass(value) and not isinstance(value, type):
        own = {field.name: shapes(getattr(value, field.name)) for field in fields(value) if field.name not in CONSTANTS}
        return type(value), own
    return value


def pairs(lowered: LoweredGraph, layers: list[str]) -> Iterator[tuple[str, Operation, Operation]]:
    """The steps of every layer beside those of the first."""
    names = [[name for name in lowered.steps if name.startswith(f"{layer}.")] for layer in layers]
    for layer, own in zip(layers[1:], names[1:], strict=True):
        assert [name.removeprefix(layer) for name in own] == [name.removeprefix(layers[0]) for name in names[0]]
        for first, name in zip(names[0], own, strict=True):
            yield name, lowered.steps[first].operation, lowered.steps[name].operation


def differing(lowered: LoweredGraph, layers: list[str]) -> set[str]:
    """Kinds of steps that are not those of the first layer, in their streams or in what is no constant."""
    return {
        a.kind
        for _, a, b in pairs(lowered, layers)
        if a.kind != b.kind or a.inputs != b.inputs or a.output != b.output or shapes(a) != shapes(b)
    }


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("weight", list(FORMATS))
def test_steps_of_equal_layers_differ_in_constants_only(kind: str, weight: str, request) -> None:
    model: Model = request.getfixturevalue(kind)
    assignment = assigned(model.graph, weight)
    shared = model.lowered(assignment)
    assert differing(shared, model.layers) == set()
    assert {a.kind for _, a, _ in pairs(shared, model.layers)} >= {"linear", "requantize", "bias", "add"}
    own = differing(model.lowered(assignment, share=False), model.layers)  # the comparison sees what is different
    assert own >= {"linear", "requantize", "quantize", "rms_norm" if kind == "llama" else "layer_norm"}


@pytest.mark.parametrize("weight", list(FORMATS))
def test_constants_are_those_of_the_layer(llama: Model, weight: str) -> None:
    shared = llama.lowered(assigned(llama.graph, weight))
    found = [a for _, a, b in pairs(shared, llama.layers) for a in (a, b) if isinstance(a, Linear)]
    assert len({id(each.encoded) for each in found}) == 7 * LAYERS
    for name, step in shared.steps.items():
        if isinstance(step.operation, Linear) and name in llama.graph.nodes:
            wanted = step.operation.weight_format.fake_quantize(llama.graph.weight(name).detach()).double()
            made = step.operation.matrix[:, : wanted.shape[1]] * step.operation.scales[:, None]
            assert torch.allclose(made * 2.0**step.operation.floor, wanted, rtol=2.0**-22, atol=0)


@pytest.mark.parametrize("weight", ["bitmod4", "dialect4"])
def test_a_layer_alone_computes_what_it_does_in_the_whole(llama: Model, weight: str) -> None:
    assignment = assigned(llama.graph, weight)
    whole = llama.lowered(assignment)
    for layer in llama.layers[:2]:
        part = llama.lowered(assignment, nodes=layer)
        assert all(shapes(part.steps[name].operation) == shapes(whole.steps[name].operation) for name in part.steps)
        found = part.run(integer_inputs(part, llama.x, whole=whole), keep=part.steps)
        wanted = whole.run(integer_inputs(whole, llama.x), keep=part.steps)
        tensors = {name for name, value in wanted.items() if isinstance(value, Tensor)}
        assert len(tensors) > 20
        assert all(torch.equal(found[name], wanted[name]) for name in tensors)
    alone = llama.lowered(assignment, nodes=llama.layers[0], share=False)
    assert any(alone.types[name] != whole.types[name] for name in alone.steps)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("weight", ["int8", "bitmod4"])
def test_sharing_adds_little_to_what_the_quantizers_round(kind: str, weight: str, request) -> None:
    model: Model = request.getfixturevalue(kind)
    assignment = assigned(model.graph, weight)
    shared, own = (IntegerModel(model.lowered(assignment, share=share)).run(model.x) for share in (True, False))
    plain = model.graph.run(model.x)
    assert not torch.equal(shared, own)
    assert error(shared, plain) < 1.25 * error(own, plain)  # codes flip


def test_layers_of_mixed_precision_share_an_array(llama: Model) -> None:
    assignment = assigned(llama.graph, "bitmod4", {f"{llama.layers[1]}.": "bitmod3"})
    shared, own = (llama.lowered(assignment, share=share) for share in (True, False))
    assert differing(shared, llama.layers) == set()
    products = [each for _, a, b in pairs(shared, llama.layers) for each in (a, b) if isinstance(each, Linear)]
    assert {each.shared for each in products} == {"fp4"}
    assert {each.weight_format.name for each in products} == {"bitmod4", "bitmod3"}
    assert Alone(llama.graph, shared, assignment, llama.ranges).off() == {}
    found, wanted = (IntegerModel(each).run(llama.x) for each in (shared, own))
    other = IntegerModel(llama.lowered(assigned(llama.graph, "bitmod4"))).run(llama.x)
    assert 0 < error(found, wanted) < 0.5 * error(other, wanted)  # what layer 1's other format changes


@pytest.mark.parametrize(
    "changes",
    [
        {"{1}.": "dialect4"},  # no array has both
        {"{1}.mlp.": "int8"},  # without groups
        {"{1}.": "int6"},
    ],
)
def test_layers_that_no_array_computes_together_keep_their_own(llama: Model, changes: dict[str, str]) -> None:
    named = {prefix.replace("{1}", llama.layers[1]): name for prefix, name in changes.items()}
    assignment = assigned(llama.graph, "bitmod4", named)
    lowered, own = (llama.lowered(assignment, share=share) for share in (True, False))
    (prefix,) = named
    for name, step in lowered.steps.items():
        if isinstance(step.operation, Linear) and name.startswith(prefix):
            before = own.steps[name].operation
            assert isinstance(before, Linear)
            place = name.removeprefix(llama.layers[1])
            for layer in llama.layers:
                alone = lowered.steps[f"{layer}{place}"].operation
                assert isinstance(alone, Linear)
                assert alone.bounds is None is alone.shared
            assert (step.operation.floor, step.operation.largest) == (before.floor, before.largest)
    assert "linear" in differing(lowered, llama.layers)
    emulated = Quantize(QuantizeConfig(assignment=assignment))(llama.graph).graph.run(llama.x)
    assert error(IntegerModel(lowered).run(llama.x), emulated) < error(emulated, llama.graph.run(llama.x))


def test_inputs_of_another_precision_are_not_shared(llama: Model) -> None:
    assignment = assigned(llama.graph, "bitmod4")
    name = f"{llama.layers[2]}.mlp.up_proj"
    other = replace(assignment, formats={**assignment.formats, f"{name}:input": "int6-e8m0"})
    lowered = llama.lowered(other)
    shared = {name: step.operation.bounds for name, step in lowered.steps.items() if isinstance(step.operation, Linear)}
    assert {n for n, bounds in shared.items() if bounds is None} == {
        "lm_head", *(f"{layer}.mlp.up_proj" for layer in llama.layers)
    }  # fmt: skip
    assert lowered.types[f"{name}.requantize"] == lowered.types[f"{llama.layers[0]}.mlp.up_proj.requantize"]


def test_a_whole_model_encodes_each_weight_once_and_a_part_those_of_its_peers(llama: Model, monkeypatch) -> None:
    made: list[Tensor] = []
    plain = Linear.of

    def count(weight: Tensor, *given: Any) -> Linear:
        made.append(weight)
        return plain(weight, *given)

    monkeypatch.setattr(Linear, "of", staticmethod(count))
    assignment = assigned(llama.graph, "int8")
    for given, wanted in (
        ({}, 7 * LAYERS + 1),
        ({"nodes": f"{llama.layers[1]}.mlp"}, 3 * LAYERS),
        ({"nodes": f"{llama.layers[1]}.mlp", "share": False}, 3),
    ):
        made.clear()
        llama.lowered(assignment, **given)
        assert len(made) == wanted


def test_peers_are_the_same_nodes_of_equal_layers(llama: Model) -> None:
    nodes = {info_of(node).name: node for node in llama.graph.module.graph.nodes if "mxhw" in node.meta}
    peers = Peers(llama.graph)
    for place in ("self_attn.q_proj", "self_attn.rope", "add_2", "input_layernorm"):
        wanted = tuple(nodes[f"{layer}.{place}"] for layer in llama.layers)
        assert all(peers.of(node) == wanted for node in wanted)
    for name in ("lm_head", "model.embed_tokens", "model.norm"):
        assert peers.of(nodes[name]) == (nodes[name],)
    assert Peers(llama.graph, share=False).groups == ()
    measured: list[str] = []

    def measure(node: Any) -> float:
        measured.append(info_of(node).name)
        return -len(measured)

    node = nodes[f"{llama.layers[1]}.add"]
    assert peers.largest(node, measure) == peers.largest(peers.of(node)[2], measure) == -1
    assert measured == [f"{layer}.add" for layer in llama.layers]


def test_ranges_of_peers_are_the_largest_of_theirs(llama: Model) -> None:
    peers = Peers(llama.graph)
    shared = shared_ranges(llama.ranges, peers)
    assert shared.keys() == llama.ranges.keys()
    for place in ("self_attn.q_proj", "self_attn.rope.1", "mlp.mul", "add"):
        own = [llama.ranges[f"{layer}.{place}"] for layer in llama.layers]
        assert {shared[f"{layer}.{place}"] for layer in llama.layers} == {max(own)} != set(own)
    for name in ("lm_head", "model.embed_tokens"):
        assert shared[name] == llama.ranges[name]
    few = {name: value for name, value in llama.ranges.items() if name != f"{llama.layers[0]}.mlp.mul"}
    assert shared_ranges(few, peers).keys() == few.keys()
    assert shared_ranges(llama.ranges, Peers(llama.graph, share=False)) == llama.ranges


class Chain(nn.Module):
    """Equal layers without a residual stream: the first one's input has an exponent of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(16, 16), nn.ReLU()) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def test_layers_whose_inputs_have_other_exponents_are_lowered() -> None:
    torch.manual_seed(0)
    x = 100 * torch.randn(64, 16)
    graph = capture_features(Chain().eval(), x[:1])
    assert [len(group) for group in Peers(graph).groups] == [2, 2]
    lowered = lower_graph(graph, assigned(graph, "int8"), calibrate(graph, x))
    types = [lowered.types[name] for name in ("layers.0.0", "layers.1.0")]
    assert all(isinstance(each, Integers) for each in types)
    assert types[0].bits == types[1].bits
    assert types[0].exponent != types[1].exponent
    assert error(IntegerModel(lowered).run(x), graph.run(x)) < 0.02
