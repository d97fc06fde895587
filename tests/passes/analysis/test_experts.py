"""Every analysis of a mixture of experts counts all weights as stored, and the active ones only as multiplied."""

from dataclasses import replace

import pytest

from mxhw.flow.assignments import uniform_assignment
from mxhw.formats import parse_format
from mxhw.hardware import load_platform
from mxhw.ir import Assignment
from mxhw.passes.analysis import (
    Calibrate,
    CalibrateConfig,
    QualityEvaluator,
    Sensitivity,
    SensitivityConfig,
    evaluate_hardware,
    ledger,
)
from mxhw.passes.analysis.activations import capture_inputs
from mxhw.passes.analysis.fingerprints import fingerprint_of_graph
from mxhw.passes.search import SearchSpace, SpaceConfig
from mxhw.passes.transform import Parallelize, ParallelizeConfig
from tests.ir.zoo import ids
from tests.ir.zoo_experts import HIDDEN, MIXTURES, captured_mixture, eager_mixture

NAMES = {f"model.layers.{layer}.mlp.experts.{part}" for layer in range(2) for part in ("gate_up_proj", "down_proj")}


def test_ledger_counts_the_weights_of_all_experts() -> None:
    graph, mixture = captured_mixture("mixtral"), MIXTURES["mixtral"]
    formats = {f"{name}:weight": "int4-g32" for name in NAMES}
    none, four_bits = ledger(graph, Assignment("mixtral")), ledger(graph, Assignment("mixtral", formats))
    elements = 2 * mixture.experts * 3 * mixture.intermediate * HIDDEN
    shapes = ((mixture.experts, 2 * mixture.intermediate, HIDDEN), (mixture.experts, HIDDEN, mixture.intermediate))
    stored = 2 * sum(parse_format("int4-g32").bits(shape) for shape in shapes)
    assert none.weight_bits - four_bits.weight_bits == 32 * elements - stored
    parameters = sum(p.numel() for p in eager_mixture("mixtral").parameters() if p.dim() > 1)
    embedding = eager_mixture("mixtral").model.embed_tokens.weight.numel()
    assert none.weight_bits == 32 * (parameters - embedding)


def test_calibration_measures_experts() -> None:
    graph = captured_mixture("gpt_oss")
    sites = Calibrate(CalibrateConfig(windows=ids(2, 16)))(graph).graph.sites
    for name in NAMES:
        assert sites[f"{name}:weight"].statistics["count"] == graph.weight(name).numel()
        assert sites[f"{name}:input"].statistics["count"] > 0


def test_sensitivity_ranks_experts_with_all_other_weights() -> None:
    graph = captured_mixture("qwen3_moe")
    report = Sensitivity(SensitivityConfig(format="int2-g32"), QualityEvaluator(graph, ids(2, 16)))(graph).report
    assert report["kl"].keys() == {info.name for info in graph.weighted} > NAMES
    assert all(report["kl"][name] > 0 for name in NAMES)


def test_the_search_chooses_formats_of_experts() -> None:
    graph = captured_mixture("mixtral")
    space = SearchSpace(graph, SpaceConfig(rows=(2,)))
    assert set(space.linears) > NAMES
    formats = space.design(
        {"family": "bitmod"} | {f"bitmod/{name}:weight": "bitmod3" for name in space.linears}
    ).formats
    assert all(formats[f"{name}:weight"] == "bitmod3" and formats[f"{name}:input"] == "int8-e8m0" for name in NAMES)
    Assignment("mixtral", formats).check(graph)


def test_a_study_notices_another_expert() -> None:
    graph = captured_mixture("mixtral")
    before = fingerprint_of_graph(graph)
    weight = graph.weight("model.layers.0.mlp.experts.down_proj")
    original = weight[3, 0, 0].item()
    try:
        weight.data[3, 0, 0] += 1
        assert fingerprint_of_graph(graph) != before
    finally:
        weight.data[3, 0, 0] = original


def test_experts_are_charged_for_named_as_without_hardware_and_count_against_the_coverage() -> None:
    graph = captured_mixture("mixtral")
    assignment = uniform_assignment(graph)
    report = evaluate_hardware(graph, assignment, load_platform("asap7"), 32)
    assert set(report.without) >= NAMES
    fewer = {key: each for key, each in assignment.formats.items() if key.partition(":")[0] not in NAMES}
    less = evaluate_hardware(graph, replace(assignment, formats=fewer), load_platform("asap7"), 32)
    assert less.resources["area"] < report.resources["area"]
    config = ParallelizeConfig(assignment=assignment, platform=load_platform("asap7"), sequence=32, rows=2)
    made = Parallelize(config)(graph).report
    assert made["mac_coverage"] == pytest.approx(sum(g.gemm(1, 32).macs for g in graph.gemms) / graph.macs(1, 32))
    assert made["mac_coverage"] == report.mac_coverage < 1


def test_inputs_of_routers_can_be_captured() -> None:
    found = capture_inputs(captured_mixture("mixtral"), ids(1, 8), ["model.layers.1.mlp.gate"])
    assert found["model.layers.1.mlp.gate"].shape == (8, HIDDEN)
