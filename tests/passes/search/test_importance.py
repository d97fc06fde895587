"""Importance of parameters and units against weights that are known."""

import itertools
import math
import random
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from mxhw.errors import InputError
from mxhw.passes.search.allocate import AllocationProblem, budget_line
from mxhw.passes.search.importance import fit_importance, parameter_importance, unit_importance
from mxhw.passes.search.record import TrialRecord

EFFECTS = {
    "a": {"x": 0.0, "y": 3.0, "z": 1.0},
    "b": {"x": 1.0, "y": 0.0},
    "c": {"x": 0.5, "y": 0.5},
    "d": {1: 0.0, 2: 0.2, 4: 0.7},
}


def records(designs: Iterable[dict[str, Any]], value: Callable[[dict[str, Any]], float]) -> list[TrialRecord]:
    return [TrialRecord(i, (0.0, value(design)), design, {}) for i, design in enumerate(designs)]


def additive(design: dict[str, Any]) -> float:
    return 10.0 + sum(EFFECTS[name][value] for name, value in design.items())


def variance(values: Iterable[float]) -> float:
    numbers = list(values)
    mean = math.fsum(numbers) / len(numbers)
    return math.fsum((x - mean) ** 2 for x in numbers) / len(numbers)


def full_factorial() -> list[dict[str, Any]]:
    return [dict(zip(EFFECTS, values, strict=True)) for values in itertools.product(*EFFECTS.values())]


def test_all_combinations_give_the_variance_of_every_effect() -> None:
    found = fit_importance(records(full_factorial(), additive), 1)
    variances = {name: variance(effects.values()) for name, effects in EFFECTS.items()}
    for name, share in found.shares.items():
        assert share == pytest.approx(variances[name] / sum(variances.values()), abs=1e-6)
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found.explained == pytest.approx(1, abs=1e-6)
    assert found.trials == 36


def test_parameters_of_one_family_count_within_it() -> None:
    """Each family's own parameters have their variance times the family's share; the jump is the family's."""
    bitmod = [{"family": "bitmod", "bitmod/q": q, "bitmod/k": k} for q in "xyz" for k in "xy"]
    dialect = [{"family": "dialect", "dialect/q": q} for q in "xyz"]
    effects = {"bitmod/q": {"x": 0.0, "y": 1.0, "z": 5.0}, "bitmod/k": {"x": 0.0, "y": 1.0}}
    effects["dialect/q"] = {"x": 2.0, "y": 0.0, "z": 2.0}

    def value(design: dict[str, Any]) -> float:
        return 7.0 * (design["family"] == "bitmod") + sum(effects[n][v] for n, v in design.items() if n in effects)

    designs = [*bitmod, *dialect]
    shares = parameter_importance(records(designs, value), 1)
    part = {"bitmod/q": 6 / 9, "bitmod/k": 6 / 9, "dialect/q": 3 / 9}
    expected = {name: part[name] * variance(each.values()) for name, each in effects.items()}
    means = [[value(d) for d in designs if d["family"] == family] for family in ("bitmod", "dialect")]
    expected["family"] = variance([math.fsum(v) / len(v) for v in means for _ in v])
    assert shares == pytest.approx({n: v / sum(expected.values()) for n, v in expected.items()}, abs=1e-6)


def test_drawn_trials_with_noise_come_close_and_noise_explains_nothing() -> None:
    draw = random.Random(1)
    designs = [{name: draw.choice(list(effects)) for name, effects in EFFECTS.items()} for _ in range(300)]
    noise = [draw.gauss(0, 0.3) for _ in designs]
    noisy = iter(noise)
    found = fit_importance(records(designs, lambda design: additive(design) + next(noisy)), 1)
    variances = {name: variance(effects.values()) for name, effects in EFFECTS.items()}
    for name, share in found.shares.items():
        assert share == pytest.approx(variances[name] / sum(variances.values()), abs=0.05)
    assert 0.85 < found.explained < 1
    noisy = iter(noise)
    assert fit_importance(records(designs, lambda _: next(noisy)), 1).explained < 0.05  # the negative control


def test_with_fewer_trials_than_levels_what_matters_is_still_found() -> None:
    draw = random.Random(2)
    names = [f"unit{i}" for i in range(30)]
    designs = [{name: draw.choice("wxyz") for name in names} for _ in range(60)]
    important = {"unit3": 4.0, "unit17": 2.0}
    found = fit_importance(records(designs, lambda d: sum(w * (d[n] == "w") for n, w in important.items())), 1)
    assert sorted(found.shares, key=lambda name: -found.shares[name])[:2] == ["unit3", "unit17"]
    assert sum(found.shares.values()) == pytest.approx(1)


def test_numbers_with_many_values_have_a_linear_effect() -> None:
    grid = [{"x": x / 20, "y": y} for x in range(20) for y in "ab"]
    shares = parameter_importance(records(grid, lambda d: 4 * d["x"] + (d["y"] == "a")), 1)
    first, second = variance(4 * x / 20 for x in range(20)), 0.25
    assert shares == pytest.approx({"x": first / (first + second), "y": second / (first + second)}, abs=1e-6)


def test_agrees_with_fanova_where_scikit_learn_is_there() -> None:
    pytest.importorskip("sklearn", reason="Optuna's fANOVA needs scikit-learn")
    import optuna

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    choices = {n: optuna.distributions.CategoricalDistribution(list(effects)) for n, effects in EFFECTS.items()}
    for record in records(full_factorial(), additive):
        design = dict(record.parameters)
        study.add_trial(optuna.trial.create_trial(params=design, distributions=choices, value=record.values[1]))
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=16, seed=0)
    theirs = optuna.importance.get_param_importances(study, evaluator=evaluator)
    assert parameter_importance(records(full_factorial(), additive), 1) == pytest.approx(theirs, abs=0.08)


def test_what_cannot_be_said_is_refused_or_zero() -> None:
    some = records(full_factorial(), additive)
    with pytest.raises(InputError, match="objectives 0 to 1, not 2"):
        parameter_importance(some, 2)
    with pytest.raises(InputError, match="at least two complete trials, not 1"):
        parameter_importance(some[:1], 1)
    infeasible = TrialRecord(99, (), {"a": "x"}, {}, state="infeasible")
    infinite = TrialRecord(98, (0.0, math.inf), some[0].parameters, {})
    assert parameter_importance([*some, infeasible, infinite], 1) == parameter_importance(some, 1)
    with pytest.raises(InputError, match="at least two trials with a finite objective 1"):
        parameter_importance([infinite, infinite], 1)
    assert fit_importance(some, 0).shares == dict.fromkeys(EFFECTS, 0.0)  # the same in all trials


def test_units_share_what_the_line_saves() -> None:
    problem = AllocationProblem(
        [[8.0, 2.0, 1.0], [5.0, 4.5, 4.0], [1.0, 1.0, 1.0]],
        {"bits": [[2.0, 4.0, 8.0], [2.0, 4.0, 8.0], [2.0, 4.0, 8.0]]},
        {"bits": 14.0},
        names=("q", "k", "v"),
    )
    line = budget_line(problem, "bits", 4)
    gains = unit_importance(problem, "bits", line)
    assert [gain.name for gain in gains] == ["q", "k", "v"]
    assert math.fsum(g.saved for g in gains) == pytest.approx(problem.loss(line[0]) - problem.loss(line[-1]))
    assert math.fsum(g.spent for g in gains) == problem.spend("bits", line[-1]) - problem.spend("bits", line[0])
    assert line[-1] == (2, 1, 0)
    assert [(g.saved, g.spent) for g in gains] == [(7.0, 6.0), (0.5, 2.0), (0.0, 0.0)]
    assert [g.share for g in gains] == pytest.approx([7 / 7.5, 0.5 / 7.5, 0.0])
    assert [g.per_cost for g in gains] == pytest.approx([7 / 6, 0.25, 0.0])
    with pytest.raises(InputError, match="at least two assignments, not 1"):
        unit_importance(problem, "bits", line[:1])
    with pytest.raises(InputError, match="no costs of 'area'"):
        unit_importance(problem, "area", line)
