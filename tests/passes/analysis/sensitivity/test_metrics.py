"""Every metric equals its definition, computed slowly by Hugging Face's own model; wrong definitions are told apart."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mxhw
from mxhw.formats import parse_format
from mxhw.ir import Assignment, Graph
from mxhw.passes.analysis import QualityEvaluator
from mxhw.passes.analysis.activations import capture_inputs
from mxhw.passes.analysis.per_node import compare_nodes
from mxhw.passes.analysis.sensitivity import Unit, measure_sensitivity, split_channels, units_of
from mxhw.passes.analysis.sensitivity.frontier import Frontier
from mxhw.passes.analysis.sensitivity.rounding import Rounding
from mxhw.passes.transform.quantize import Quantize, QuantizeConfig
from tests.ir.zoo import captured, ids
from tests.ir.zoo_experts import captured_mixture
from tests.passes.analysis.sensitivity import oracles

FORMATS = ("bitmod3", "mxfp4", "int4-g32")
NAMES = ("model.layers.0.self_attn.v_proj", "model.layers.1.mlp.down_proj", "lm_head")
PAIR = ("model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj")
UNITS = (
    *(Unit(name, (f"{name}:weight",), FORMATS) for name in NAMES),
    Unit("pair", tuple(f"{name}:weight" for name in PAIR), FORMATS),
    Unit("rows", (f"{NAMES[0]}:weight",), FORMATS, (3, 11)),
)
ORACLES = {
    "kl": oracles.kl,
    "mse": oracles.mse,
    "hessian": oracles.hessian,
    "taylor": oracles.taylor,
    "fisher": oracles.fisher,
}
WEIGHTED = [(unit, fmt) for unit in UNITS for fmt in FORMATS[:2]]


def changed(model: nn.Module, unit: Unit, fmt: str) -> dict[str, Tensor]:
    names = [site.removesuffix(":weight") for site in unit.sites]
    return {name: oracles.rounded_weight(model, name, fmt, unit.channels) for name in names}


@pytest.mark.parametrize("metric", ORACLES)
def test_weights_have_the_loss_of_the_definition(
    metric: str, tiny: Graph, tiny_model: nn.Module, evaluator: QualityEvaluator, windows: Tensor
) -> None:
    table = measure_sensitivity(tiny, evaluator, UNITS, metric)
    assert [unit.name for unit in table.units] == [unit.name for unit in UNITS]
    found = {}
    for unit, fmt in WEIGHTED:
        expected = ORACLES[metric](tiny_model, changed(tiny_model, unit, fmt), windows)
        assert expected > 0
        found[unit.name, fmt] = table.loss(unit.name, fmt)
        assert found[unit.name, fmt] == pytest.approx(expected, rel=2e-4)
    for unit in UNITS:  # the comparison tells formats apart
        assert found[unit.name, FORMATS[0]] != pytest.approx(found[unit.name, FORMATS[1]], rel=2e-3)


def test_neighbouring_definitions_are_told_apart(
    tiny: Graph, tiny_model: nn.Module, evaluator: QualityEvaluator, windows: Tensor
) -> None:
    unit, weights = UNITS[0], changed(tiny_model, UNITS[0], "bitmod3")
    wrong = {
        "hessian": oracles.hessian(tiny_model, weights, windows, diagonal=True),
        "taylor": oracles.taylor(tiny_model, weights, windows, elementwise=True),
        "fisher": oracles.fisher(tiny_model, weights, windows, batched=True),
        "mse": oracles.hessian(tiny_model, weights, windows),
    }
    for metric, value in wrong.items():
        assert measure_sensitivity(tiny, evaluator, [unit], metric).loss(unit.name, "bitmod3") != pytest.approx(
            value, rel=0.01
        )


def test_kl_is_that_of_the_eager_model_bit_for_bit(
    tiny: Graph, tiny_model: nn.Module, evaluator: QualityEvaluator
) -> None:
    inputs = Unit("inputs", tuple(f"{name}:input" for name in PAIR), ("mxfp4",))
    table = measure_sensitivity(tiny, evaluator, [*UNITS, inputs])
    for unit, fmt in WEIGHTED:
        eager = evaluator(oracles.Eager(tiny_model, changed(tiny_model, unit, fmt)))
        assert table.loss(unit.name, fmt) == eager.kl > 0
    rounding = parse_format("mxfp4").fake_quantize
    eager = evaluator(oracles.Eager(tiny_model, {}, dict.fromkeys(PAIR, rounding)))
    assert table.loss("inputs", "mxfp4") == eager.kl > 0


@pytest.mark.filterwarnings("error::UserWarning")  # torch warns of operators whose gradients it does not know
@pytest.mark.parametrize("metric", ["taylor", "fisher"])
def test_inputs_have_the_expansion_of_the_definition(
    metric: str, tiny: Graph, tiny_model: nn.Module, evaluator: QualityEvaluator, windows: Tensor
) -> None:
    order = {"taylor": 1, "fisher": 2}[metric]
    names = ["model.layers.0.self_attn.v_proj", "model.layers.1.mlp.down_proj"]
    units = [Unit(name, (f"{name}:input",), ("mxfp4", "int4-g32")) for name in names]
    both = Unit("both", tuple(f"{name}:input" for name in names), ("mxfp4",))
    table = measure_sensitivity(tiny, evaluator, [*units, both], metric)
    for unit in (*units, both):
        layers = [site.removesuffix(":input") for site in unit.sites]
        expected = oracles.input_expansion(tiny_model, layers, "mxfp4", windows, order)
        assert table.loss(unit.name, "mxfp4") == pytest.approx(expected, rel=1e-3)
    assert table.loss(names[0], "mxfp4") != pytest.approx(table.loss(names[0], "int4-g32"), rel=1e-3)


@pytest.mark.parametrize("metric", ["taylor", "fisher"])
def test_a_unit_of_weights_and_inputs_adds_its_sites(metric: str, tiny: Graph, evaluator: QualityEvaluator) -> None:
    keys = (f"{NAMES[0]}:weight", f"{NAMES[0]}:input")
    units = [Unit("weight", keys[:1], ("mxfp4",)), Unit("input", keys[1:], ("mxfp4",)), Unit("both", keys, ("mxfp4",))]
    weight, inputs, both = (
        measure_sensitivity(tiny, evaluator, units, metric).loss(unit.name, "mxfp4") for unit in units
    )
    signs = (1, -1) if metric == "taylor" else (1,)
    assert any(both == pytest.approx(abs(weight + sign * inputs), rel=1e-6) for sign in signs)


def test_hessian_is_the_error_that_mse_divides(tiny: Graph, evaluator: QualityEvaluator, windows: Tensor) -> None:
    """‖ΔW X‖² two ways: by H = XXᵀ, and at the outputs."""
    unit = UNITS[0]
    relative = measure_sensitivity(tiny, evaluator, [unit], "mse").losses[unit.name]
    absolute = measure_sensitivity(tiny, evaluator, [unit], "hessian").losses[unit.name]
    y = capture_inputs(tiny, windows, [NAMES[0]])[NAMES[0]] @ tiny.weight(NAMES[0]).detach().t()
    energy = float(y.double().square().sum()) / windows.numel()
    for fmt in FORMATS:
        assert absolute[fmt] == pytest.approx(relative[fmt] * energy, rel=1e-4)


def test_channel_groups_of_a_weight_are_rounded_by_themselves(
    tiny: Graph, tiny_model: nn.Module, evaluator: QualityEvaluator
) -> None:
    """In formats whose scales are shared within a tensor too; errors of groups add up to that of the whole."""
    whole = Unit(NAMES[0], (f"{NAMES[0]}:weight",), ("int4-tensor", "mxfp4"))
    groups = split_channels(tiny, whole, 7)
    assert [unit.channels for unit in groups] == [(0, 7), (7, 14), (14, 16)]
    kl, errors = (measure_sensitivity(tiny, evaluator, [whole, *groups], metric) for metric in ("kl", "hessian"))
    for unit in groups:
        eager = evaluator(oracles.Eager(tiny_model, changed(tiny_model, unit, "int4-tensor")))
        assert kl.loss(unit.name, "int4-tensor") == eager.kl > 0
    for fmt, equal in (("mxfp4", True), ("int4-tensor", False)):
        total = sum(errors.loss(unit.name, fmt) for unit in groups)
        assert (total == pytest.approx(errors.loss(whole.name, fmt), rel=1e-9)) == equal


FAMILIES = ("llama", "mamba", "gpt_oss")  # attention; convolutions and a state; experts and sinks


@pytest.fixture
def family_graph(family: str, tiny: Graph) -> Graph:
    if family == "llama":
        return tiny
    return captured_mixture(family) if family == "gpt_oss" else captured(family)


def token_ids(graph: Graph, count: int) -> Tensor:
    return ids(count, 40) % (graph.signature.vocabulary or 1)


def all_units(graph: Graph) -> list[Unit]:
    operands = dict.fromkeys(site.operand for site in graph.sites.values())
    return [unit for operand in operands for unit in units_of(graph, ("mxint4",), (operand,), per="kind")]


def quantized(graph: Graph, unit: Unit, fmt: str = "mxint4") -> Graph:
    assignment = Assignment(graph.signature.model, dict.fromkeys(unit.sites, fmt))
    return Quantize(QuantizeConfig(assignment=assignment))(graph).graph


@pytest.mark.parametrize("family", FAMILIES)
def test_kl_is_that_of_the_quantized_graph_bit_for_bit_in_every_family(family_graph: Graph) -> None:
    graph = family_graph
    evaluator = QualityEvaluator(graph, token_ids(graph, 3), batch=2)
    units = all_units(graph)
    table = measure_sensitivity(graph, evaluator, units)
    losses = [table.loss(unit.name, "mxint4") for unit in units]
    assert losses == [evaluator(quantized(graph, unit)).kl for unit in units]
    assert sum(loss > 0 for loss in losses) >= 0.8 * len(units)


@pytest.mark.parametrize("family", FAMILIES)
def test_mse_is_the_local_error_of_the_quantized_graph_in_every_family(family_graph: Graph) -> None:
    graph, windows = family_graph, token_ids(family_graph, 2)
    units = [unit for unit in all_units(graph) if unit.name.partition(":")[0] != "qk"]
    table = measure_sensitivity(graph, QualityEvaluator(graph, windows), units, "mse")
    for unit in units:
        comparison = compare_nodes(graph, quantized(graph, unit), windows.split(1))
        found = {each.node: each.local for each in comparison.nodes}
        expected = sum(10 ** (-found[site.partition(":")[0]].sqnr / 10) for site in unit.sites)
        assert table.loss(unit.name, "mxint4") == pytest.approx(expected, rel=1e-5)


def test_scores_behind_the_mask_do_not_count(tiny: Graph, windows: Tensor) -> None:
    name, window = "model.layers.1.self_attn.qk", windows[:1]
    unit = Unit("keys", (f"{name}:rhs",), ("mxint4",))
    found = measure_sensitivity(tiny, QualityEvaluator(tiny, window), [unit], "mse").loss("keys", "mxint4")
    frontier = Frontier(tiny, [window])
    frontier.advance(frontier.number(name))
    (q, k, scale), _ = frontier.arguments(0)
    k = k.repeat_interleave(q.shape[1] // k.shape[1], 1)
    wrong = parse_format("mxint4").fake_quantize(k)
    energy, error, hidden = 0.0, 0.0, 0.0
    for head in range(q.shape[1]):
        for row in range(q.shape[2]):
            for column in range(k.shape[2]):
                exact, other = (float(q[0, head, row] @ keys[0, head, column]) * scale for keys in (k, wrong))
                if column <= row:
                    energy, error = energy + exact**2, error + (other - exact) ** 2
                else:
                    hidden += (other - exact) ** 2
    assert found == pytest.approx(error / energy, rel=1e-4)
    assert hidden > 0.1 * error


def in_float64(value: Any) -> Any:
    return value.detach().double() if isinstance(value, Tensor) and value.is_floating_point() else value


@pytest.mark.parametrize("family", ["mamba", "gpt_oss"])
def test_hessian_of_convolutions_and_experts_is_the_error_at_their_outputs(family: str, family_graph: Graph) -> None:
    graph, windows = family_graph, ids(2, 24)
    op = {"mamba": "conv", "gpt_oss": "expert_linear"}[family]
    name = next(info.name for info in graph.nodes.values() if info.op == op)
    unit = Unit("one", (f"{name}:weight",), ("mxint4",))
    part = split_channels(graph, unit, 5)[1]
    table = measure_sensitivity(graph, QualityEvaluator(graph, windows, batch=2), [unit, part], "hessian")
    frontier = Frontier(graph, windows.split(1))
    frontier.advance(frontier.number(name))
    axis, target = (1 if op == "expert_linear" else 0), graph.fx_node(name).target
    for each, channels in ((unit, None), (part, (5, 5))):
        total = 0.0
        for index in range(len(windows)):
            args, kwargs = frontier.arguments(index)
            other = args[1].detach().clone()
            start, length = channels or (0, other.shape[axis])
            rows = other.narrow(axis, start, length)
            rows.copy_(parse_format("mxint4").fake_quantize(rows, axis=graph.sites[each.sites[0]].axis))
            exact, rounded = (target(*map(in_float64, (args[0], w, *args[2:])), **kwargs) for w in (args[1], other))
            total += float((rounded - exact).square().sum())
        assert table.loss(each.name, "mxint4") == pytest.approx(total / windows.numel(), rel=1e-6)
    assert table.loss("one", "mxint4") > table.loss(part.name, "mxint4") > 0


def test_a_run_that_begins_too_late_is_seen(
    tiny: Graph, evaluator: QualityEvaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = measure_sensitivity(tiny, evaluator, UNITS[:1])
    first = Frontier.first
    monkeypatch.setattr(Frontier, "first", lambda self, names: first(self, names) + 1)
    assert measure_sensitivity(tiny, evaluator, UNITS[:1]).losses != right.losses


class _InPlace(nn.Module):
    """Adds into a value that was read before."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        z = torch.relu(y)
        y += z
        return self.second(y) + y


def test_graphs_that_work_in_place_are_run_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(4)
    graph, x = mxhw.capture(_InPlace()), torch.randn(3, 16)
    name = next(info.name for info in graph.nodes.values() if info.op == "act")

    def outputs() -> list[Tensor]:
        frontier = Frontier(graph, [x])
        frontier.advance(frontier.first([name]))
        return [frontier.finish(0, Rounding([])) for _ in range(3)]

    assert all(torch.equal(each, graph.run(x)) for each in outputs())
    monkeypatch.setattr("mxhw.passes.analysis.sensitivity.frontier.works_in_place", lambda node: False)
    assert not torch.equal(outputs()[2], graph.run(x))  # what was kept has changed
