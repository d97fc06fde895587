"""`mxhw cosim` on a hand-written layer and a whole design: both engines, waves, verdict and exit code."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mxhw.passes.emit.dataflow.emit import emit_dataflow
from mxhw.sim import CosimCase
from tests.cli.conftest import Ran
from tests.passes.emit.dataflow.graphs import drawn, mlp
from tests.sim import toy
from tests.sim.dataflow_toy import write_dataflow_toy
from tests.sim.faulty import flip_image_bit
from tests.sim.toy import write_toy

Command = Callable[..., Ran]


def test_bulk_says_the_same_as_the_record_and_writes_waves(mxhw_command: Command, tmp_path: Path) -> None:
    folder = write_toy(tmp_path / "toy")
    words = ("cosim", folder, "--engine", "bulk", "--stall", 0.5, "--seed", 4)
    ran = mxhw_command(*words, "--waves", tmp_path / "toy.vcd", "--json")
    assert ran.code == 0, ran.err
    assert ran.json == json.loads((folder / "cosim.json").read_text())
    assert set(ran.json) == {"outputs", "mismatches", "cases"}
    assert set(ran.json["cases"][0]) == set(CosimCase.__annotations__)
    assert ran.json["cases"][0]["cycles_stall_free"] == toy.BEATS + 1
    assert "x_payload" in (tmp_path / "toy.vcd").read_text()
    assert "equal, bit for bit" in mxhw_command(*words).out


def test_bulk_fails_on_a_fault_and_names_it(mxhw_command: Command, tmp_path: Path) -> None:
    folder = write_toy(tmp_path, fault=toy.WITHDRAWS)
    ran = mxhw_command("cosim", folder, "--engine", "bulk")
    assert ran.code == 1
    assert "y_valid was withdrawn before ready" in ran.out + ran.err
    assert "NOT equal" in ran.out + ran.err


def test_activity_is_counted_of_whole_designs(mxhw_command: Command, tmp_path: Path) -> None:
    write_toy(tmp_path / "layer")
    ran = mxhw_command("cosim", tmp_path / "layer", "--activity")
    assert ran.code == 2
    assert "activity is that of whole designs, of which" in ran.err
    assert not (tmp_path / "layer" / "cosim.json").exists()
    design = write_dataflow_toy(tmp_path / "block")
    ran = mxhw_command("cosim", design, "--activity", "--json")
    assert ran.code == 0, ran.err
    (found,) = ran.json["activity"]
    assert found == json.loads((design / "activity.json").read_text())
    assert 0 < found["total"]["rate"] < 1
    assert set(found["steps"]) >= {step["stream"] for step in json.loads((design / "design.json").read_text())["steps"]}
    assert all(step["bits"] for step in found["steps"].values())
    assert ran.json["energy"] == []  # a design by hand, which does not say what its components are
    ran = mxhw_command("cosim", design, "--activity", "--platform", "asap7")
    assert ran.code == 2
    assert "does not say what its components are, so that it has no energy; emit it again" in ran.err


def test_energy_has_every_term_as_assumed_and_as_measured(mxhw_command: Command, tmp_path: Path) -> None:
    graph = mlp()
    design = tmp_path / "design"
    emit_dataflow(graph, drawn(graph, 4), design, name="active")
    ran = mxhw_command("cosim", design, "--activity", "--platform", "sg13g2", "--json")
    assert ran.code == 0, ran.err
    (energy,) = ran.json["energy"]
    assert energy == json.loads((design / "energy.json").read_text())
    assert energy["platform"] == "sg13g2"
    assumed, measured = energy["assumed"]["terms"], energy["measured"]["terms"]
    assert assumed.keys() == measured.keys() >= {"logic", "static", "weights", "activations", "table"}
    assert 0 < measured["logic"] < assumed["logic"]
    assert all(measured[name] == assumed[name] for name in assumed if name != "logic")
    shown = mxhw_command("cosim", design, "--activity").out
    for words in ("energy of the run", "activity assumed", "measured", "0.5 toggles of a register bit", "weights"):
        assert words in shown
    ran = mxhw_command("cosim", design, "--platform", "asap7")
    assert ran.code == 2
    assert "--platform is that of the energy with measured activity; add --activity" in ran.err
    ran = mxhw_command("cosim", design, "--activity", "--platform", "asap")
    assert ran.code == 2
    assert "did you mean 'asap7'?" in ran.err


def test_a_whole_design_beside_a_layer_is_compared_step_by_step(mxhw_command: Command, tmp_path: Path) -> None:
    write_toy(tmp_path / "rtl" / "layer")
    design = write_dataflow_toy(tmp_path / "rtl" / "block")
    ran = mxhw_command("cosim", tmp_path, "--engine", "bulk", "--json", "--seed", 3)
    assert ran.code == 0, ran.err
    assert ran.json == json.loads((tmp_path / "cosim.json").read_text())
    assert (ran.json["outputs"], ran.json["mismatches"]) == (16 + 120, 0)
    (block,) = ran.json["designs"]
    assert (block["name"], block["equal"], block["free"]["cycles"]) == ("block", True, 27)
    assert block["stalled"]["cycles"] > 27
    flip_image_bit(design, "images/norm.hex", 3, 5)
    ran = mxhw_command("cosim", design)
    assert ran.code == 1
    for words in ("4 of 6 streams differ", "first difference: step layers.0.norm", "predicted 27 (+0", "NOT equal"):
        assert words in ran.out
    assert mxhw_command("cosim", design, "--json").json["designs"][0]["free"]["first"] == "layers.0.norm"


def test_cycles_are_also_said_as_time_where_a_clock_is_known(mxhw_command: Command, tmp_path: Path) -> None:
    write_dataflow_toy(tmp_path / "rtl" / "one")
    write_dataflow_toy(tmp_path / "rtl" / "two", platform="asap7", clock_hz=5e8)
    ran = mxhw_command("cosim", tmp_path, "--engine", "bulk", "--json")
    assert [len(design["clocks"]) for design in ran.json["designs"]] == [0, 1]
    out = mxhw_command("cosim", tmp_path, "--engine", "bulk").out
    assert "27 cycles, predicted 27 (+0.00%); with stalls" in out
    assert "27 cycles, predicted 27 (+0.00%); 54 ns at 500 MHz (clock of platform asap7); with stalls" in out
    assert "2 designs, 240 outputs, 0 mismatches: equal, bit for bit" in out
    assert "1 design, 120 outputs, " in mxhw_command("cosim", tmp_path / "rtl" / "one").out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--engine", "quick"), "'quick' is not one of"),
        (("--engine", "bulk", "--waves", "x.fst"), "must be a .vcd or .saif file"),
    ],
)
def test_unknown_engines_and_formats_are_refused(
    mxhw_command: Command, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    ran = mxhw_command("cosim", write_toy(tmp_path), *words)
    assert ran.code == 2
    assert message in ran.out + ran.err


def test_the_help_says_which_engine_is_which(mxhw_command: Command) -> None:
    shown = " ".join(mxhw_command("cosim", "--help").out.split())
    assert "cocotb|bulk" in shown
    assert "cocotb for layers" in " ".join(shown.replace("│", " ").split())
