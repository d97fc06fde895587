"""Stages: what a token meets side by side, and what it meets after that."""

from dataclasses import replace

from mxhw.hardware.cycles import design_cycles
from mxhw.hardware.machine.gathered import Gathering, gathered
from mxhw.hardware.machine.stages import stages
from tests.hardware.machine.models import TINY, llama


def test_a_block_has_five_stages() -> None:
    assert stages(llama().blocks[0].design) == (
        ("q_proj", "k_proj", "v_proj"),
        ("scores", "values"),
        ("o_proj",),
        ("gate_proj", "up_proj"),
        ("down_proj",),
    )


def test_a_router_stands_beside_its_experts_and_ends_have_one_stage() -> None:
    model = llama(replace(TINY, experts=4, active=2))
    assert stages(model.blocks[0].design)[3] == ("router", "gate_proj", "up_proj")
    assert stages(model.back) == (("lm_head",),)
    assert stages(model.front) == ()


def test_streams_of_experts_are_gathered_to_what_their_readers_take() -> None:
    """A fused product of gate and up, read in halves; sums of two experts that become one vector."""
    assert gathered(llama().blocks[0].design) == llama().blocks[0].design
    design = llama(replace(TINY, experts=4, active=2)).blocks[0].design
    up = design.steps["up_proj"]
    wide = replace(up, unit=replace(up.unit, n=2 * TINY.ffn))  # type: ignore[type-var]
    summed = replace(design.steps["down_proj"], unit=replace(design.steps["down_proj"].unit, active_experts=2))  # type: ignore[type-var]
    fused = replace(design, steps={**design.steps, "up_proj": wide, "down_proj": summed})
    joined = gathered(fused)
    added = {name: step.unit for name, step in joined.steps.items() if isinstance(step.unit, Gathering)}
    assert [(unit.given, unit.wanted) for unit in added.values()] == [
        (TINY.columns, 4),  # the router's columns, of which four are experts
        (4 * TINY.ffn, 2 * TINY.ffn),
        (2 * TINY.hidden, TINY.hidden),
    ]
    assert design_cycles(joined, 3).total > design_cycles(design, 3).total
