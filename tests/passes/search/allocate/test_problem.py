"""A problem says what is wrong with it; sums do not depend on order; what was taken is always within budget."""

import ast
import math
import pickle
import random
import sys
from pathlib import Path

import pytest

from mxhw.errors import InputError
from mxhw.passes.search.allocate import (
    AllocationProblem,
    InfeasibleError,
    allocate_exhaustive,
    allocate_greedy,
    allocate_milp,
    allocate_uniform,
    budget_line,
    hull_line,
    solve_milp,
)

LOSSES = [[3.0, 1.0], [2.0, 0.5]]
BITS = [[2.0, 4.0], [20.0, 40.0]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"losses": [], "costs": {}}, "at least one unit"),
        ({"losses": [[], [1.0]]}, "unit 0 has no candidate"),
        ({"names": ("a",)}, "names must be one for each of the 2 units, not 1"),
        ({"costs": {"bits": [[1.0, 2.0]]}, "budgets": {}}, "costs of 'bits': 1 units, but losses has 2"),
        ({"costs": {"bits": [[1.0, 2.0], [1.0]]}, "names": ("a", "b")}, "costs of 'bits': b has 1 candidates, but"),
        ({"losses": [[1.0, math.nan], [1.0, 1.0]]}, "losses: unit 0 has nan; allowed is a number or inf"),
        ({"losses": [[1.0, 1.0], [1.0, -math.inf]]}, "losses: unit 1 has -inf"),
        (
            {"costs": {"bits": [[1.0, 1.0], [-2.0, 1.0]]}},
            "costs of 'bits': unit 1 has -2.0; allowed is a",
        ),
        ({"budgets": {"bits": -1.0}}, "budget of 'bits' must be a number from 0, not -1.0"),
        ({"budgets": {"bits": math.nan}}, "budget of 'bits' must be a number from 0, not nan"),
        ({"budgets": {"bit": 1.0}}, "budget of 'bit': there are no costs of it, only of 'bits'; did you mean 'bits'"),
        ({"fixed": {"area": 1.0}}, "fixed cost of 'area': there are no costs of it"),
        ({"fixed": {"bits": math.inf}}, "fixed cost of 'bits' must be a number from 0, not inf"),
    ],
)
def test_what_is_wrong_is_named(changes: dict, message: str) -> None:
    given = {"losses": LOSSES, "costs": {"bits": BITS}, "budgets": {"bits": 60.0}} | changes
    with pytest.raises(InputError, match=message):
        AllocationProblem(**given)


def test_solvers_refuse_what_they_cannot_do() -> None:
    problem = AllocationProblem(LOSSES, {"bits": BITS, "area": BITS}, {"bits": 50.0, "area": 60.0})
    with pytest.raises(InputError, match="2 units, not 1"):
        problem.loss((0,))
    with pytest.raises(InputError, match="unit 1 has candidates 0 to 1, not 2"):
        problem.fits((0, 2))
    with pytest.raises(InputError, match="gap must be a number from 0, not -1"):
        allocate_milp(problem, gap=-1)
    with pytest.raises(InputError, match="seconds must be a positive number or None, not 0"):
        allocate_milp(problem, seconds=0)
    with pytest.raises(InputError, match="no costs of 'bit'; there are 'bits', 'area'; did you mean 'bits'"):
        budget_line(problem, "bit", 3)
    with pytest.raises(InputError, match="at least 2, not 1"):
        budget_line(problem, "bits", 1)
    with pytest.raises(InputError, match="remove the budget of 'area'"):
        hull_line(problem, "bits")
    with pytest.raises(InputError, match=r"1\.05e\+06 assignments are too many"):
        allocate_exhaustive(AllocationProblem([[0.0, 1.0]] * 20, {}, {}))
    with pytest.raises(InputError, match="from 1 to 2 candidates"):
        allocate_uniform(AllocationProblem([[0.0, 1.0], [0.0]], {}, {}))


def test_an_infinite_budget_is_none_and_a_cost_without_budget_is_reported() -> None:
    problem = AllocationProblem(LOSSES, {"bits": BITS}, {"bits": math.inf}, {"bits": 7.0})
    assert problem.limits == ()
    for solve in (allocate_uniform, allocate_greedy, allocate_milp, allocate_exhaustive):
        assert solve(problem) == (1, 1)
    assert problem.spend("bits", (1, 1)) == 51.0


def test_sums_do_not_depend_on_the_order_of_units() -> None:
    draw = random.Random(5)
    costs = [[draw.lognormvariate(0, 12)] for _ in range(50)]
    choice = (0,) * 50
    shuffled = draw.sample(costs, 50)
    spends = {AllocationProblem(rows, {"x": rows}, {}).spend("x", choice) for rows in (costs, costs[::-1], shuffled)}
    assert len(spends) == 1
    assert len({sum(row[0] for row in rows) for rows in (costs, costs[::-1], shuffled)}) > 1  # what order can do
    # What an assignment takes is a budget that it keeps; the next smaller number is not.
    (spend,) = spends
    assert AllocationProblem(costs, {"x": costs}, {"x": spend}).fits(choice)
    assert not AllocationProblem(costs, {"x": costs}, {"x": math.nextafter(spend, 0)}).fits(choice)


def test_units_without_an_allowed_candidate_are_named() -> None:
    costs = {"latency": [[1.0, 1.0], [math.inf, math.inf]]}
    problem = AllocationProblem(LOSSES, costs, {"latency": 5.0}, names=("q", "k"))
    for solve in (allocate_greedy, allocate_milp, allocate_exhaustive):
        with pytest.raises(InfeasibleError, match="k: all 2 candidates have an infinite cost of latency") as caught:
            solve(problem)
        assert (caught.value.resource, caught.value.least) == ("latency", math.inf)
    mixed = AllocationProblem([[1.0], [math.inf, 1.0]], {"latency": [[1.0], [1.0, math.inf]]}, {})
    with pytest.raises(InfeasibleError, match="unit 1: none of its 2 candidates is allowed"):
        allocate_milp(mixed)


def test_the_error_says_which_budget_and_by_how_much() -> None:
    problem = AllocationProblem(LOSSES, {"bits": BITS}, {"bits": 20.0}, {"bits": 8.0})
    for solve in (allocate_greedy, allocate_milp, allocate_exhaustive):
        with pytest.raises(
            InfeasibleError, match=r"bits of at least 30 does not fit the budget of 20 \(1.5 times"
        ) as e:
            solve(problem)
        assert (e.value.resource, e.value.least, e.value.budget, e.value.conflict) == ("bits", 30.0, 20.0, ("bits",))
        assert e.value.violation == 0.5
    copied = pickle.loads(pickle.dumps(e.value))  # workers hand errors over
    assert (str(copied), vars(copied)) == (str(e.value), vars(e.value))
    with pytest.raises(InfeasibleError, match=r"\(candidate 0 for all units\) takes 30 of bits") as uniform:
        allocate_uniform(problem)
    assert uniform.value.least == 30.0


def test_a_conflict_of_two_budgets_is_told_from_the_innocent_one() -> None:
    costs = {"area": [[1.0, 5.0]], "time": [[9.0, 2.0]], "bits": [[1.0, 1.0]]}
    problem = AllocationProblem([[0.0, 0.0]], costs, {"area": 4.0, "bits": 3.0, "time": 3.0})
    with pytest.raises(InfeasibleError, match="area <= 4 and time <= 3 cannot be met together") as caught:
        solve_milp(problem)
    error = caught.value
    assert error.conflict == ("area", "time")
    assert (error.resource, error.least, error.budget) == ("area", 5.0, 4.0)
    assert error.violation == pytest.approx(0.25, rel=1e-4)
    assert "with time kept, area is at least 5 (1.25 times its budget)" in str(error)
    assert "with area kept, time is at least 9 (3 times its budget)" in str(error)


def test_the_package_computes_with_numbers_only() -> None:
    import mxhw.passes.search.allocate as package

    own = package.__name__
    for file in Path(package.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                known = name in ("mxhw.errors", own) or name.startswith(f"{own}.")
                assert known or name.split(".")[0] in {"numpy", "scipy", *sys.stdlib_module_names}, (file.name, name)
