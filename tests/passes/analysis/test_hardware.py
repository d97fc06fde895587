"""Hardware costs of an assignment: identities between nodes, totals and platforms, and honest gaps."""

from dataclasses import replace

import pytest

from mxhw.errors import InputError
from mxhw.hardware import load_platform
from mxhw.ir import Assignment, Graph
from mxhw.passes.analysis import evaluate_hardware


@pytest.fixture()
def design(tiny: Graph, uniform) -> Assignment:
    formats = uniform("bitmod4", "int8-e8m0", "int8-e8m0")
    return replace(formats, arrays={info.name: (4, 8) for info in tiny.gemms})


def test_totals_are_sums_over_nodes(tiny: Graph, design: Assignment) -> None:
    report = evaluate_hardware(tiny, design, load_platform("asap7"), 16)
    nodes = report.nodes.values()
    assert set(report.nodes) == {info.name for info in tiny.gemms}
    assert report.cycles == sum(node["cycles"] for node in nodes)
    assert report.interval == max(node["cycles"] for node in nodes)
    parts = sum(sum(node["logic"].values()) + sum(node["memory"].values()) for node in nodes)
    assert report.resources == {"area": pytest.approx(parts)}
    assert report.energy == pytest.approx(sum(sum(node["energy"].values()) for node in nodes))
    assert report.edp == pytest.approx(report.energy * report.interval / 500e6)
    assert report.mac_coverage == 1


def test_weight_memory_bits_are_the_ledger_where_nothing_is_padded(tiny: Graph) -> None:
    key = "model.layers.0.self_attn.o_proj"  # [32, 32]: whole blocks, whole columns
    assignment = Assignment("tiny", {f"{key}:weight": "dialect4", f"{key}:input": "dialect4-online"}, {key: (4, 8)})
    node = evaluate_hardware(tiny, assignment, load_platform("asap7"), 16).nodes[key]
    from mxhw.formats import parse_format

    buffer = 2 * 8 * 4 * (4 * 4 + 9)  # two row tiles of 8 beats: 4 rows of 4 codes and their metadata
    assert node["memory_bits"] == parse_format("dialect4").bits((32, 32)) + buffer


def test_fpga_has_luts_and_blocks_and_says_that_energy_is_unknown(tiny: Graph, design: Assignment) -> None:
    report = evaluate_hardware(tiny, design, load_platform("zu7ev"), 16)
    assert report.energy is None
    assert report.edp is None
    assert report.resources["lut"] > 0
    assert report.resources["dsp"] == 0


def test_nodes_without_hardware_are_named(tiny: Graph, design: Assignment) -> None:
    formats = dict(design.formats) | {"lm_head:weight": "int4-g32"}
    report = evaluate_hardware(tiny, replace(design, formats=formats), load_platform("asap7"), 16)
    assert report.without == ("lm_head",)
    assert 0 < report.mac_coverage < 1


def test_bad_designs_are_refused(tiny: Graph, design: Assignment) -> None:
    platform = load_platform("asap7")
    with pytest.raises(InputError, match="did you mean 'lm_head'"):
        evaluate_hardware(tiny, replace(design, arrays={"lm_hea": (4, 4)}), platform, 16)
    with pytest.raises(InputError, match="no GEMM node of this assignment"):
        evaluate_hardware(tiny, replace(design, arrays={}), platform, 16)
