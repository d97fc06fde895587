"""Cycles become time where a clock is known: after place and route, or else of the platform that was balanced for."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from mxhw.errors import InputError
from mxhw.sim.clocks import IMPLEMENTATION_FILE, Clock, Implementation, design_clocks, read_implementations
from mxhw.sim.dataflow_cosim import simulate_dataflow
from mxhw.sim.dataflow_design import DataflowDesign
from tests.sim.dataflow_toy import write_dataflow_toy

HASH = "1234567890abcdef" * 4
ROUTED = Implementation("ecp5", "core", None, 80.0, 1, 1, 1, 1, 1, 1, 1, 1, {})
COUNTED = Implementation("xilinx", "axi", 32, None, 1, 1, 1, 1, 1, 1, 1, 1, {})
PLATFORM = {"platform": "asap7", "clock_hz": 5e8}


def implement(folder: Path, *found: Implementation, design: str = HASH) -> None:
    families = {each.family: asdict(each) | {"microseconds": 1.0} for each in found}
    (folder / IMPLEMENTATION_FILE).write_text(json.dumps({"hash": design, "cycles": 27, "families": families}))


def test_the_clock_after_place_and_route_goes_before_the_platforms(tmp_path: Path) -> None:
    folder = write_dataflow_toy(tmp_path / "toy", hash=HASH)
    assert design_clocks(folder) == ()
    implement(folder, COUNTED, ROUTED)
    routed = (Clock(80e6, "ecp5, placed and routed"),)
    assert read_implementations(folder) == {"xilinx": COUNTED, "ecp5": ROUTED}
    assert design_clocks(folder) == routed
    write_dataflow_toy(folder, hash=HASH, **PLATFORM)
    assert design_clocks(folder) == routed
    implement(folder, COUNTED)
    assumed = (Clock(5e8, "clock of platform asap7"),)
    assert design_clocks(folder) == assumed
    implement(folder, ROUTED, design=HASH[::-1])
    assert read_implementations(folder) == {}
    assert design_clocks(folder) == assumed


@pytest.mark.parametrize(
    ("hz", "cycles", "words"),
    [
        (80e6, 27, "338 ns at 80 MHz"),
        (80e6, 8000, "100 µs at 80 MHz"),
        (82.84e6, 414_200, "5 ms at 82.8 MHz"),
        (1e9, 12e9, "12 s at 1,000 MHz"),
        (5e8, 1e12, "2,000 s at 500 MHz"),
        (1e10, 1, "0.1 ns at 10,000 MHz"),
    ],
)
def test_times_are_said_in_a_unit_that_fits(hz: float, cycles: float, words: str) -> None:
    assert Clock(hz, "somewhere").words(cycles) == f"{words} (somewhere)"


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"hash": "HASH"}', '{"hash": "HASH", "families": {"ecp5": {}}}'])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    folder = write_dataflow_toy(tmp_path / "toy", hash=HASH)
    (folder / IMPLEMENTATION_FILE).write_text(text.replace("HASH", HASH))
    with pytest.raises(InputError, match=r"cannot read .*implementation.json: .*remove it and implement the design"):
        design_clocks(folder)


def test_a_co_simulation_has_the_time_of_its_cycles(tmp_path: Path) -> None:
    folder = write_dataflow_toy(tmp_path / "toy", hash=HASH, **PLATFORM)
    case = simulate_dataflow(folder, 0, 0.2, "bulk", None, None)
    assert case.clocks == (Clock(5e8, "clock of platform asap7"),)
    assert case.to_json()["clocks"] == [{"hz": 5e8, "source": "clock of platform asap7", "seconds": 27 / 5e8}]


def test_designs_of_before_have_no_platform_and_a_clock_has_one(tmp_path: Path) -> None:
    folder = write_dataflow_toy(tmp_path / "toy")
    record = json.loads((folder / "design.json").read_text())
    assert (record.pop("platform"), record.pop("clock_hz")) == (None, None)
    (folder / "design.json").write_text(json.dumps(record))
    assert DataflowDesign.load(folder).clock_hz is None
    for change, message in (
        ({"clock_hz": 5e8}, "platform and clock_hz belong together"),
        ({"platform": "asap7"}, "platform and clock_hz belong together"),
        ({"platform": "asap7", "clock_hz": 0.0}, "clock_hz: .*greater than 0"),
        ({"platform": "asap7", "clock_hz": "fast"}, "clock_hz: .*valid number"),
    ):
        (folder / "design.json").write_text(json.dumps(record | change))
        with pytest.raises(InputError, match=message):
            DataflowDesign.load(folder)
