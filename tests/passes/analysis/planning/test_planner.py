"""Plans made of what is kept of nodes, shapes and beats are those of whole new designs, bit for bit."""

import json
import random
from collections.abc import Callable

import pytest

from mxhw.errors import InputError
from mxhw.hardware import Platform, load_platform
from mxhw.ir import Assignment, Graph
from mxhw.passes.analysis import HardwareCosts, NoHardwareError
from mxhw.passes.analysis.hardware import PlannedDesign
from mxhw.passes.analysis.planning import compose, planner
from mxhw.passes.analysis.structure import steps as structure_steps
from tests.ir.zoo import captured
from tests.ir.zoo_experts import captured_mixture

PLATFORMS = ("asap7", "zu7ev")
BITMOD = ("bitmod4", "bitmod3", "int6-g128-s8")
STREAMS = ("int8-e8m0", "dialect4-online")


def drawn(graph: Graph, rng: random.Random, *, wild: bool) -> dict[str, str]:
    """Return formats of one family; or of any mix by node, and some that have no unit or are not there at all."""
    family = rng.choice(STREAMS)
    formats = {}
    for info in graph.nodes.values():
        inputs = rng.choice(STREAMS) if wild else family
        for site in info.sites:
            if site.operand == "weight":
                formats[site.key] = rng.choice(BITMOD) if inputs == "int8-e8m0" else "dialect4"
            elif site.operand != "cache":
                formats[site.key] = inputs
    for key in rng.sample(sorted(formats), rng.choice((0, 0, 2)) if wild else 0):
        formats[key] = rng.choice(("int4-g32", "fp32"))
        if rng.random() < 0.5:
            del formats[key]
    return formats


def outcome(plan: Callable[[], PlannedDesign]) -> object:
    """Return everything about a plan, the order of names and the types of numbers included; or its error."""
    try:
        found = plan()
    except InputError as error:
        return type(error), str(error)
    report = found.report
    return list(found.arrays.items()), list(found.lanes.items()), json.dumps(report.to_json()), report.without


def widened(name: str, factor: float) -> Platform:
    platform = load_platform(name)
    return platform.with_budget(**{each: amount.value * factor for each, amount in platform.budget.items()})


def compared(graph: Graph, platform: Platform, draws: int, seed: int) -> dict[str, int]:
    """Compare plans of drawn designs; return how many fit and how many do not."""
    rng, costs, seen = random.Random(seed), HardwareCosts(graph, platform, 16), {"fits": 0, "errors": 0}
    for number in range(draws):
        formats = drawn(graph, rng, wild=number % 2 == 1)
        rows, share = rng.choice((1, 2, 4, 16)), rng.choice((1.0, 0.7, 0.3))
        expected = outcome(lambda: HardwareCosts.plan_directly(costs, formats, rows, share))  # noqa: B023
        assert outcome(lambda: costs.plan(formats, rows, share)) == expected  # noqa: B023
        seen["fits" if len(expected) == 4 else "errors"] += 1
    return seen


@pytest.mark.parametrize("name", PLATFORMS)
def test_plans_are_those_of_whole_new_designs(tiny: Graph, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    directly = HardwareCosts.plan_directly
    seen = {"fits": 0, "errors": 0}
    for factor in {"asap7": (0.03, 0.3), "zu7ev": (0.15, 2.0)}[name]:
        platform = widened(name, factor)
        for key, count in compared(tiny, platform, 24, 3).items():
            seen[key] += count
    assert seen["fits"] > 10 and seen["errors"] > 10
    # None of them was planned as a whole.
    monkeypatch.setattr(HardwareCosts, "plan_directly", lambda *_: pytest.fail("planned directly"))
    costs, rng = HardwareCosts(tiny, widened(name, 2.0), 16), random.Random(3)
    found = [outcome(lambda: costs.plan(drawn(tiny, rng, wild=True), 4)) for _ in range(12)]
    assert any(len(each) == 4 for each in found)
    monkeypatch.setattr(HardwareCosts, "plan_directly", directly)


@pytest.mark.parametrize("name", ["falcon", "mamba", "gpt2", "mixtral"])
def test_plans_of_other_families(name: str) -> None:
    """Without projections of their own, without units, with biases, with experts."""
    graph = captured_mixture(name) if name == "mixtral" else captured(name)
    for platform in PLATFORMS:
        assert compared(graph, widened(platform, 100), 5, 4)["fits"] > 0


def test_a_report_of_a_plan_is_that_of_its_assignment(tiny: Graph) -> None:
    costs = HardwareCosts(tiny, load_platform("asap7"), 16)
    formats = drawn(tiny, random.Random(5), wild=False)
    plan = costs.plan(formats, 4, 0.5)
    assert plan.lanes  # sizes that a budget has room for, not the smallest ones
    again = costs.report(Assignment("tiny", formats, plan.arrays, lanes=plan.lanes))
    assert plan.report == again  # rows of nodes too, which are made for this
    formats.clear()
    assert plan.report.nodes.keys() == again.nodes.keys()  # what has been planned does not follow its formats


def test_what_is_refused(tiny: Graph) -> None:
    costs = HardwareCosts(tiny, load_platform("asap7"), 16)
    formats = drawn(tiny, random.Random(5), wild=False)
    with pytest.raises(NoHardwareError):
        costs.plan({}, 4)
    with pytest.raises(InputError, match=r"share must be above 0 and at most 1, not 1\.5"):
        costs.plan(formats, 4, 1.5)
    with pytest.raises(InputError, match="arrays need rows of at least 1, not 0"):
        costs.plan(formats, 0)


def test_kept_shapes_are_bounded(tiny: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "_MOST_SHAPES", 1)
    compared(tiny, load_platform("asap7"), 4, 6)
    monkeypatch.setattr(compose, "_MOST", 1)
    compared(tiny, load_platform("asap7"), 4, 6)


def test_a_design_that_is_no_row_of_records_is_planned_as_a_whole(tiny: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that looks at another node's format contradicts its record, and is found out."""
    rule = structure_steps._RULES["act"]
    other = next(info for info in tiny.weighted if info.name.endswith("layers.0.self_attn.o_proj"))

    def looks(steps: structure_steps.Steps, group: structure_steps.Group) -> None:
        before = steps.bits.copy()
        rule(steps, group)
        if steps.choices.formats.get(f"{other.name}:weight") == "bitmod3":
            name = next(name for name in steps.steps if name not in before)
            steps.steps[f"{name}.more"] = steps.steps[name]

    monkeypatch.setitem(structure_steps._RULES, "act", looks)
    monkeypatch.setattr(structure_steps, "_key", lambda steps, group: object())  # nothing made before is repeated
    costs = HardwareCosts(tiny, load_platform("asap7"), 16)
    formats = {key: {"weight": "bitmod4"}.get(site.operand, "int8-e8m0") for key, site in tiny.sites.items()}
    costs._planner.plan(formats, 2, 1.0)
    formats[f"{other.name}:weight"] = "bitmod3"
    with pytest.raises(compose.NotComposableError):
        costs._planner.plan(formats, 2, 1.0)
    expected = outcome(lambda: costs.plan_directly(formats, 2))
    assert outcome(lambda: costs.plan(formats, 2)) == expected
