"""Figures, bounds and objectives of a problem: any number of them, hard, and named when they cannot be met."""

from statistics import median
from typing import Any

import pytest

from mxhw.errors import InputError
from mxhw.hardware import load_platform
from mxhw.ir import Graph
from mxhw.passes.analysis import Evaluate, EvaluateConfig
from mxhw.passes.analysis.model_cost import CostSettings, cost_model
from mxhw.passes.search import FIGURES, SearchConfig, figure_of, search
from mxhw.passes.search.figures import violations
from tests.passes.search.tiny import tiny_graph, tiny_problem, tiny_space


@pytest.fixture(scope="module")
def graph() -> Graph:
    return tiny_graph()


def run(graph: Graph, trials: int = 12, strategy: str = "tpe", space: dict[str, Any] | None = None, **changes: Any):
    settings = SearchConfig(trials=trials, strategy=strategy)
    return search(tiny_problem(graph, **changes), tiny_space(graph, **(space or {})), settings)


def test_three_objectives_of_either_direction(graph: Graph) -> None:
    found = run(graph, objectives=("agreement", "bits", "cycles"))
    for record in found.records:
        figures = record.outcome["figures"]
        assert record.values == (figures["agreement"], figures["bits"], figures["cycles"])
    for one in found.front:
        for other in found.records:
            better = other.values[0] >= one.values[0] and other.values[1] <= one.values[1]
            assert not (better and other.values[2] <= one.values[2] and other.values != one.values)


def test_every_figure_that_a_design_has_is_in_its_record(graph: Graph) -> None:
    record = run(graph, trials=1).records[0]
    asic = {name for name, f in FIGURES.items() if f.stage != "speed"} - {"lut", "ff", "dsp", "bram"}
    assert set(record.figures) - {"ff"} == asic


@pytest.fixture(scope="module")
def free(graph: Graph):
    """Return a search without bounds."""
    return run(graph, strategy="hybrid", trials=16)


def middle(found, names: tuple[str, ...]) -> dict[str, float]:
    """Return bounds that half of the designs keep, each alone."""
    return {name: median(record.figures[name] for record in found.records) for name in names}


@pytest.mark.parametrize("names", [("bits",), ("kl",), ("cycles",), ("bits", "kl")])
@pytest.mark.parametrize("strategy", ["tpe", "hybrid", "milp"])
def test_what_breaks_a_bound_is_never_on_the_front(graph: Graph, free, names: tuple[str, ...], strategy: str) -> None:
    bound = middle(free, names)
    assert any(violations(record.figures, bound) for record in free.records)
    found = run(graph, strategy=strategy, constraints=bound)
    assert found.records
    for record in (*found.records, *found.front, found.choice.record):
        assert not violations(record.figures, bound)
    for record in found.trials:
        if record.state == "infeasible":
            assert sum(record.violations.values()) > 0
            assert record.reason


def test_an_allocation_keeps_its_bounds(graph: Graph, free) -> None:
    found = run(graph, strategy="milp", constraints=middle(free, ("bits",)), trials=6)
    milp = [record for record in found.trials if record.source == "milp"]
    assert milp
    assert all(record.state == "complete" for record in milp)


@pytest.mark.parametrize(
    ("constraints", "message"),
    [
        (
            {"bits": 2.0},
            r"constraint 'bits' of 2 bits/weight cannot be met: the nearest uniform design has 8\.1\d+, 306 % too much",
        ),
        ({"area": 10.0}, "constraint 'area' of 10 um2 or LUT cannot be met"),
        ({"bits": 45, "memory": 1.0}, "constraint 'memory' of 1 bits cannot be met"),
    ],
)
def test_an_impossible_bound_says_which_and_by_how_much(graph: Graph, constraints: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(graph, constraints=constraints)


def test_bounds_that_contradict_each_other_end_with_the_nearest_miss(graph: Graph) -> None:
    with pytest.raises(InputError, match=r"no trial of the search fits: kl is .*, the bound 1e-09"):
        run(graph, constraints={"kl": 1e-9}, trials=4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objectives": ("kl", "speed")}, "objective must be one of kl, perplexity, .*, not 'speed'"),
        ({"objectives": ("kl", "kl")}, "objectives must be a list of different names"),
        ({"objectives": ()}, "objectives must be a list of different names"),
        ({"constraints": {"aera": 1.0}}, "constraint must be one of .*, not 'aera'; did you mean 'area'"),
        ({"constraints": {"area": -1.0}}, "constraint 'area' must be a positive number, not -1"),
        ({"constraints": {"area": float("nan")}}, "constraint 'area' must be a positive number, not nan"),
        ({"objectives": ("kl", "lut")}, "'lut': platform 'asap7' is an ASIC and has none; choose area"),
        ({"objectives": ("accuracy:arc", "area")}, "'accuracy:arc' needs its task"),
    ],
)
def test_impossible_objectives_are_refused(graph: Graph, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tiny_problem(graph, **changes)


def test_a_task_is_an_objective_and_a_bound(graph: Graph) -> None:
    scored = []

    def accuracy(quantized: Graph) -> float:
        scored.append(quantized)
        return float(quantized.run(problem.evaluator.windows[:1]).std())

    problem = tiny_problem(graph, objectives=("accuracy:own", "bits"), tasks={"accuracy:own": accuracy})
    found = search(problem, tiny_space(graph), SearchConfig(trials=4))
    assert figure_of("accuracy:own").maximize
    assert [record.values[0] for record in found.records] == [
        record.figures["accuracy:own"] for record in found.records
    ]
    assert len({record.values[0] for record in found.records}) > 1
    assert scored


def test_widths_change_arrays_within_the_budget(graph: Graph) -> None:
    space = tiny_space(graph, widths=(1.0, 0.5, 2.0), families=("bitmod",), rows=(1,))
    values = space.all_parameters("bitmod", 1, None, {})
    wide = {name: 2.0 if name.endswith(":width") else value for name, value in values.items()}
    roomy = tiny_problem(graph)
    taken = roomy.plan(space.design(values)).figures["area"]
    tight = tiny_problem(graph, platform=load_platform("asap7").with_budget(area=taken))
    balanced = tight.plan(space.design(values))
    half = tight.plan(space.design({**values, "bitmod/lm_head:width": 0.5}))
    node, changed = balanced.assignment.arrays["lm_head"], half.assignment.arrays["lm_head"]
    assert changed[1] <= max(1, node[1] / 2)
    assert half.assignment.formats == balanced.assignment.formats
    smallest = tiny_problem(graph, platform=load_platform("asap7").with_budget(area=0.7 * taken))
    with pytest.raises(InputError, match="is too small: with these widths the design takes"):
        smallest.plan(space.design(wide))


def test_designs_that_differ_in_arrays_alone_run_the_model_once(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = tiny_problem(graph)
    runs = []
    grow = problem.grow
    monkeypatch.setattr(problem, "grow", lambda planned: runs.append(planned) or grow(planned))
    space = tiny_space(graph, families=("bitmod",), bitmod_weights=("bitmod4",), rows=(1, 2, 4))
    found = search(problem, space, SearchConfig(trials=8, strategy="random"))
    assert len(runs) == 1
    assert len({record.values[0] for record in found.records}) == 1
    assert len({record.values[1] for record in found.records}) == 3


def test_speed_is_an_objective_and_a_bound(graph: Graph) -> None:
    free = run(graph, objectives=("kl", "decode", "throughput"), trials=6)
    for record in free.records:
        figures = record.figures
        assert figures["throughput"] == pytest.approx(1 / figures["decode"], rel=0.5)
        assert min(figures["prefill"], figures["decode"]) > 0
        assert record.values[2] == figures["throughput"]
    bound = {"throughput": median(record.figures["throughput"] for record in free.records)}
    found = run(graph, objectives=("kl", "edp"), constraints=bound, trials=8, strategy="hybrid")
    assert all(record.figures["throughput"] >= bound["throughput"] for record in found.records)
    with pytest.raises(InputError, match=r"constraint 'throughput' of 1e\+30 tokens/s cannot be met: .* too little"):
        run(graph, constraints={"throughput": 1e30})


def test_folding_is_a_choice_and_costs_what_the_cost_model_says(tiny: Graph) -> None:
    space = tiny_space(tiny, folding=(False, True), families=("bitmod",))
    problem = tiny_problem(tiny, objectives=("kl", "area", "decode"))
    found = search(problem, space, SearchConfig(trials=8, strategy="hybrid"))
    folded = [record for record in found.records if record.parameters["folded"]]
    assert folded and len(folded) < len(found.records)
    record = folded[0]
    settings = CostSettings(prefill=problem.sequence, decode=problem.decode, folded=True)
    again = cost_model(tiny, record.assignment, problem.platform, settings).cost
    assert record.figures["area"] == pytest.approx(again.resources["area"], rel=1e-12)
    assert record.figures["prefill"] == pytest.approx(again.prefill.seconds, rel=1e-12)
    assert record.figures["throughput"] == pytest.approx(again.tokens_per_second, rel=1e-12)
    # What is too large with a block a layer fits with one block.
    values = space.all_parameters("bitmod", 1, None, {})
    least = problem.costs.need(space.design(values).formats, 1, 1e9)["area"]
    tight = tiny_problem(tiny, platform=load_platform("asap7").with_budget(area=0.9 * least))
    with pytest.raises(InputError, match="too small"):
        tight.plan(space.design(values))
    assert tight.plan(space.design({**values, "folded": True})).figures["area"] < 0.9 * least


def test_groups_of_channels_are_searched(graph: Graph) -> None:
    space = tiny_space(graph, granularity="channels", channel_group=8, families=("bitmod",))
    problem = tiny_problem(graph, objectives=("kl", "bits"))
    found = search(problem, space, SearchConfig(trials=14, strategy="hybrid"))
    mixed = [record for record in found.records if any("+" in name for name in record.assignment.formats.values())]
    assert mixed
    bits = [record.figures["bits"] for record in found.records]
    for record in mixed:
        assert min(bits) < record.figures["bits"] < max(bits)
        again = Evaluate(EvaluateConfig(assignment=record.assignment), problem.evaluator).evaluation(graph)
        assert record.figures["kl"] == pytest.approx(again.quality.kl)
