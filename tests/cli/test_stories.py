"""A real Llama, from its folder to a checkpoint for other software: capture, evaluate, export, evaluate again."""

from collections.abc import Callable
from pathlib import Path

import pytest

import mxhw
from mxhw.ir import Assignment
from tests.cli.conftest import Ran

Command = Callable[..., Ran]
TEXT = "Once upon a time there was a little girl named Lily. She liked to play in the park with her dog. " * 40


@pytest.fixture
def stories(shared: Path) -> Path:
    folder = shared / "models" / "stories260K"
    if not folder.is_dir():
        pytest.skip("needs ../shared/models/stories260K, which is not here")
    return folder


def test_what_is_exported_scores_as_the_rounded_graph(mxhw_command: Command, stories: Path, tmp_path: Path) -> None:
    given, text, out = tmp_path / "assignment.json", tmp_path / "text.txt", tmp_path / "out"
    text.write_text(TEXT)
    graph = mxhw.capture(str(stories), sequence=64)
    weights = {site.key: "bitmod4-g64" for site in graph.sites.values() if site.operand == "weight"}
    Assignment("stories260K", weights).save(given)
    captured = mxhw_command("capture", stories, "--json").json
    assert captured["uncovered"]["mac_share"] == 0
    assert captured["macs"] == graph.macs(1, 128)
    scored = ("--text", text, "--context", "64", "--windows", "4", "--json")
    before = mxhw_command("evaluate", stories, "--assignment", given, *scored)
    assert before.code == 0, before.err
    ran = mxhw_command("export", stories, "--assignment", given, "--to", "native", "--out", out, "--json")
    assert ran.code == 0, ran.err
    after = mxhw_command("evaluate", out, *scored)
    assert after.code == 0, after.err
    rounded, exported = before.json["scores"]["float emulation"], after.json["scores"]["float model"]
    assert exported["perplexity"] == rounded["perplexity"]
    assert exported["perplexity"] != before.json["scores"]["float model"]["perplexity"]
