"""`mxhw synth DIR` implements an emitted design and shows what it takes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mxhw.passes.emit import flow
from mxhw.passes.emit.flow import Implementation
from tests.cli.conftest import Ran
from tests.sim.dataflow_toy import write_dataflow_toy

Command = Callable[..., Ran]
FOUND = Implementation("ecp5", "axi", 32, 81.25, 1360, 1912, 1114, 276, 3, 7, 12, 1, {})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, str, bool]]:
    """What was asked of synthesis, which gives the same figures every time."""
    calls: list[tuple[Path, str, bool]] = []

    def implement(folder: Path, family: str, *, route: bool) -> Implementation:
        calls.append((folder, family, route))
        return FOUND

    monkeypatch.setattr(flow, "implement_design", implement)
    return calls


def test_a_folder_is_implemented_on_every_family(
    mxhw_command: Command, asked: list[tuple[Path, str, bool]], tmp_path: Path
) -> None:
    folder = write_dataflow_toy(tmp_path / "toy")
    ran = mxhw_command("synth", folder, "--json")
    assert ran.code == 0, ran.err
    assert asked == [(folder, "ecp5", True)]
    assert ran.json["units"] == []
    assert ran.json["designs"][0]["clock_mhz"] == 81.25
    ran = mxhw_command("synth", folder, "--fpga", "xilinx", "--fpga", "ecp5", "--no-route")
    assert asked[1:] == [(folder, "xilinx", False), (folder, "ecp5", False)]
    assert all(word in ran.out for word in ("1,360", "81.2", "toy"))


def test_a_folder_without_a_design_is_no_unit(mxhw_command: Command, tmp_path: Path) -> None:
    ran = mxhw_command("synth", tmp_path)
    assert ran.code == 2
    assert "no unit" in ran.err
    assert ran.err.count("\n") == 1
