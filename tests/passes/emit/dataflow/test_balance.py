"""Parallelism under a budget, and the estimates of resources that it counts with."""

import re
from itertools import pairwise

import pytest

from mxhw.errors import InputError
from mxhw.hardware import load_platform
from mxhw.passes.emit.dataflow.balance import balance, step_options
from mxhw.passes.emit.dataflow.place import place_graph
from mxhw.passes.emit.dataflow.resources import fifo_resources, step_resources
from mxhw.passes.emit.dataflow.schedule import step_interval
from tests.passes.emit.dataflow.blocks import BlockShape, decoder_block
from tests.passes.emit.dataflow.graphs import mlp

ASAP7, ECP5 = load_platform("asap7"), load_platform("ecp5-85")


@pytest.mark.parametrize("area", [8_000, 9_000, 12_000])
def test_the_interval_is_the_smallest_that_fits(area: int) -> None:
    graph, platform = mlp(), ASAP7.with_budget(area=area)
    found = balance(graph, platform)
    assert found.total["area"] <= area
    placed = place_graph(graph, found.parallelism)
    for name, step in graph.steps.items():
        assert step_interval(step.operation, placed[name]) == found.intervals[name] <= found.interval
    # Every step as small as the next smaller interval allows is too much, or some step is not that quick at all.
    options = {name: step_options(step, platform) for name, step in graph.steps.items()}
    quicker = [[o for o in each if o.interval < found.interval] for each in options.values()]
    if all(quicker):
        least = sum(min(o.resources["area"] for o in each) for each in quicker)
        assert least + found.resources[""]["area"] > area


def test_more_room_is_never_slower() -> None:
    intervals = [balance(mlp(), ASAP7.with_budget(area=area)).interval for area in (8_000, 9_000, 12_000)]
    assert all(before >= after for before, after in pairwise(intervals))
    assert intervals[0] > intervals[-1]


def test_a_design_that_exceeds_its_platform_says_which_resource_and_by_how_much() -> None:
    with pytest.raises(
        InputError, match=r"exceeds platform 'asap7'.* um2 \(area\), \d+% above the 1,000 that may be used"
    ):
        balance(mlp(), ASAP7.with_budget(area=1000))
    with pytest.raises(InputError, match=r"MULT18X18D \(dsp\)") as error:
        balance(mlp(), ECP5.with_budget(dsp=4))
    assert not re.search(r"\(lut\)|\(bram\)", str(error.value))


def test_weights_behind_a_port_cost_cycles_and_no_memory() -> None:
    inside, behind = balance(mlp(), ASAP7), balance(mlp(), ASAP7, weight_port=8)
    # Three matrices of 16 x 24 codes of 8 bits, with at least as much beside the groups.
    assert behind.interval >= 3 * 16 * 24
    assert behind.interval > inside.interval


@pytest.mark.parametrize(("name", "value"), [("share", 0.0), ("share", 1.5), ("weight_port", 0)])
def test_impossible_limits_are_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=name):
        balance(mlp(), ASAP7, **{name: value})


def test_every_step_of_a_block_has_an_estimate_and_each_option_has_its_use() -> None:
    for step in decoder_block(BlockShape()).steps.values():
        options = step_options(step, ECP5)
        assert all(option.resources["lut"] > 0 for option in options), step.name
        for a, b in pairwise(options):
            assert a.interval >= b.interval, step.name
            assert any(a.resources[name] < b.resources[name] for name in ECP5.budget), step.name


def test_lanes_make_a_unit_larger_in_proportion() -> None:
    graph = mlp()
    areas = [
        step_resources(graph.steps["mlp.mul"].operation, place_graph(graph, {"mlp.mul": sizes})["mlp.mul"], ASAP7)[
            "area"
        ]
        for sizes in ({"lanes": 1}, {"lanes": 2}, {"lanes": 4})
    ]
    assert 1.5 < areas[1] / areas[0] <= 2  # what lanes share is counted once
    assert 1.5 < areas[2] / areas[1] <= 2


def test_deep_fifos_take_block_memories() -> None:
    graph = mlp()
    placed = place_graph(graph)
    edge = ("mlp.act", "mlp.mul")
    short, deep = (fifo_resources(graph, placed, {edge: depth}, ECP5) for depth in (2, 4096))
    assert short["bram"] == 0
    assert deep["bram"] >= 4096 * placed["mlp.act"].output.bits / 18432
