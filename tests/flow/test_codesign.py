"""The whole chain on a tiny model: everything that a run promises to leave is there, true, and consistent."""

import json
import shutil
from pathlib import Path

import optuna
import pytest

from mxhw.errors import InputError
from mxhw.flow import codesign, load_config
from mxhw.hardware import load_platform
from mxhw.ir import Assignment
from mxhw.models import capture
from mxhw.passes.analysis import evaluate_hardware, ledger
from mxhw.passes.search.record import read_records
from mxhw.report import write_report
from mxhw.report.results import CHOSEN, load_results
from mxhw.sim.cosim import find_designs, run_cosim
from mxhw.sim.dataflow import DataflowDesign
from tests.tiny_run import TinyRun

pytestmark = pytest.mark.xdist_group("codesign")


def test_it_leaves_what_it_promises(tiny_run: TinyRun) -> None:
    names = {path.name for path in tiny_run.out.iterdir()}
    assert names >= {
        "assignment.json", "config.toml", "cosim.json", "front.svg", "report.html", "results.json", "rtl", "study.db",
    }  # fmt: skip
    assert not [name for name in names if name.startswith(".") or name.endswith(".new")]
    assert load_results(tiny_run.out).model_dump_json() == tiny_run.results.model_dump_json()


def test_a_block_of_both_families_is_simulated_and_equal(tiny_run: TinyRun) -> None:
    report = json.loads((tiny_run.out / "cosim.json").read_text())
    assert report == json.loads(json.dumps(tiny_run.results.cosim))
    assert {design["name"] for design in report["designs"]} == {"bitmod", "dialect"}
    assert report["mismatches"] == 0
    for design in report["designs"]:
        free, stalled = design["free"], design["stalled"]
        assert free["equal"] and stalled["equal"]
        assert free["cycles"] == free["predicted_cycles"]
        assert stalled["cycles"] > free["cycles"]
        assert all(step["moved"] == step["beats"] > 0 for step in free["steps"])
    for design in tiny_run.results.designs:
        kinds = [step.kind for step in design.block]
        assert kinds.count("linear") == 7
        assert {"rms_norm", "rope", "attention_scores", "attention_weights", "attention_values"} <= set(kinds)


def test_the_block_has_the_formats_and_columns_of_the_design(tiny_run: TinyRun) -> None:
    for design in tiny_run.results.designs:
        emitted = DataflowDesign.load(tiny_run.out / "rtl" / design.family)
        assignment = Assignment.load(tiny_run.out / design.assignment)
        for step in emitted.steps:
            if step.kind == "linear":
                assert (step.parallelism["rows"], step.parallelism["columns"]) == assignment.array(step.node)
        assert emitted.tokens % 2 == 0  # the arrays take two tokens at once


def test_the_stated_costs_are_those_of_the_saved_assignments(tiny_run: TinyRun) -> None:
    graph = capture(tiny_run.config.parent / "model", sequence=32)
    platform_budget = tiny_run.results.config["platform"]["budget"]["area"]
    for design in tiny_run.results.designs:
        assignment = Assignment.load(tiny_run.out / design.assignment)
        assert ledger(graph, assignment, sequence=16).bits_per_weight == design.weight_bits
        assert design.area <= platform_budget
        # Norms, activations, the embedding and what connects units are charged beside the nodes that multiply.
        assert 0 < sum(node.area for node in design.nodes) < design.area
        assert 0 < sum(node.energy or 0.0 for node in design.nodes) < design.energy
        assert 0 < max(node.cycles for node in design.nodes) <= design.interval
        again = evaluate_hardware(graph, assignment, load_platform("asap7"), 16)
        assert (again.interval, again.energy) == (design.interval, pytest.approx(design.energy))
        assert again.resources["area"] == pytest.approx(design.area)
        assert design.hardware_coverage == 1.0
        assert {node.node for node in design.nodes} == {info.name for info in graph.gemms}


def test_hardware_arithmetic_is_close_to_float_emulation(tiny_run: TinyRun) -> None:
    for design in tiny_run.results.designs:
        assert design.arithmetic == "integer"
        assert design.hardware.perplexity == pytest.approx(design.emulated.perplexity, rel=0.01)
        assert design.hardware.tokens == 6 * 31


def test_the_front_is_scored_on_the_test_text(tiny_run: TinyRun) -> None:
    front = [point for point in tiny_run.results.points if point.on_front]
    assert front
    assert all(point.test is not None for point in front)
    chosen = tiny_run.results.design(CHOSEN)
    test = next(point.test for point in tiny_run.results.points if point.trial == chosen.trial)
    assert test is None or test.perplexity == chosen.emulated.perplexity


def test_the_study_opens_in_optuna(tiny_run: TinyRun) -> None:
    study = optuna.load_study(study_name="mxhw", storage=f"sqlite:///{tiny_run.out / 'study.db'}")
    whole = [record for record in read_records(study) if record.state == "complete"]
    assert len(whole) == len(tiny_run.results.points)
    assert {record.number for record in whole} == {point.trial for point in tiny_run.results.points}


def test_a_second_run_keeps_every_trial_and_finds_the_same(tiny_run: TinyRun, tmp_path: Path) -> None:
    out = tiny_run.continued(tmp_path)
    again = codesign(load_config(tiny_run.config), out)
    assert [point.trial for point in again.points] == [point.trial for point in tiny_run.results.points]
    assert [design.nodes for design in again.designs] == [design.nodes for design in tiny_run.results.designs]
    assert again.seconds["search"] < 60


def test_another_search_is_refused_and_touches_nothing(tiny_run: TinyRun, tmp_path: Path) -> None:
    config = load_config(tiny_run.config)
    other = config.model_copy(update={"search": config.search.model_copy(update={"objectives": ("kl", "area")})})
    out = tiny_run.continued(tmp_path)
    with pytest.raises(InputError, match=r"is of another search: objectives was .* and is"):
        codesign(other, out)
    assert [path.name for path in out.iterdir()] == ["study.db"]


def test_the_report_stands_alone_and_says_what_was_found(tiny_run: TinyRun) -> None:
    page = (tiny_run.out / "report.html").read_text()
    assert 'src="http' not in page
    assert "<link" not in page
    assert tiny_run.results.command in page
    assert f"All {tiny_run.results.cosim['outputs']:,} outputs" in page
    for design in tiny_run.results.designs:
        assert f"{design.hardware.perplexity:.4f}" in page


def test_the_report_does_not_call_a_mismatch_equal(tiny_run: TinyRun, tmp_path: Path) -> None:
    cosim = json.loads(json.dumps(tiny_run.results.cosim))
    cosim["designs"][0]["equal"], cosim["mismatches"] = False, 3
    write_report(tiny_run.results.model_copy(update={"cosim": cosim}), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "3 of " in page
    assert "<td class='no'>no</td>" in page
    assert "bit for bit" not in page


def test_a_flipped_bit_in_an_emitted_image_is_caught_by_cosim(tiny_run: TinyRun, tmp_path: Path) -> None:
    found = find_designs(tiny_run.out)[0]
    copy = Path(shutil.copytree(found, tmp_path / found.name))
    step = next(step for step in DataflowDesign.load(copy).steps if step.kind == "linear")
    image = next((copy / "images").glob(f"{step.stream}.weights*"))
    words = image.read_text().split()
    words[1] = f"{int(words[1], 16) ^ 1:0{len(words[1])}x}"
    image.write_text("\n".join(words) + "\n")
    (case,) = run_cosim(copy).designs
    assert not case.passed
    assert case.free.first is not None
    assert case.free.first.name == step.name
