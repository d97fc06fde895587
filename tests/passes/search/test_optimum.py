"""On spaces small enough to try every design, strategies find the true front; costs and fits are what they say."""

from itertools import product

import numpy as np
import pytest

from mxhw.ir import Graph
from mxhw.passes.analysis.sensitivity import measure_sensitivity
from mxhw.passes.search import SearchConfig, hypervolume, learn, search, searched_units
from mxhw.passes.search.guided import fitted_losses
from mxhw.passes.search.knowledge import best_plan
from mxhw.passes.search.record import TrialRecord
from tests.passes.search.tiny import tiny_graph, tiny_problem, tiny_space

SMALL = {"granularity": "block", "rows": (1, 2), "bitmod_weights": ("bitmod4", "bitmod3", "int6-g128-s8")}


@pytest.fixture(scope="module")
def graph() -> Graph:
    return tiny_graph()


@pytest.fixture(scope="module")
def every(graph: Graph) -> list[tuple[float, float]]:
    """Return the losses of all designs of the small space."""
    problem, space = tiny_problem(graph, objectives=("kl", "edp")), tiny_space(graph, **SMALL)
    found = []
    for family in space.config.families:
        parameters = [p for p in space.parameters_of(family)[1:] if len(p.choices) > 1]
        for values in product(*(p.choices for p in parameters)):
            named = {p.name: value for p, value in zip(parameters, values, strict=True)}
            planned = problem.plan(space.design({"family": family, **named}))
            kl, edp = problem.values(problem.evaluate(planned).to_json())
            found.append((kl, edp))
    return found


@pytest.mark.parametrize("strategy", ["hybrid", "tpe", "nsga2", "random"])
def test_the_front_of_a_small_space_is_found(graph: Graph, every: list[tuple[float, float]], strategy: str) -> None:
    problem, space = tiny_problem(graph, objectives=("kl", "edp")), tiny_space(graph, **SMALL)
    result = search(problem, space, SearchConfig(trials=len(every) + 10, strategy=strategy, early_stop=False))
    reference = max(kl for kl, _ in every), max(edp for _, edp in every)
    best = hypervolume(every, reference)
    found = hypervolume([(r.values[0], r.values[1]) for r in result.records], reference)
    assert found <= best * (1 + 1e-12)
    assert found >= (0.999 if strategy == "hybrid" else 0.9) * best


def test_early_stop_leaves_the_front_as_it_is(graph: Graph) -> None:
    fronts = []
    for early in (False, True):
        problem, space = tiny_problem(graph, objectives=("kl", "edp")), tiny_space(graph, **SMALL)
        settings = SearchConfig(trials=24, strategy="random", early_stop=early)
        result = search(problem, space, settings)
        fronts.append([record.values for record in result.front])
    assert fronts[0] == fronts[1]


def test_costs_of_single_choices_are_those_of_whole_plans(graph: Graph) -> None:
    problem, space = tiny_problem(graph, objectives=("kl", "edp", "bits")), tiny_space(graph, rows=(1, 2))
    table = measure_sensitivity(graph, problem.evaluator, searched_units(space))
    known = learn(problem, space, table).families["bitmod"]
    narrow = {unit.name: "bitmod3" for unit in known.units}
    for number, unit in enumerate(known.units):
        for at, name in enumerate(unit.candidates):
            plan = best_plan(problem, space, "bitmod", {**narrow, unit.name: name})
            assert plan is not None
            total = known.base["bits"] + known.costs["bits"][number][at]
            assert total == pytest.approx(plan[1].figures["bits"], rel=1e-12)
    with_all = {unit.name: "bitmod4" for unit in known.units}
    plan = best_plan(problem, space, "bitmod", with_all)
    assert plan is not None
    rows = zip(known.costs["bits"], known.units, strict=True)
    added = sum(row[unit.candidates.index("bitmod4")] for row, unit in rows)
    assert known.base["bits"] + added == pytest.approx(plan[1].figures["bits"], rel=1e-9)  # bits are additive


def test_a_fit_recovers_additive_losses(graph: Graph) -> None:
    """Finished trials whose KL is a sum that the table has wrong by factors: the fit finds the factors."""
    problem, space = tiny_problem(graph), tiny_space(graph, families=("bitmod",))
    table = measure_sensitivity(graph, problem.evaluator, searched_units(space))
    known = learn(problem, space, table).families["bitmod"]
    rng = np.random.default_rng(5)
    truth = [np.asarray(row) * rng.uniform(0.3, 3.0, len(row)) for row in known.losses]
    records = []
    for number in range(300):
        choice = [int(rng.integers(len(row))) for row in truth]
        kl = 0.01 + sum(float(row[at]) for row, at in zip(truth, choice, strict=True))
        parameters = {f"bitmod/{u.name}": u.candidates[at] for u, at in zip(known.units, choice, strict=True)}
        outcome = {"quality": {"kl": kl}, "assignment": {"notes": {"family": "bitmod"}}}
        records.append(TrialRecord(number, (kl, 1.0), parameters, outcome))
    fitted, always = fitted_losses(known, records)
    unfitted, _ = fitted_losses(known, [])
    for number in range(50):
        choice = [int(rng.integers(len(row))) for row in truth]
        kl = 0.01 + sum(float(row[at]) for row, at in zip(truth, choice, strict=True))
        guess = always + sum(float(row[at]) for row, at in zip(fitted, choice, strict=True))
        assert guess == pytest.approx(kl, rel=0.2), number
    errors = [abs(float(a.sum()) - float(b.sum())) for a, b in zip(unfitted, truth, strict=True)]
    assert sum(errors) > 0.2 * sum(float(row.sum()) for row in truth)  # the table alone is wrong
