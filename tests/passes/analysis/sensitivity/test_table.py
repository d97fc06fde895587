"""Units, tables of their losses, and how far a table's sums are in the order of the truth."""

import json
import random
from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mxhw.errors import InputError
from mxhw.ir import Assignment, Graph
from mxhw.passes.analysis import QualityEvaluator, Sensitivity, SensitivityConfig, sensitivities
from mxhw.passes.analysis.sensitivity import (
    SensitivityTable,
    Unit,
    measure_sensitivity,
    rank_correlation,
    split_channels,
    units_of,
)
from mxhw.passes.analysis.sensitivity.correlation import RankCorrelation
from mxhw.passes.analysis.sensitivity.frontier import Rounded
from mxhw.passes.analysis.sensitivity.rounding import Rounding
from mxhw.passes.analysis.sensitivity.units import check_apart, check_units
from mxhw.passes.transform.quantize import Quantize, QuantizeConfig

FORMATS = ("mxfp4", "int4-g32", "bitmod3")


def quantized(graph: Graph, formats: dict[str, str]) -> Graph:
    return Quantize(QuantizeConfig(assignment=Assignment(graph.signature.model, formats)))(graph).graph


def made_up(count: int, candidates: int, seed: int) -> SensitivityTable:
    drawn = random.Random(seed)
    names = tuple(f"f{i}" for i in range(candidates))
    units = tuple(Unit(f"u{i}", (f"u{i}:weight",), names) for i in range(count))
    return SensitivityTable("kl", units, {u.name: {name: drawn.random() for name in names} for u in units})


@pytest.mark.parametrize("per", ["site", "kind", "layer"])
def test_units_cover_every_site_once(per: Any, tiny: Graph) -> None:
    operands = ("weight", "input", "lhs", "rhs")
    units = units_of(tiny, FORMATS, operands, per)
    covered = [site for unit in units for site in unit.sites]
    assert sorted(covered) == sorted(key for key, site in tiny.sites.items() if site.operand in operands)
    check_units(tiny, units)
    check_apart(units)
    expected = {"site": len(covered), "kind": 8 + 8 + 2 + 2, "layer": 2 * 4 + 2}
    assert len(units) == expected[per]


def test_groups_of_channels_cover_a_weight_once(tiny: Graph) -> None:
    whole = Unit("mlp", tuple(f"model.layers.{i}.mlp.up_proj:weight" for i in range(2)), FORMATS)
    parts = split_channels(tiny, whole, 20)
    assert [part.channels for part in parts] == [(0, 20), (20, 40), (40, 48)]
    assert [part.name for part in parts] == ["mlp[0:20]", "mlp[20:40]", "mlp[40:48]"]
    check_apart(parts)
    with pytest.raises(InputError, match="both give"):
        check_apart([*parts, whole])
    with pytest.raises(InputError, match="both give"):
        check_apart([parts[0], Unit("more", whole.sites[1:], FORMATS, (19, 21))])


QUERY = "model.layers.0.self_attn.q_proj"
BAD_UNITS = {
    "stands twice": [Unit("a", (f"{QUERY}:weight",), FORMATS)] * 2,
    "no units": [],
    "did you mean": [Unit("a", ("model.layers.0.self_attn.q_pro:weight",), FORMATS)],
    "format": [Unit("a", (f"{QUERY}:weight",), ("mxfp5-e9",))],
    r"exceed the 32 of": [Unit("a", (f"{QUERY}:weight",), FORMATS, (30, 33))],
    "only weights have output channels": [Unit("a", (f"{QUERY}:input",), FORMATS, (0, 3))],
    "cannot round a cache": [Unit("a", ("model.layers.0.self_attn.qk:cache",), ("int4-tensor",))],
}


@pytest.mark.parametrize("message", BAD_UNITS)
def test_bad_units_are_refused_before_anything_runs(
    message: str, tiny: Graph, evaluator: QualityEvaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.fx.Interpreter, "run_node", lambda *_: pytest.fail("the model ran"))
    with pytest.raises(InputError, match=message):
        measure_sensitivity(tiny, evaluator, BAD_UNITS[message])


@pytest.mark.parametrize(
    ("sites", "candidates", "channels"),
    [
        ((), FORMATS, None),
        (("a:weight",), (), None),
        (("a:weight",) * 2, FORMATS, None),
        (("a:weight",), ("x", "x"), None),
        (("a:weight",), FORMATS, (3, 3)),
        (("a:weight",), FORMATS, (-1, 3)),
    ],
)
def test_units_that_mean_nothing_are_refused(sites: Any, candidates: Any, channels: Any) -> None:
    with pytest.raises(InputError, match="unit 'a'"):
        Unit("a", sites, candidates, channels)


def test_metrics_without_meaning_and_other_models_are_refused(
    tiny: Graph, evaluator: QualityEvaluator, windows: Tensor
) -> None:
    unit = Unit("q", (f"{QUERY}:input",), FORMATS)
    with pytest.raises(InputError, match=r"weighs errors of weights .* mse, kl, taylor or fisher"):
        measure_sensitivity(tiny, evaluator, [unit], "hessian")
    with pytest.raises(InputError, match=r"one of mse, kl, .*did you mean 'hessian'"):
        measure_sensitivity(tiny, evaluator, [unit], "hesian")
    with pytest.raises(InputError, match="compares with another model"):
        other = quantized(tiny, {f"{QUERY}:weight": "mxfp4"})
        measure_sensitivity(tiny, QualityEvaluator(other, windows), [unit])
    with pytest.raises(InputError, match=r"of unit 'q' in '[\w-]+' is nan"):
        broken, path = tiny.copy(), "model.norm.weight"
        values = tiny.attributes[path].detach().clone()
        values[0] = torch.inf
        parent = broken.module.get_submodule("model.norm")
        kept = parent.weight
        try:
            parent.weight = nn.Parameter(values)
            measure_sensitivity(broken, QualityEvaluator(broken, windows), [unit])
        finally:
            parent.weight = kept


def test_a_table_says_what_was_measured() -> None:
    table = made_up(5, 3, 1)
    choice = {unit.name: unit.candidates[i % 3] for i, unit in enumerate(table.units)}
    assert table.predict(choice) == pytest.approx(
        sum(table.losses[name][fmt] for name, fmt in choice.items()), rel=1e-15
    )
    back = SensitivityTable.from_json(json.loads(json.dumps(table.to_json())))
    assert back == table
    with pytest.raises(InputError, match="did you mean 'u1'"):
        table.loss("u1x", "f0")
    with pytest.raises(InputError, match="only f0, f1, f2"):
        table.loss("u1", "f9")
    with pytest.raises(InputError, match="lacks unit 'u0' and 1 more"):
        table.predict({name: fmt for name, fmt in choice.items() if name not in ("u0", "u3")})
    for loss in (-1.0, float("nan"), float("inf"), None):
        damaged = table.to_json()
        damaged["losses"]["u2"]["f1"] = loss
        with pytest.raises(InputError, match=r"finite number|damaged"):
            SensitivityTable.from_json(damaged)
    for data in ({}, [], {"mxhw_sensitivity": 1}, {**table.to_json(), "mxhw_sensitivity": 0}):
        with pytest.raises(InputError, match="measure it again"):
            SensitivityTable.from_json(data)


def test_rows_are_the_table_for_people() -> None:
    units = (Unit("a", ("a:weight",), ("f0", "f1")), Unit("b", ("b:weight",), ("f1", "f2")))
    table = SensitivityTable("mse", units, {"a": {"f0": 0.5, "f1": 1.0}, "b": {"f1": 2.0, "f2": 0.25}})
    assert table.candidates == ("f0", "f1", "f2")
    assert table.rows() == [("a", (0.5, 1.0, None)), ("b", (None, 2.0, 0.25))]
    assert str(table).splitlines() == ["mse   f0  f1    f2", "b      -   2  0.25", "a    0.5   1     -"]


def slow_spearman(a: list[float], b: list[float]) -> float:
    ranks = [[1 + sum(y < x for y in v) + sum(y == x for y in v) / 2 - 0.5 for x in v] for v in (a, b)]
    (p, q), n = ranks, len(a)
    mean = (n + 1) / 2
    covariance = sum((x - mean) * (y - mean) for x, y in zip(p, q, strict=True))
    return float(covariance / (sum((x - mean) ** 2 for x in p) * sum((y - mean) ** 2 for y in q)) ** 0.5)


def slow_kendall(a: list[float], b: list[float]) -> float:
    signs = [((a[i] > a[j]) - (a[i] < a[j]), (b[i] > b[j]) - (b[i] < b[j])) for i, j in combinations(range(len(a)), 2)]
    untied = [sum(pair[k] != 0 for pair in signs) for k in range(2)]
    return float(sum(x * y for x, y in signs) / (untied[0] * untied[1]) ** 0.5)


def test_correlations_are_those_of_the_textbook() -> None:
    drawn = random.Random(7)
    for seed in range(20):
        table = made_up(4, 3, seed)
        choices = tuple({u.name: drawn.choice(u.candidates) for u in table.units} for _ in range(12))
        measured = tuple(round(drawn.random(), 1) for _ in choices)  # with ties
        found = RankCorrelation("kl", 0, 0, (), measured, choices).of(table)
        predicted = [table.predict(choice) for choice in choices]
        assert found.predicted == tuple(predicted)
        assert found.spearman == pytest.approx(slow_spearman(predicted, list(measured)), abs=1e-12)
        assert found.kendall == pytest.approx(slow_kendall(predicted, list(measured)), abs=1e-12)


def test_measured_losses_are_those_of_the_quantized_graph(tiny: Graph, evaluator: QualityEvaluator) -> None:
    units = units_of(tiny, FORMATS[:2], ("weight", "input"), per="kind")
    table = measure_sensitivity(tiny, evaluator, units, "fisher")
    found = rank_correlation(table, tiny, evaluator, draws=5, seed=3)
    assert len({tuple(choice.values()) for choice in found.choices}) == 5
    for choice, measured in zip(found.choices, found.measured, strict=True):
        formats = {site: choice[unit.name] for unit in units for site in unit.sites}
        assert measured == evaluator(quantized(tiny, formats)).kl
    assert rank_correlation(table, tiny, evaluator, draws=5, seed=3) == found
    assert rank_correlation(table, tiny, evaluator, draws=5, seed=4).choices != found.choices
    assert json.loads(json.dumps(found.to_json()))["measured"] == list(found.measured)


def test_channel_groups_together_are_the_format_by_channels(tiny: Graph, evaluator: QualityEvaluator) -> None:
    """Two units of one weight in two formats, rounded at once, are "FORMAT*CHANNELS+..." bit for bit."""
    key = "model.layers.0.mlp.down_proj:weight"
    first, second = split_channels(tiny, Unit("down", (key,), ("int4-tensor", "mxfp4")), 20)
    found = {}
    for a, b in (("int4-tensor", "mxfp4"), ("mxfp4", "int4-tensor")):
        rounded = evaluator(Rounded(tiny, Rounding([(second, b), (first, a)]))).kl
        assert rounded == evaluator(quantized(tiny, {key: f"{a}*20+{b}*12"})).kl
        found[a] = rounded
    assert found["int4-tensor"] != found["mxfp4"]


def test_a_table_of_one_unit_is_the_truth_and_its_reverse_is_the_opposite(
    tiny: Graph, evaluator: QualityEvaluator
) -> None:
    unit = Unit(
        "all",
        tuple(key for key, site in tiny.sites.items() if site.operand == "weight"),
        ("mxfp4", "mxfp6-e2m3", "mxfp8-e4m3", "mxint4", "bitmod3"),
    )
    table = measure_sensitivity(tiny, evaluator, [unit])
    found = rank_correlation(table, tiny, evaluator, draws=5)
    assert (found.spearman, found.kendall) == (pytest.approx(1.0), pytest.approx(1.0))
    assert found.predicted == found.measured
    losses = {fmt: 1 / loss for fmt, loss in table.losses["all"].items()}
    opposite = found.of(SensitivityTable("mse", table.units, {"all": losses}))
    assert opposite.metric == "mse"
    assert (opposite.spearman, opposite.kendall) == (pytest.approx(-1.0), pytest.approx(-1.0))


def test_correlations_that_cannot_be_are_refused(tiny: Graph, evaluator: QualityEvaluator) -> None:
    unit = Unit("q", (f"{QUERY}:weight",), FORMATS[:1])
    table = measure_sensitivity(tiny, evaluator, [unit], "mse")
    with pytest.raises(InputError, match="at least 2 draws"):
        rank_correlation(table, tiny, evaluator, draws=1)
    with pytest.raises(InputError, match="give the units more candidates"):
        rank_correlation(table, tiny, evaluator)
    both = [unit, Unit("again", unit.sites, FORMATS[:2])]
    with pytest.raises(InputError, match="both give"):
        rank_correlation(measure_sensitivity(tiny, evaluator, both, "mse"), tiny, evaluator)


def test_the_pass_writes_what_a_run_of_every_weight_gives(tiny: Graph, evaluator: QualityEvaluator) -> None:
    result = Sensitivity(SensitivityConfig(format="bitmod3"), evaluator)(tiny)
    expected = {info.name: evaluator(quantized(tiny, {f"{info.name}:weight": "bitmod3"})).kl for info in tiny.weighted}
    assert result.report == {"format": "bitmod3", "kl": expected}
    assert sensitivities(result.graph) == expected
    assert sensitivities(tiny) == {}
