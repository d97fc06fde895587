"""Speeds of planned designs are those that the whole machine has, kept, for a block a layer and for shared blocks."""

import pytest

from mxhw.errors import InputError
from mxhw.hardware import load_platform
from mxhw.ir import Assignment, Graph
from mxhw.passes.analysis import HardwareCosts
from mxhw.passes.analysis import speed as speed_module
from mxhw.passes.analysis.model_cost import CostSettings, cost_model


@pytest.fixture()
def formats(tiny: Graph) -> dict[str, str]:
    kinds = {"weight": "bitmod4", "input": "int8-e8m0", "lhs": "int8-e8m0", "rhs": "int8-e8m0"}
    return {key: kinds[site.operand] for key, site in tiny.sites.items() if site.operand in kinds}


@pytest.mark.parametrize("folded", [False, True])
def test_a_speed_is_that_of_the_cost_command(tiny: Graph, formats: dict[str, str], folded: bool) -> None:
    costs = HardwareCosts(tiny, load_platform("asap7"), 16)
    plan = costs.plan(formats, 2, 0.6)
    assert plan.lanes
    found = costs.speed(plan, 12, 4, folded=folded)
    assignment = Assignment(tiny.signature.model, formats, plan.arrays, lanes=plan.lanes)
    cost = cost_model(tiny, assignment, costs.platform, CostSettings(prefill=12, decode=4, folded=folded)).cost
    assert found.prefill_seconds == cost.time_to_first_token > 0
    assert found.tokens_per_second == cost.tokens_per_second > 0
    assert found.decode_seconds * 4 == pytest.approx(cost.decode.seconds)
    assert found.decode_cycles == pytest.approx(found.decode_seconds * costs.platform.clock.value)
    assert found.energy_per_token * 1e-12 == pytest.approx(cost.decode.joules_per_token)
    assert found.bytes_per_token == cost.decode.bytes_per_token
    assert found.resources == cost.resources


def test_speeds_are_kept_and_computed_only_when_asked(tiny, formats, monkeypatch) -> None:
    asked = []
    made = speed_module.machine_of
    monkeypatch.setattr(speed_module, "machine_of", lambda *args, **kw: asked.append(1) or made(*args, **kw))
    costs = HardwareCosts(tiny, load_platform("asap7"), 16)
    plan = costs.plan(formats, 2, 0.6)
    assert not asked
    first = costs.speed(plan, 8, 2)
    assert costs.speed(Assignment("tiny", formats, plan.arrays, lanes=plan.lanes), 8, 2) is first
    assert len(asked) == 1
    more = costs.speed(plan, 8, 2, batch=3)
    assert len(asked) == 2 and more.tokens_per_second > first.tokens_per_second
    slow = costs.speed(costs.plan(formats, 2, 0.12), 8, 2)
    assert slow.prefill_seconds > first.prefill_seconds


def test_what_is_refused(tiny: Graph, formats: dict[str, str]) -> None:
    costs = HardwareCosts(tiny, load_platform("asap7"), 16)
    plan = costs.plan(formats, 2, 0.6)
    with pytest.raises(InputError, match="decode must be an integer of at least 1 token"):
        costs.speed(plan, 8, 0)
    without = {key: name for key, name in formats.items() if not key.startswith("lm_head")}
    with pytest.raises(InputError, match="lm_head"):
        costs.speed(Assignment("tiny", without, plan.arrays), 8, 2)
