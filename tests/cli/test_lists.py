"""The commands that say what there is, and `--help` and `--json` of every command."""

from collections.abc import Callable
from typing import Any

import pytest

from mxhw.cli.app import COMMANDS
from mxhw.errors import InputError
from mxhw.flow.prepare import require_tools
from mxhw.formats import kernels, parse_format
from mxhw.passes import all_passes
from mxhw.sim import toolchain
from tests.cli.conftest import Ran

Command = Callable[..., Ran]
FLOW = {"edalize": "flow", "fusesoc": "flow", "cocotbext-axi": "dev"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example_and_json(mxhw_command: Command, name: str) -> None:
    ran = mxhw_command(name, "--help")
    assert ran.code == 0
    assert f"mxhw {name}" in ran.out
    assert "Example" in ran.out
    assert "--json" in ran.out


def test_formats_states_the_ledgers_bits(mxhw_command: Command) -> None:
    ran = mxhw_command("formats", "bitmod4", "int4-g128-asym", "--json")
    assert ran.code == 0
    for row in ran.json["formats"]:
        assert row["bits"] * 1024 * 4096 == parse_format(row["name"]).bits((1024, 4096))


def test_formats_lists_the_families(mxhw_command: Command) -> None:
    text = mxhw_command("formats").out
    assert all(name in text for name in ("bitmod4", "dialect4", "mxfp4", "fp32"))


def test_passes_lists_what_is_registered(mxhw_command: Command) -> None:
    names = {row["name"] for row in mxhw_command("passes", "--json").json["passes"]}
    assert names == {each.name for each in all_passes()}
    assert {"calibrate", "quantize", "parallelize", "evaluate", "search"} <= names


def test_platforms_gives_a_source_for_every_number(mxhw_command: Command) -> None:
    for platform in mxhw_command("platforms", "--json").json["platforms"]:
        assert platform["numbers"]
        assert all(number["source"] for number in platform["numbers"].values())


def test_doctor_finds_the_tools(mxhw_command: Command) -> None:
    ran = mxhw_command("doctor", "--json")
    assert ran.code == 0, ran.json["missing"]
    assert {"torch", "make", "g++", "verilator"} <= {tool["name"] for tool in ran.json["tools"]}


def test_doctor_names_the_kernels_and_can_do_without(mxhw_command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def row() -> Any:
        ran = mxhw_command("doctor", "--json")
        assert ran.code == 0, ran.json["missing"]
        return next(tool for tool in ran.json["tools"] if tool["name"] == "C kernels")

    assert row()["version"] == " ".join(kernels.available())
    monkeypatch.setattr(kernels, "available", tuple)
    assert not row()["found"]


def test_warnings_of_ours_are_one_line(mxhw_command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MXHW_KERNELS", raising=False)
    monkeypatch.setattr(kernels, "available", tuple)
    kernels._default.cache_clear()
    try:
        ran = mxhw_command("evaluate", "demo", "--windows", "1", "--context", "16", "--json")
    finally:
        kernels._default.cache_clear()
    assert ran.code == 0, ran.err
    warned = [line for line in ran.err.splitlines() if "kernels" in line]
    assert len(warned) == 1
    assert warned[0].startswith("mxhw: warning: mxhw's C kernels are not built")


def test_doctor_says_what_is_missing_and_fails(mxhw_command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    ran = mxhw_command("doctor", "--json")
    assert ran.code == 1
    assert {"make", "g++"} <= set(ran.json["missing"])


def test_version(mxhw_command: Command) -> None:
    assert mxhw_command("--version").out.startswith("mxhw ")


def test_an_absent_optional_tool_is_shown_but_no_fault(mxhw_command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    here = toolchain._package_version
    monkeypatch.setattr(toolchain, "_package_version", lambda name: "" if name == "pyosys" else here(name))
    require_tools()
    ran = mxhw_command("doctor", "--json")
    assert ran.code == 0
    absent = {tool["name"] for tool in ran.json["tools"] if not tool["found"]}
    assert absent - {"C kernels"} == {"pyosys"}
    monkeypatch.setattr(toolchain, "_package_version", lambda name: "" if name in FLOW else here(name))
    require_tools()
    ran = mxhw_command("doctor", "--json")
    assert ran.code == 0
    rows = {tool["name"]: tool for tool in ran.json["tools"]}
    for name, extra in FLOW.items():
        assert (rows[name]["found"], rows[name]["optional"]) == (False, True)
        assert rows[name]["install_hint"] == f"pip install 'mxhw[{extra}]'"
    assert "pip install 'mxhw[flow]'" in mxhw_command("doctor").out
    monkeypatch.setattr(toolchain, "_package_version", lambda name: "" if name == "pyyaml" else here(name))
    assert mxhw_command("doctor", "--json").json["missing"] == ["pyyaml"]
    monkeypatch.setattr(toolchain, "_package_version", lambda name: "" if name == "verilator" else here(name))
    assert mxhw_command("doctor", "--json").code == 1
    with pytest.raises(InputError, match="verilator is needed for co-simulation"):
        require_tools()
