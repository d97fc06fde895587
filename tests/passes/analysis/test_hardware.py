"""Hardware costs of an assignment: identities between nodes, totals and platforms, and honest gaps."""

from dataclasses import replace

import pytest

from mxhw.errors import InputError
from mxhw.formats import parse_format
from mxhw.hardware import load_platform
from mxhw.ir import Assignment, Graph
from mxhw.passes.analysis import HardwareCosts, evaluate_hardware


@pytest.fixture()
def design(tiny: Graph, uniform) -> Assignment:
    formats = uniform("bitmod4", "int8-e8m0", "int8-e8m0")
    return replace(formats, arrays={info.name: (4, 8) for info in tiny.gemms if info.op == "linear"})


def test_totals_hold_every_node_and_what_stands_between_them(tiny: Graph, design: Assignment) -> None:
    report = evaluate_hardware(tiny, design, load_platform("asap7"), 16)
    nodes = report.nodes.values()
    assert set(report.nodes) == {info.name for info in tiny.gemms}
    assert report.cycles > sum(node["cycles"] for node in nodes)
    assert report.interval >= max(node["cycles"] for node in nodes)
    # Norms, activations, sums, the embedding, forks and queues are charged beside the nodes that multiply.
    assert report.resources["area"] > sum(node["resources"]["area"] for node in nodes)
    assert report.energy == pytest.approx(sum(report.energies.values()))
    assert report.energy > sum(sum(node["energy"].values()) for node in nodes)
    assert report.edp == pytest.approx(report.energy * report.interval / 500e6)
    assert report.mac_coverage == 1


def test_weight_memory_bits_are_the_ledger_where_nothing_is_padded(tiny: Graph) -> None:
    key = "model.layers.0.self_attn.o_proj"  # [32, 32]: whole blocks, whole columns
    assignment = Assignment("tiny", {f"{key}:weight": "dialect4", f"{key}:input": "dialect4-online"}, {key: (4, 8)})
    report = evaluate_hardware(tiny, assignment, load_platform("asap7"), 16)
    memories = report.nodes[key]["memories"]
    assert memories["weights"] + memories["metadata"] == parse_format("dialect4").bits((32, 32))
    # Two row tiles of 8 beats: 4 rows of 4 codes and their metadata.
    assert memories["activations"] == 2 * 8 * 4 * (4 * 4 + 9)


def test_an_fpga_counts_its_own_resources(tiny: Graph, design: Assignment) -> None:
    report = evaluate_hardware(tiny, design, load_platform("zu7ev"), 16)
    assert all(report.resources[name] > 0 for name in ("lut", "ff", "dsp"))
    assert "area" not in report.resources


def test_lanes_of_an_assignment_count(tiny: Graph, design: Assignment) -> None:
    platform, step = load_platform("asap7"), "model.layers.0.mlp.act_fn"
    one, four = (
        evaluate_hardware(tiny, replace(design, lanes={step: lanes}), platform, 16).resources["area"]
        for lanes in (1, 4)
    )
    assert four > one
    with pytest.raises(InputError, match=r"step model.layers.0.mlp.act_fn: lanes must be a divisor of \d+, not 7"):
        evaluate_hardware(tiny, replace(design, lanes={step: 7}), platform, 16)


def test_nodes_without_hardware_are_named(tiny: Graph, design: Assignment) -> None:
    formats = dict(design.formats) | {"lm_head:weight": "int4-g32"}
    report = evaluate_hardware(tiny, replace(design, formats=formats), load_platform("asap7"), 16)
    assert report.without == ("lm_head",)
    assert 0 < report.mac_coverage < 1


def test_bad_designs_are_refused(tiny: Graph, design: Assignment) -> None:
    platform = load_platform("asap7")
    with pytest.raises(InputError, match="did you mean 'lm_head'"):
        evaluate_hardware(tiny, replace(design, arrays={"lm_hea": (4, 4)}), platform, 16)
    with pytest.raises(InputError, match="no node of this assignment has formats that a unit computes"):
        evaluate_hardware(tiny, replace(design, formats={}), platform, 16)


def test_a_plan_keeps_its_whole_budget(tiny: Graph, uniform) -> None:
    """Queues and forks that grow with the sizes chosen count, too: without that, some designs are beyond the budget."""
    formats = uniform("bitmod4", "int8-e8m0", "int8-e8m0").formats
    asap7 = load_platform("asap7")
    least = HardwareCosts(tiny, asap7, 16).need(formats, 4, 1e9)["area"]
    beyond = 0
    for factor in (1.02, 1.05, 1.1, 1.2, 1.35, 1.6, 2.0, 3.0):
        for share in (1.0, 0.9):
            area = factor * least / share
            costs = HardwareCosts(tiny, asap7.with_budget(area=area), 16)
            assert costs.plan(formats, 4, share).report.resources["area"] <= area * share
            beyond += costs._planned(formats, 4, share).report.resources["area"] > area * share
    assert beyond
