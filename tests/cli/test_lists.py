"""The commands that say what there is, and `--help` and `--json` of every command."""

from collections.abc import Callable

import pytest

from mxhw.cli.app import COMMANDS
from mxhw.errors import InputError
from mxhw.flow.prepare import require_tools
from mxhw.formats import parse_format
from mxhw.passes import all_passes
from mxhw.sim import toolchain
from tests.cli.conftest import Ran

Command = Callable[..., Ran]


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
    assert [tool["name"] for tool in ran.json["tools"] if not tool["found"]] == ["pyosys"]
    monkeypatch.setattr(toolchain, "_package_version", lambda name: "" if name == "verilator" else here(name))
    assert mxhw_command("doctor", "--json").code == 1
    with pytest.raises(InputError, match="verilator is needed for co-simulation"):
        require_tools()
