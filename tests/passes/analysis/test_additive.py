"""Costs that add up are those of whole designs where units share nothing, and say what a plan finds."""

import random
from math import inf

import pytest

from mxhw.errors import InputError
from mxhw.hardware import load_platform
from mxhw.ir import Graph
from mxhw.passes.analysis import HardwareCosts
from mxhw.passes.analysis.additive import additive_costs

WEIGHTS = ("bitmod4", "bitmod3", "int6-g128-s8")
STREAMS = ("int8-e8m0", "dialect4-online")


def formats_of(graph: Graph) -> dict[str, str]:
    return {
        key: "bitmod4" if site.operand == "weight" else "int8-e8m0"
        for key, site in graph.sites.items()
        if site.operand != "cache"
    }


def by_weight(graph: Graph) -> list[list[dict[str, str]]]:
    return [[{f"{info.name}:weight": name} for name in WEIGHTS] for info in graph.weighted]


def by_node(graph: Graph, names: list[str]) -> list[list[dict[str, str]]]:
    """Return candidates of nodes that choose inputs, too."""
    both = (("bitmod3", STREAMS[0]), ("dialect4", STREAMS[1]))
    return [[{f"{name}:weight": w, f"{name}:input": x} for w, x in both] for name in names]


def worst(costs: HardwareCosts, choices, formats, pace: float, draws: int = 12) -> float:
    """Return the largest relative difference of sums and whole designs."""
    rng, table = random.Random(1), costs.additive(choices, formats, 4, pace)
    found = 0.0
    for _ in range(draws):
        choice = [rng.randrange(len(each)) for each in choices]
        chosen = dict(formats)
        for candidates, number in zip(choices, choice, strict=True):
            chosen |= candidates[number]
        true = costs.need(chosen, 4, pace)
        total = table.total(choice)
        assert true.keys() == total.keys()
        found = max(found, *(abs(total[name] - true[name]) / max(true[name], 1.0) for name in true))
    return found


@pytest.mark.parametrize("name", ["asap7", "zu7ev"])
def test_sums_are_those_of_whole_designs(tiny: Graph, name: str) -> None:
    costs = HardwareCosts(tiny, load_platform(name), 16)
    for pace in (40.0, 200.0, 1e5):
        assert worst(costs, by_weight(tiny), formats_of(tiny), pace) < 1e-12


def test_nodes_that_share_an_encoder_add_up_only_together(tiny: Graph) -> None:
    costs, block = HardwareCosts(tiny, load_platform("asap7"), 16), "model.layers.0.self_attn"
    names = [f"{block}.{each}_proj" for each in "qkv"]
    apart = by_node(tiny, names)
    together = [[apart[0][i] | apart[1][i] | apart[2][i] for i in range(2)]]
    assert worst(costs, together, formats_of(tiny), 200.0) < 1e-12
    assert 1e-12 < worst(costs, apart, formats_of(tiny), 200.0) < 0.05


def test_a_plan_has_a_pace_if_and_only_if_it_fits(tiny: Graph) -> None:
    rng, formats = random.Random(2), formats_of(tiny)
    loose = HardwareCosts(tiny, load_platform("asap7"), 16)
    seen = set()
    for _ in range(12):
        formats |= {key: value for unit in by_weight(tiny) for key, value in rng.choice(unit).items()}
        area = loose.need(formats, 4, 1e9)["area"] * rng.uniform(1.02, 1.6)
        tight = HardwareCosts(tiny, load_platform("asap7").with_budget(area=area), 16)
        plan = tight.plan(formats, 4)
        assert tight.need(formats, 4, plan.pace)["area"] <= area
        quicker = tight.need(formats, 4, plan.pace * (1 - 1e-9))
        whole = tight._planned(formats, 4, 1.0).report.resources["area"]  # what stands between steps has grown
        assert quicker is None or quicker["area"] > area or whole > area
        seen.add(plan.pace)
    assert len(seen) > 2


def test_what_cannot_keep_to_the_pace_is_infinite_or_refused(tiny: Graph) -> None:
    costs = HardwareCosts(tiny, load_platform("asap7"), 16)
    pace = 1.01 * min(pace for pace in (3, 6, 12, 24, 48, 96) if costs.need(formats_of(tiny), 4, pace))
    choices = [[{}, {"lm_head:weight": "bitmod4"}, {"lm_head:weight": "int6-g128-s8"}]]
    found = additive_costs(
        lambda each: None if each["lm_head:weight"] == "int6-g128-s8" else {"area": 7.0}, choices, formats_of(tiny), 5
    )
    assert found.costs == {"area": [[0.0, 0.0, inf]]} and found.fixed == {"area": 7.0}
    with pytest.raises(InputError, match=r"no formats keep to 0.001 cycles a token"):
        costs.additive(choices, formats_of(tiny), 4, 0.001)
    assert costs.additive(choices[:1], formats_of(tiny), 4, pace).costs["area"][0][1] == 0
