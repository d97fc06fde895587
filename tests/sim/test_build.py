"""Builds are cached by content, survive a race, and say what the tools said when they fail."""

import shutil
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from mxhw.errors import InputError
from mxhw.sim import BuildError, build_simulator, default_cache
from tests.sim.toy import VERILOG, write_toy


def test_the_same_verilog_elsewhere_reuses_the_build_and_another_does_not(tmp_path: Path, cache: Path) -> None:
    first = build_simulator([write_toy(tmp_path / "a") / "toy.v"], "toy", cache=cache)
    again = build_simulator([write_toy(tmp_path / "b") / "toy.v"], "toy", cache=cache)
    assert again.reused
    assert again.executable == first.executable
    (tmp_path / "c.v").write_text(VERILOG.replace("8'd5", "8'd6"))
    other = build_simulator([tmp_path / "c.v"], "toy", cache=cache)
    assert other.executable != first.executable


def test_two_processes_that_build_at_once_share_one_result(tmp_path: Path, cache: Path) -> None:
    source = tmp_path / "toy.v"
    source.write_text(f"{VERILOG}// {uuid4()}\n")
    program = (
        "import sys; from pathlib import Path; from mxhw.sim import build_simulator\n"
        "made = build_simulator([Path(sys.argv[1])], 'toy', cache=Path(sys.argv[2]))\n"
        "print(made.reused, made.executable.parent)"
    )
    command = [sys.executable, "-c", program, str(source), str(cache)]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = sorted(racer.communicate(timeout=120)[0].split() for racer in racers)
    assert [reused for reused, _ in said] == ["False", "True"]
    (folder,) = {Path(place) for _, place in said}
    assert [file.name for file in folder.iterdir()] == ["simulator"]
    shutil.rmtree(folder)


def test_wrong_verilog_is_refused_with_the_tool_s_own_words(tmp_path: Path, cache: Path) -> None:
    source = tmp_path / "wrong.v"
    source.write_text("module wrong (input clk); assign nothing = unknown; endmodule\n")
    with pytest.raises(BuildError, match="unknown"):
        build_simulator([source], "wrong", cache=cache)


def test_an_absent_source_and_an_unwritable_cache_are_input_errors(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read the Verilog file .*absent\.v"):
        build_simulator([tmp_path / "absent.v"], "toy", cache=cache)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write to the build cache .*MXHW_CACHE"):
        build_simulator([write_toy(tmp_path / "a") / "toy.v"], "toy", cache=tmp_path / "file")


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    monkeypatch.delenv("MXHW_CACHE", raising=False)
    assert default_cache() == Path("/somewhere/mxhw/sim")
    monkeypatch.setenv("MXHW_CACHE", "/elsewhere")
    assert default_cache() == Path("/elsewhere/sim")
