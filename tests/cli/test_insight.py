"""Where an assignment hurts, and the page of a graph, from the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mxhw.ir import Assignment
from tests.cli.conftest import Ran

Command = Callable[..., Ran]
pytestmark = pytest.mark.xdist_group("codesign")
CULPRIT = "model.layers.0.mlp.down_proj"


@pytest.fixture
def model(tiny_config: Path) -> Path:
    return tiny_config.parent / "model"


@pytest.fixture
def words(model: Path, tiny_config: Path, tmp_path: Path) -> tuple[object, ...]:
    """`mxhw evaluate --per-node` of one node in few bits."""
    Assignment("tiny", {f"{CULPRIT}:weight": "int2", "lm_head:weight": "int8"}).save(tmp_path / "a.json")
    text = tiny_config.parent / "text.txt"
    return (
        *("evaluate", model, "--assignment", tmp_path / "a.json", "--text", text, "--context", 32, "--windows", 3),
        "--per-node",
    )


def test_per_node_names_the_worst_node(mxhw_command: Command, words: tuple[object, ...]) -> None:
    ran = mxhw_command(*words, "--arithmetic", "both", "--json")
    assert ran.code == 0, ran.err
    emulation, hardware = ran.json["per_node"]
    assert (emulation["of"], emulation["against"]) == ("float emulation", "float model")
    assert (hardware["of"], hardware["against"]) == ("hardware arithmetic", "float emulation")
    assert emulation["windows"] == 3
    assert [row["node"] for row in emulation["nodes"][:2]] == [CULPRIT, "lm_head"]
    assert emulation["nodes"][0]["local"]["sqnr_db"] < 15 < emulation["nodes"][1]["local"]["sqnr_db"]
    assert all(row["local"]["exact"] for row in emulation["nodes"][2:])
    assert all(row["accumulated"]["exact"] for row in hardware["nodes"])  # no unit has these formats
    json.dumps(ran.json, allow_nan=False)


def test_the_table_is_cut_at_top(mxhw_command: Command, words: tuple[object, ...]) -> None:
    shown = mxhw_command(*words, "--top", 1).out
    assert CULPRIT in shown
    assert "1 of " in shown
    assert "lm_head" not in shown
    everything = mxhw_command(*words, "--top", 0).out
    assert "model.embed_tokens" in everything
    assert "exact" in everything


def test_the_page_shows_errors_or_only_formats(
    mxhw_command: Command, words: tuple[object, ...], model: Path, tmp_path: Path
) -> None:
    ran = mxhw_command(*words, "--graph", tmp_path / "errors.html", "--json")
    assert ran.json["graph_page"] == str(tmp_path / "errors.html")
    page = (tmp_path / "errors.html").read_text()
    assert "float emulation against float model" in page
    assert "int2" in page
    ran = mxhw_command("capture", model, "--graph", tmp_path / "g.html", "--assignment", tmp_path / "a.json", "--json")
    assert ran.json["graph_page"] == str(tmp_path / "g.html")
    page = (tmp_path / "g.html").read_text()
    assert "int2" in page
    assert "against float model" not in page
    assert mxhw_command("capture", model, "--graph", tmp_path / "g.html").out.rstrip().endswith("g.html")
    assert "int2" not in (tmp_path / "g.html").read_text()


def test_options_that_do_not_fit_are_refused_before_the_work(
    mxhw_command: Command, words: tuple[object, ...], model: Path, tmp_path: Path
) -> None:
    absent = tmp_path / "absent" / "g.html"
    for refused, said in (
        ((*words, "--graph", absent), "cannot be written"),
        ((*words, "--graph", tmp_path), "is a folder"),
        ((*words[:-1], "--graph", tmp_path / "g.html"), "--per-node"),
        (("capture", model, "--graph", absent), "cannot be written"),
        (("capture", model, "--assignment", tmp_path / "a.json"), "--graph"),
        (("capture", model, "--graph", tmp_path / "g.html", "--assignment", tmp_path / "b.json"), "b.json"),
    ):
        ran = mxhw_command(*refused)
        assert ran.code == 2
        assert said in ran.err
        assert len(ran.err.strip().splitlines()) == 1
    assert not (tmp_path / "g.html").exists()
