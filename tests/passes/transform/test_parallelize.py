"""Arrays never exceed the budget, and the records in the graph are those of the report."""

import pytest

from mxhw.errors import InputError
from mxhw.hardware import load_platform
from mxhw.ir import Assignment, Graph
from mxhw.passes.analysis import evaluate_hardware
from mxhw.passes.transform import Parallelize, ParallelizeConfig


def config(uniform, platform, **changes) -> ParallelizeConfig:
    assignment = uniform("bitmod4", "int8-e8m0", "int8-e8m0")
    return ParallelizeConfig(**{"assignment": assignment, "platform": platform, "sequence": 16, "rows": 4} | changes)


def test_records_arrays_and_report_agree(tiny: Graph, uniform) -> None:
    platform = load_platform("asap7")
    made = config(uniform, platform)
    result = Parallelize(made)(tiny)
    arrays = {name: tuple(size) for name, size in result.report["arrays"].items()}
    assignment = Assignment("tiny", made.assignment.formats, arrays, lanes=result.report["lanes"])
    again = evaluate_hardware(tiny, assignment, platform, 16)
    assert again.totals() == {key: result.report[key] for key in again.totals()}
    for info in result.graph.gemms:
        hardware = info.hardware
        assert hardware is not None
        assert (hardware.parallelism["rows"], hardware.parallelism["columns"]) == arrays.get(info.name, (1, 1))
        assert hardware.initiation_interval == again.nodes[info.name]["cycles"]
        assert hardware.energy == pytest.approx(sum(again.nodes[info.name]["energy"].values()) * 1e-12)
    assert all(info.hardware is None for info in tiny.gemms)


@pytest.mark.parametrize("share", [0.3, 0.6, 1.0])
def test_never_over_budget_and_never_slower_with_more(tiny: Graph, uniform, share: float) -> None:
    platform = load_platform("asap7").with_budget(area=3e5)
    report = Parallelize(config(uniform, platform, share=share))(tiny).report
    assert report["resources"]["area"] <= 3e5 * share
    whole = Parallelize(config(uniform, platform))(tiny).report
    assert whole["interval"] <= report["interval"]


def test_too_small_a_platform_says_need_and_budget(tiny: Graph, uniform) -> None:
    platform = load_platform("asap7").with_budget(area=100)
    with pytest.raises(InputError, match=r"'asap7' is too small: the design needs [\d,]+ um2 \(area\) of 100"):
        Parallelize(config(uniform, platform))(tiny)


def test_fpga_budget_counts_every_resource(tiny: Graph, uniform) -> None:
    platform = load_platform("zu7ev").with_budget(lut=150_000, bram=60)
    report = Parallelize(config(uniform, platform))(tiny).report
    assert report["resources"]["lut"] <= 150_000
    assert report["resources"]["bram"] <= 60
    with pytest.raises(InputError, match=r"36 Kb block \(bram\) of 1"):
        Parallelize(config(uniform, platform.with_budget(bram=1), sequence=512))(tiny)
