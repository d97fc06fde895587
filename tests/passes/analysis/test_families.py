"""Analyses and the search see products that are no linear layers and no attention of the dialect, and count them."""

import pytest
import torch

from mxhw.hardware import load_platform
from mxhw.ir import Assignment, Graph
from mxhw.ir.coverage import uncovered
from mxhw.ir.symbolic import size_at
from mxhw.passes.analysis import (
    Calibrate,
    CalibrateConfig,
    QualityEvaluator,
    Sensitivity,
    SensitivityConfig,
    evaluate_hardware,
    ledger,
)
from mxhw.passes.search import SearchSpace, SpaceConfig
from tests.ir.zoo import captured, ids

FAMILIES = ("falcon", "mamba")  # attention of their own; convolutions and a state


def uniform(graph: Graph, weights: str, others: str) -> Assignment:
    formats = {key: weights if site.operand == "weight" else others for key, site in graph.sites.items()}
    return Assignment(graph.signature.model, formats)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_site_is_measured(name: str) -> None:
    result = Calibrate(CalibrateConfig(windows=ids(2, 16)))(captured(name))
    sites = result.graph.sites
    assert result.report["sites"] == len(sites)
    product = next(key for key in sites if key.endswith("matmul:rhs"))
    assert sites[product].statistics["amax"] > 0
    assert sites[product].statistics["count"] == 2 * sum_of(captured(name), product, 16)


def sum_of(graph: Graph, key: str, sequence: int) -> int:
    count = 1
    for size in graph.sites[key].shape:
        count *= size_at(size, 1, sequence)
    return count


@pytest.mark.parametrize("name", [*FAMILIES, "cnn"])
def test_ledger_counts_every_weight_and_operand(name: str) -> None:
    graph = captured(name)
    wide, narrow = (ledger(graph, uniform(graph, w, "int8")) for w in ("fp32", "int4"))
    weights = sum(graph.weight(info.name).numel() for info in graph.weighted)
    assert wide.weight_bits == 32 * weights
    assert wide.weight_bits > narrow.weight_bits > 4 * weights
    assert (wide.bits_per_attention_operand is None) == (name == "cnn")


def test_sensitivity_measures_convolutions_too() -> None:
    graph = captured("mamba")
    evaluator = QualityEvaluator(graph, ids(2, 16))
    found = Sensitivity(SensitivityConfig(format="mxint2"), evaluator)(graph).report["kl"]
    assert found.keys() == {info.name for info in graph.weighted}
    assert found["backbone.layers.0.mixer.conv"] > 0


@pytest.mark.parametrize("name", FAMILIES)
def test_cost_names_what_has_no_unit(name: str) -> None:
    graph = captured(name)
    report = evaluate_hardware(graph, uniform(graph, "bitmod4", "int8-e8m0"), load_platform("asap7"), 16)
    emulated = {info.name for info in graph.nodes.values() if info.op in ("matmul", "conv")}
    assert {name for name in report.without if graph.nodes[name].macs} == emulated != set()
    missing = sum(size_at(graph.nodes[node].macs, 1, 16) for node in emulated)
    assert report.mac_coverage == pytest.approx(1 - missing / graph.macs(1, 16))


@pytest.mark.parametrize("name", FAMILIES)
def test_search_gives_every_site_a_format(name: str) -> None:
    graph = captured(name)
    space = SearchSpace(graph, SpaceConfig(families=("emulated",)))
    formats = space.design({"family": "emulated"}).formats
    assert formats.keys() == {key for key, site in graph.sites.items() if site.operand != "cache"}


def test_uncovered_work_is_counted() -> None:
    found = uncovered(captured("bloom"), 2, 10)
    assert found.operators == {"aten.pow.Tensor_Tensor": 1, "aten.where.ScalarOther": 1}
    assert (found.macs, found.mac_share) == (0, 0.0)
    slopes, mask = 4 * 4, 2 * 10 * 10 * 4  # a slope per head; float32 [batch, 1, queries, keys]
    assert found.bytes == slopes + mask
    assert 0 < found.byte_share < 0.1
    assert uncovered(captured("llama")).nodes == ()


def test_fused_attention_is_reported_with_its_products() -> None:
    from mxhw.ir import capture_features

    class Fused(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.scaled_dot_product_attention(x, x, x)

    found = uncovered(capture_features(Fused(), torch.zeros(1, 6, 8)), 2, 6)
    assert (found.macs, found.mac_share) == (2 * 2 * 6 * 6 * 8, 1.0)
