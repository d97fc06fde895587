"""Bad input is one line that names what and where, exit code 2, no traceback, and nothing is left behind."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Ran

Command = Callable[..., Ran]


def one_line(ran: Ran, *parts: str) -> None:
    assert ran.code == 2, ran
    lines = ran.err.strip().splitlines()
    assert len(lines) == 1, ran.err
    assert lines[0].startswith("mxhw: error: ")
    for part in parts:
        assert part in lines[0]


def config(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text)
    return path


def demo_copy(folder: Path, repository: Path) -> Path:
    return Path(shutil.copytree(repository / "mxhw" / "models" / "demo", folder / "model"))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("serach = 1", ("unknown key 'serach'", "did you mean 'search'")),
        ("[search]\nbitmod_weights = ['bitmod44']", ("[search]", "bitmod44: BitMoD has 3 or 4 bits")),
        ("[search]\nbitmod_weights = ['bitmd4']", ("[search]", "'bitmd4'", "did you mean 'bitmod4'")),
        ("[search]\nbitmod_weights = ['mxfp4']", ("no hardware unit multiplies 'int8-e8m0' by 'mxfp4'",)),
        ("[platform]\nname = 'asap8'", ("no platform 'asap8'", "did you mean 'asap7'")),
        ("[platform]\nbudget = { luts = 5 }", ("no budget 'luts'",)),
        ("[platform]\nbudget = { area = 50 }", ("50", "um2")),
        ("model = 'nowhere/at-all'", ("'nowhere/at-all'",)),
        ("[data]\ntest = 'no.txt'", ("'no.txt'",)),
        ("[data]\ncontext = 512\nsearch_windows = 4000", ("[data]", "64 windows of 512, fewer than 4000")),
        ("[platform]\nname = 'zu7ev'\n[search]\nobjectives = ['kl', 'energy']", ("'energy'", "'zu7ev'")),
    ],
)
def test_a_bad_config_leaves_nothing(
    mxhw_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, parts: tuple[str, ...]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    out = tmp_path / "out"
    one_line(mxhw_command("codesign", config(tmp_path, text), "--out", out), *parts)
    assert not out.exists()


def test_a_model_without_weights(mxhw_command: Command, tmp_path: Path, repository: Path) -> None:
    model = demo_copy(tmp_path, repository)
    (model / "model.safetensors").unlink()
    one_line(mxhw_command("capture", model), str(model), "safetensors")


def test_a_truncated_safetensors_file(mxhw_command: Command, tmp_path: Path, repository: Path) -> None:
    weights = demo_copy(tmp_path, repository) / "model.safetensors"
    size = weights.stat().st_size
    weights.write_bytes(weights.read_bytes()[:-1000])
    one_line(mxhw_command("evaluate", weights.parent), "model.safetensors", str(size - 1000), str(size))


def test_an_unknown_format_in_an_assignment(mxhw_command: Command, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    given = {"mxhw_assignment": 1, "model": "demo", "formats": {"lm_head:weight": "bitmd4"}}
    path.write_text(json.dumps(given))
    one_line(mxhw_command("evaluate", "demo", "--assignment", path), "lm_head:weight", "'bitmd4'", "did you mean")
    given["formats"] = {"lm_haed:weight": "bitmod4"}
    path.write_text(json.dumps(given))
    one_line(mxhw_command("cost", "demo", "--assignment", path), "'lm_haed:weight'", "did you mean 'lm_head:weight'")


def test_a_storage_file_of_another_program(mxhw_command: Command, tmp_path: Path, repository: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "study.db").write_bytes(b"not a database")
    one_line(mxhw_command("search", repository / "examples" / "demo.toml", "--out", out, "--trials", 1), "study.db")
    (out / "study.db").unlink()
    with sqlite3.connect(out / "study.db") as other:
        other.execute("create table t (x)")
    one_line(mxhw_command("search", repository / "examples" / "demo.toml", "--out", out, "--trials", 1), "study.db")
    assert [path.name for path in out.iterdir()] == ["study.db"]


def test_without_a_compiler(mxhw_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    out = tmp_path / "out"
    one_line(mxhw_command("codesign", config(tmp_path, ""), "--out", out), "needed for", "install")
    assert not out.exists()


@pytest.mark.parametrize("command", ["cosim", "report"])
def test_a_folder_that_holds_nothing(mxhw_command: Command, tmp_path: Path, command: str) -> None:
    one_line(mxhw_command(command, tmp_path), str(tmp_path))
    one_line(mxhw_command(command, tmp_path / "none"), str(tmp_path / "none"))


def test_an_unknown_node_is_named(mxhw_command: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    one_line(mxhw_command("emit", "demo", "--node", "lm_hed", "--out", out), "'lm_hed'", "did you mean 'lm_head'")
    assert not out.exists()


def test_a_usage_error_is_code_2(mxhw_command: Command) -> None:
    ran = mxhw_command("evaluate")
    assert ran.code == 2
    assert "MODEL" in ran.err


def test_ctrl_c_says_that_work_is_kept(mxhw_command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mxhw.formats.known_formats", stop)
    ran = mxhw_command("formats")
    assert ran.code == 130
    assert "mxhw: stopped; what was finished is kept" in ran.err
