"""Formats without a hardware unit, a user's own among them: quantized, counted, and searched by quality and bits."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mxhw.errors import InputError
from mxhw.formats import load_extension, parse_format
from mxhw.hardware import load_platform
from mxhw.ir import Graph, site_key
from mxhw.passes.analysis import Evaluate, EvaluateConfig, ledger
from mxhw.passes.search import SearchConfig, SearchResult, SpaceConfig, search
from mxhw.passes.transform import Quantize, QuantizeConfig
from tests.passes.search.tiny import TOKENS, tiny_graph, tiny_problem, tiny_space

FILE = Path(__file__).resolve().parents[3] / "examples" / "own_format.py"
OWN = {
    "families": ("emulated",),
    "emulated_weights": ("lns4", "lns4-b16", "int8-sf32"),
    "emulated_inputs": "lns4-b8",
    "emulated_attention": ("lns4", "fp32"),
}


@pytest.fixture(autouse=True, scope="module")
def _loaded() -> None:
    load_extension(FILE)


@pytest.fixture(scope="module")
def graph() -> Graph:
    return tiny_graph()


@pytest.fixture(scope="module")
def found(graph: Graph) -> SearchResult:
    return search(tiny_problem(graph, objectives=("kl", "bits")), tiny_space(graph, **OWN), SearchConfig(trials=14))


def test_a_captured_graph_computes_with_it(tiny: Graph, windows: torch.Tensor, uniform) -> None:
    assignment = uniform("lns4", "lns4-b16", "fp32")
    quantized = Quantize(QuantizeConfig(assignment=assignment))(tiny)
    assert quantized.report["weights"] == len([i for i in tiny.gemms if i.op == "linear"])
    node = next(info.name for info in tiny.gemms if info.op == "linear")
    fmt = parse_format("lns4")
    by_hand = Quantize(QuantizeConfig(assignment=replace(assignment, formats={site_key(node, "weight"): "lns4"})))(tiny)
    (weight,) = [value for name, value in by_hand.graph.module.named_parameters() if name.startswith("quantized_")]
    assert weight.equal(fmt.fake_quantize(tiny.weight(node)))
    assert not quantized.graph.run(windows).equal(tiny.run(windows))


def test_the_ledger_counts_its_codes_and_exponents(tiny: Graph, uniform) -> None:
    bits = ledger(tiny, uniform("lns4", "lns4-b16", "fp32"), sequence=16)
    weights = [tiny.weight(info.name) for info in tiny.gemms if info.op == "linear"]
    stored = sum(w.shape[0] * -(-w.shape[1] // 32) * (32 * 4 + 8) for w in weights)
    assert bits.weight_bits == stored
    assert bits.bits_per_weight == stored / sum(w.numel() for w in weights)
    assert bits.bits_per_input == 4.5
    assert bits.bits_per_attention_operand == 32


def test_a_search_weighs_quality_against_bits(graph: Graph, found: SearchResult) -> None:
    problem = tiny_problem(graph, objectives=("kl", "bits"))
    assert len(found.records) == 14
    assert found.infeasible == 0
    assert len({record.values for record in found.records}) > 3
    for record in found.records:
        assert record.outcome["hardware"] is None
        assert record.assignment.arrays == {}
        assert "rows" not in record.parameters
        assert record.values[1] == ledger(graph, record.assignment, sequence=TOKENS).bits_per_weight
    chosen = found.choice.record
    again = Evaluate(EvaluateConfig(assignment=chosen.assignment), problem.evaluator).evaluation(graph)
    assert chosen.values[0] == again.quality.kl
    uniform = {next(iter(set(weights))) for r in found.records if len(set(weights := _weights(r.assignment))) == 1}
    assert uniform == set(OWN["emulated_weights"])


def _weights(assignment) -> list[str]:
    return [name for key, name in assignment.formats.items() if key.endswith(":weight")]


def test_it_resumes_and_is_deterministic(graph: Graph, found: SearchResult, tmp_path: Path) -> None:
    for trials in (3, 14):
        problem, space = tiny_problem(graph, objectives=("kl", "bits")), tiny_space(graph, **OWN)
        again = search(problem, space, SearchConfig(trials=trials), where=tmp_path / "study.db")
        values = [(record.parameters, record.values) for record in again.records]
        assert values == [(record.parameters, record.values) for record in found.records][:trials]


def test_all_families_share_one_search_of_bits(graph: Graph) -> None:
    space = tiny_space(graph, **{**OWN, "families": ("bitmod", "dialect", "emulated")})
    result = search(tiny_problem(graph, objectives=("kl", "bits")), space, SearchConfig(trials=12))
    costs = {record.assignment.notes["family"]: record.outcome["hardware"] for record in result.records}
    assert costs.keys() == {"bitmod", "dialect", "emulated"}
    assert costs["emulated"] is None
    assert costs["bitmod"]["cycles"] > 0


@pytest.mark.parametrize("objective", ["cycles", "area", "energy", "edp"])
@pytest.mark.parametrize("families", [("emulated",), ("bitmod", "emulated")])
def test_a_hardware_objective_is_refused_before_any_trial(graph: Graph, tmp_path: Path, objective, families) -> None:
    message = f"family 'emulated' has no hardware unit, so objective {objective!r} cannot .*; use objective 'bits'"
    with pytest.raises(InputError, match=message):
        search(
            tiny_problem(graph, objectives=("kl", objective)),
            tiny_space(graph, **{**OWN, "families": families}),
            SearchConfig(trials=2),
            where=tmp_path / "study.db",
        )
    assert not (tmp_path / "study.db").exists()


def test_no_platform_is_too_small_for_what_has_no_hardware(graph: Graph) -> None:
    problem = tiny_problem(graph, objectives=("kl", "bits"), platform=load_platform("asap7").with_budget(area=1))
    assert len(search(problem, tiny_space(graph, **OWN), SearchConfig(trials=2)).records) == 2


def test_a_space_with_hardware_points_to_the_family_without() -> None:
    with pytest.raises(
        InputError, match=r"multiplies 'int8-e8m0' by 'lns4'; .*search it in family 'emulated' with obj"
    ):
        SpaceConfig(bitmod_weights=("lns4",))
    with pytest.raises(InputError, match="unknown format 'lsn4'; did you mean 'lns4'"):
        SpaceConfig(families=("emulated",), emulated_weights=("lsn4",))


def test_a_format_that_changed_under_its_name_is_another_search(graph: Graph, tmp_path: Path, monkeypatch) -> None:
    def run() -> None:
        problem, space = tiny_problem(graph, objectives=("kl", "bits")), tiny_space(graph, **OWN)
        search(problem, space, SearchConfig(trials=1), where=tmp_path / "study.db")

    run()
    run()
    module = sys.modules[type(parse_format("lns4")).__module__]
    monkeypatch.setattr(module, "THRESHOLDS", [1.01 * threshold for threshold in module.THRESHOLDS])
    with pytest.raises(InputError, match=re.escape("is of another search: format lns4 was ")):
        run()
