"""The steps of the main job, each alone, on a tiny random model; and what their `--json` says."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mxhw.ir import Assignment, Graph
from mxhw.sim.cosim import find_designs
from tests.cli.conftest import Ran
from tests.tiny_run import TinyRun

Command = Callable[..., Ran]
pytestmark = pytest.mark.xdist_group("codesign")


@pytest.fixture
def model(tiny_config: Path) -> Path:
    return tiny_config.parent / "model"


@pytest.fixture
def text(tiny_config: Path) -> Path:
    return tiny_config.parent / "text.txt"


def test_capture_counts_and_saves(mxhw_command: Command, model: Path, tmp_path: Path) -> None:
    ran = mxhw_command("capture", model, "--sequence", 16, "--out", tmp_path / "graph", "--json")
    assert ran.code == 0, ran.err
    graph = Graph.load(tmp_path / "graph")
    assert ran.json["macs"] == graph.macs(1, 16) == sum(row["macs"] for row in ran.json["operations"])
    assert ran.json["macs_with_hardware"] == ran.json["macs"]
    assert "matrix products can have hardware: 100.00 %" in mxhw_command("capture", model).out


def test_evaluate_in_both_arithmetics(mxhw_command: Command, model: Path, text: Path) -> None:
    words = ("evaluate", model, "--text", text, "--context", 32, "--windows", 4, "--arithmetic", "both")
    ran = mxhw_command(*words, "--json")
    assert ran.code == 0, ran.err
    scores = ran.json["scores"]
    assert scores["float model"]["kl"] == 0
    assert scores["float model"]["agreement"] == 1
    exact, emulated = scores["hardware arithmetic"], scores["float emulation"]
    assert exact["perplexity"] == pytest.approx(emulated["perplexity"], rel=0.01)
    assert 0 < emulated["kl"] < 0.1
    assert ran.json["hardware_mac_coverage"] == 1
    assert 4 < ran.json["bits"]["bits_per_weight"] < 4.5
    assert ran.json["hardware"]["cycles"] > ran.json["hardware"]["interval"] > 0
    assert ran.json["hardware"]["energy"] > 0
    shown = mxhw_command(*words).out
    assert "true bits" in shown
    assert "on asap7, 32 tokens" in shown


def test_evaluate_of_formats_without_hardware_has_no_cost(
    mxhw_command: Command, model: Path, text: Path, tmp_path: Path
) -> None:
    Assignment("tiny", {"lm_head:weight": "int4-g128"}).save(tmp_path / "a.json")
    words = ("evaluate", model, "--assignment", tmp_path / "a.json", "--text", text, "--context", 32, "--windows", 2)
    assert mxhw_command(*words, "--json").json["hardware"] is None


def test_emit_cosim_and_report_of_one_layer(mxhw_command: Command, model: Path, text: Path, tmp_path: Path) -> None:
    out, node = tmp_path / "out", "model.layers.0.self_attn.k_proj"
    array = Assignment("tiny", {f"{node}:weight": "bitmod3", f"{node}:input": "int8-e8m0"}, {node: (2, 2)})
    array.save(tmp_path / "a.json")
    words = (
        "emit",
        model,
        "--assignment",
        tmp_path / "a.json",
        "--tokens",
        3,
        "--text",
        text,
        "--layers",
        "--out",
        out,
    )
    emitted = mxhw_command(*words, "--json")
    assert emitted.code == 0, emitted.err
    assert [layer["node"] for layer in emitted.json["layers"]] == [node]
    simulated = mxhw_command("cosim", out, "--json", "--seed", 5)
    assert simulated.code == 0, simulated.err
    assert simulated.json["outputs"] == 3 * 64
    assert simulated.json["mismatches"] == 0
    assert simulated.json == json.loads((out / "cosim.json").read_text())
    assert "equal, bit for bit" in mxhw_command("cosim", out).out
    assert mxhw_command("report", out).code == 0
    assert "All 192 outputs" in (out / "report.html").read_text()
    image = find_designs(out)[0] / "weights.hex"
    words_of = image.read_text().split()
    words_of[0] = f"{int(words_of[0], 16) ^ 2:0{len(words_of[0])}x}"
    image.write_text("\n".join(words_of) + "\n")
    wrong = mxhw_command("cosim", out)
    assert wrong.code == 1
    assert "NOT equal" in wrong.out
    assert "expected" in wrong.out
    assert "got" in wrong.out
    assert mxhw_command("report", out).code == 0
    assert "differ from the software" in (out / "report.html").read_text()


def test_search_goes_on_with_more_trials(
    mxhw_command: Command,
    tiny_run: TinyRun,
    tmp_path: Path,
) -> None:
    out = tiny_run.continued(tmp_path)
    ran = mxhw_command("search", tiny_run.config, "--out", out, "--trials", 7, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["trials"] == 7
    chosen = Assignment.load(out / "assignment.json")
    assert chosen.to_json() == ran.json["chosen"]["assignment"]


def test_codesign_ends_with_a_table_and_the_report(
    mxhw_command: Command,
    tiny_run: TinyRun,
    tmp_path: Path,
) -> None:
    out = tiny_run.continued(tmp_path)
    ran = mxhw_command("codesign", tiny_run.config, "--out", out)
    assert ran.code == 0, ran.err
    for words in ("perplexity, float model", "true bits a weight", "energy", "RTL equal", "yes", "report.html"):
        assert words in ran.out
    ran = mxhw_command("codesign", tiny_run.config, "--out", out, "--json")
    assert ran.json["rtl_equal"] is True
    assert ran.json["cosim"]["mismatches"] == 0
