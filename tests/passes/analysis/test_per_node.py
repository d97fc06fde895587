"""Errors by node are those that hooks on the modules find, one module after the other, with everything kept."""

import math
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.ao.ns.fx.utils import compute_sqnr
from torch.utils._python_dispatch import TorchDispatchMode

import mxhw
from mxhw.errors import InputError
from mxhw.flow.assignments import uniform_assignment
from mxhw.formats import parse_format
from mxhw.ir import Assignment, Graph
from mxhw.ir.describe import INFO
from mxhw.passes.analysis import Comparison, Deviation, NodeError, PerNode, PerNodeConfig, compare_nodes
from mxhw.passes.transform.quantize import Quantize, QuantizeConfig
from tests.ir.zoo import captured, ids

WEIGHT, INPUT = "mxfp4", "int8-e8m0"
Hooked = dict[str, tuple[Tensor, Tensor]]  # path of a module → its input, its output


def outputs_by_hooks(model: nn.Module, x: Tensor, *, quantized: bool) -> Hooked:
    """Run `model` with its linear layers rounded or not, and keep what every one of them reads and gives."""
    seen: Hooked = {}
    handles = []
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear):

            def keep(layer: nn.Linear, args: tuple[Tensor], y: Tensor, path: str = path) -> Tensor:
                y = rounded_linear(layer, args[0]) if quantized else y
                seen[path] = (args[0], y.clone())
                return y

            handles.append(module.register_forward_hook(keep))
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return seen


def rounded_linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """The layer on rounded operands; its weight may be tied to an embedding, which is not rounded."""
    weight = parse_format(WEIGHT).fake_quantize(layer.weight.data, axis=-1)
    with torch.no_grad():
        return nn.functional.linear(parse_format(INPUT).fake_quantize(x, axis=-1), weight, layer.bias)


def error_of(x: Tensor, y: Tensor) -> Deviation:
    """The definition, over all of two tensors at once."""
    a, b = x.double(), y.double()
    return Deviation(10 * math.log10(float((a * a).sum() / ((a - b) ** 2).sum())), float((a - b).abs().max()))


def linear_assignment(graph: Graph) -> Assignment:
    formats = {}
    for info in graph.nodes.values():
        if info.op == "linear":
            formats |= {f"{info.name}:weight": WEIGHT, f"{info.name}:input": INPUT}
    return Assignment(graph.signature.model, formats)


def quantized(graph: Graph) -> Graph:
    return Quantize(QuantizeConfig(assignment=linear_assignment(graph)))(graph).graph


def by_name(comparison: Comparison) -> dict[str, NodeError]:
    return {each.node: each for each in comparison.nodes}


def check_against_hooks(model: nn.Module, graph: Graph, inputs: list[Tensor]) -> None:
    found = by_name(compare_nodes(graph, quantized(graph), inputs))
    plain = [outputs_by_hooks(model, x, quantized=False) for x in inputs]
    rounded = [outputs_by_hooks(model, x, quantized=True) for x in inputs]
    for path in plain[0]:
        module = cast(nn.Linear, model.get_submodule(path))
        alone = [rounded_linear(module, run[path][0]) for run in plain]
        truth = torch.cat([run[path][1] for run in plain])
        for got, other in ((found[path].local, alone), (found[path].accumulated, [run[path][1] for run in rounded])):
            expected = error_of(truth, torch.cat(other))
            assert got.sqnr == pytest.approx(expected.sqnr, abs=1e-9)
            assert got.largest == expected.largest
            assert got.sqnr == pytest.approx(float(compute_sqnr(truth, torch.cat(other))), abs=1e-3)


def test_an_mlp_agrees_with_hooks() -> None:
    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(48, 64), nn.GELU(), nn.Linear(64, 64, bias=False), nn.ReLU(), nn.Linear(64, 16))
    check_against_hooks(model, mxhw.capture(model), [torch.randn(7, 48), torch.randn(3, 48)])


def test_a_llama_agrees_with_hooks(tiny_model: nn.Module, tiny: Graph, windows: Tensor) -> None:
    check_against_hooks(tiny_model, tiny, list(windows.split(1)))


def test_only_rounded_nodes_err_locally(tiny: Graph, windows: Tensor) -> None:
    comparison = compare_nodes(tiny, quantized(tiny), windows.split(1))
    for each in comparison.nodes:
        assert each.local.exact == (each.op != "linear"), each
        assert (each.local.sqnr == math.inf) == each.local.exact
    found = by_name(comparison)
    assert found["model.embed_tokens"].accumulated.exact
    assert not found["model.norm"].accumulated.exact
    ratios = [each.local.sqnr for each in comparison.nodes]
    assert ratios == sorted(ratios)


def test_equal_graphs_are_exact_everywhere(tiny: Graph, windows: Tensor) -> None:
    comparison = compare_nodes(tiny, tiny.copy(), windows.split(1))
    assert {each.node for each in comparison.nodes} == set(tiny.nodes)
    assert all(each.local.exact and each.accumulated.exact for each in comparison.nodes)
    assert comparison.to_json()["nodes"][0]["local"] == {"exact": True, "sqnr_db": None, "max_error": 0.0}


@pytest.mark.parametrize("name", ["mamba", "gpt2", "cnn"])
def test_nodes_without_rounded_operands_are_exact_locally_in_other_families(name: str) -> None:
    graph = captured(name)
    rounded = Quantize(QuantizeConfig(assignment=uniform_assignment(graph)))(graph).graph
    tokens = graph.signature.kind == "tokens"
    x = ids(2, 9) if tokens else torch.randn([2 if n is None else n for n in graph.signature.features or ()])
    comparison = compare_nodes(graph, rounded, [x])
    erring = {each.node for each in comparison.nodes if not each.local.exact}
    assert erring == {site.node for site in graph.sites.values()}
    same = compare_nodes(graph, graph.copy(), [x])
    assert all(each.local.exact and each.accumulated.exact for each in same.nodes)


@pytest.mark.parametrize("culprit", ["model.layers.0.mlp.down_proj", "model.layers.1.self_attn.k_proj"])
def test_one_corrupted_weight_is_the_first_worst_node(tiny: Graph, windows: Tensor, culprit: str) -> None:
    broken = quantized(tiny)
    source = broken.operand(culprit, "weight")
    weight = getattr(broken.module, str(source.target))
    weight = nn.Parameter(weight.clone(), requires_grad=False)
    weight[3, 5] += 40
    setattr(broken.module, str(source.target), weight)
    comparison = compare_nodes(tiny, broken, windows.split(1))
    assert comparison.nodes[0].node == culprit
    healthy = by_name(compare_nodes(tiny, quantized(tiny), windows.split(1)))
    for each in comparison.nodes[1:]:
        assert each.local == healthy[each.node].local  # nobody else is blamed
    after = by_name(comparison)["model.norm"].accumulated.sqnr
    assert after < healthy["model.norm"].accumulated.sqnr


def test_hardware_is_compared_with_the_emulation(
    tiny: Graph, windows: Tensor, uniform: Callable[[str, str, str], Assignment]
) -> None:
    config = PerNodeConfig(
        assignment=uniform("bitmod4", INPUT, INPUT), windows=windows, arithmetics=("float", "hardware")
    )
    emulation, hardware = PerNode(config).comparisons(tiny)
    assert (emulation.other, emulation.reference) == ("float emulation", "float model")
    assert (hardware.other, hardware.reference) == ("hardware arithmetic", "float emulation")
    products = {info.name for info in tiny.gemms}
    for each in hardware.nodes:
        assert each.local.exact or each.node in products
        assert each.local.sqnr > 60  # the operands are rounded alike, only the sums differ
    report = PerNode(replace(config, arithmetics=("hardware",)))(tiny).report
    assert report == {"comparisons": [hardware.to_json()]}


class _InPlace(nn.Module):
    """Adds into a value that the layer before gave, and that is read once more after that."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        z = torch.relu(y)
        y += z
        return self.second(y) + y


def test_operators_that_work_in_place_do_not_reach_the_other_graph() -> None:
    torch.manual_seed(6)
    model = _InPlace()
    graph = mxhw.capture(model)
    assert any("add_" in str(node.target) and INFO in node.meta for node in graph.module.graph.nodes)
    check_against_hooks(model, graph, [torch.randn(5, 16)])
    comparison = compare_nodes(graph, graph.copy(), [torch.randn(5, 16)])
    assert all(each.local.exact and each.accumulated.exact for each in comparison.nodes)


class _Alive(TorchDispatchMode):
    """Counts the tensors that operators made and somebody still holds."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[weakref.ref[Tensor]] = []
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.made = [each for each in self.made if each() is not None] + [weakref.ref(result)]
            self.peak = max(self.peak, len(self.made))
        return result


def test_memory_does_not_grow_with_depth() -> None:
    def peak(depth: int) -> int:
        graph = mxhw.capture(nn.Sequential(*(layer for _ in range(depth) for layer in (nn.Linear(16, 16), nn.ReLU()))))
        other = quantized(graph)
        with _Alive() as alive:
            compare_nodes(graph, other, [torch.randn(4, 16)])
        return alive.peak

    assert 0 < peak(4) == peak(24)


def test_values_that_are_not_finite_are_errors_unless_both_have_them() -> None:
    class Scale(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.tensor(factor))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.factor

    x = torch.tensor([[1.0, 2.0, -math.inf]])
    graphs = {f: mxhw.capture(Scale(f), example=torch.zeros(1, 3)) for f in (1.0, 2.0, 0.0, math.nan)}
    assert compare_nodes(graphs[1.0], graphs[1.0].copy(), [x]).nodes[0].local.exact
    twice = compare_nodes(graphs[1.0], graphs[2.0], [x]).nodes[0].local
    assert twice == Deviation(pytest.approx(0.0, abs=1e-12), 2.0)  # type: ignore[arg-type]
    broken = compare_nodes(graphs[1.0], graphs[math.nan], [x]).nodes[0].local
    assert broken == Deviation(-math.inf, math.inf)
    assert broken.to_json() == {"exact": False, "sqnr_db": None, "max_error": None}
    assert compare_nodes(graphs[0.0], graphs[1.0], [torch.ones(1, 3)]).nodes[0].local == Deviation(-math.inf, 1.0)


def test_what_cannot_be_compared_is_refused(tiny: Graph, windows: Tensor) -> None:
    with pytest.raises(InputError, match="at least one input"):
        compare_nodes(tiny, tiny, [])
    with pytest.raises(InputError, match="differ from"):
        compare_nodes(tiny, mxhw.capture(nn.Linear(4, 4)), windows.split(1))
    with pytest.raises(InputError, match=r"must be \[windows, tokens\]"):
        PerNodeConfig(assignment=Assignment("m"), windows=windows[0])
