"""The emitted Verilog: flat ports, one text per kind of element, accepted by Verilator, and equal to the reference."""

import re
from functools import cache
from pathlib import Path

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring

from mxhw.arithmetic import dialect_widths
from mxhw.errors import InputError
from mxhw.rtl_templates import (
    BitModGemm,
    DialectGemm,
    GemmShape,
    StreamedBitModGemm,
    StreamedBlockGemm,
    component_verilog,
    gemm_verilog,
    verilog_library,
)
from mxhw.rtl_templates.decoder import DialectDecoder
from mxhw.rtl_templates.mac import DialectPE
from mxhw.rtl_templates.place import place
from mxhw.sim import build_library_from_sources, lint
from tests.rtl_templates.gemm_units import Case, bitmod_case, dialect_case

SHAPE = GemmShape(rows=4, columns=3, n=7, k=300)
UNITS = {
    "fp4": BitModGemm(SHAPE, weight_type="fp4"),
    "int6": BitModGemm(SHAPE, weight_type="int6", group=64),
    "int8": BitModGemm(SHAPE, weight_type="int8", group=None),
    "dialect": DialectGemm(SHAPE, weight_exponents=(8, 12)),
}


@cache
def text_of(name: str) -> str:
    """The Verilog of a unit."""
    return gemm_verilog(UNITS[name], "top")


def written(texts: dict[str, str], folder: Path) -> list[Path]:
    """Write Verilog and what it needs beside it; return the source files."""
    sources = [folder / name for name in (*texts, *verilog_library()) if name.endswith(".v")]
    for name, text in (texts | verilog_library()).items():
        (folder / name).write_text(text)
    return sources


@pytest.mark.parametrize("name", UNITS)
def test_verilator_accepts_every_unit(name, tmp_path):
    assert lint(written({"top.v": text_of(name)}, tmp_path), "top") == ""


@pytest.mark.parametrize("name", UNITS)
def test_ports_are_flat_and_elements_are_emitted_once(name):
    unit, text = UNITS[name], text_of(name)
    ports = set(re.search(r"^module top\((.*?)\);", text, re.MULTILINE)[1].split(", "))
    assert ports == {"clk", "rst", "x_valid", "x_ready", "x_payload", "y_valid", "y_ready", "y_payload"}
    assert f"[{unit.x_width - 1}:0] x_payload" in text and f"[{unit.y_width - 1}:0] y_payload" in text
    assert text.count("module top_pe(") == 1 and len(re.findall(r"^  top_pe ", text, re.MULTILINE)) == 12
    memories = re.findall(r'\.FILE\("(.*?)"\)', text)
    assert sorted(memories) == ["metadata.hex", "weights.hex"][0 if unit.metadata_depth else 1 :]


CASES = {
    "fp3": lambda: bitmod_case(GemmShape(rows=2, columns=2, n=3, k=384), "fp3", 128, tokens=5, seed=0),
    "int8": lambda: bitmod_case(GemmShape(rows=2, columns=2, n=3, k=100), "int8", None, tokens=5, seed=1),
    "dialect": lambda: dialect_case(GemmShape(rows=2, columns=1, n=3, k=96), 32, (8, 12), tokens=5, seed=2),
}


def image(words: list[int]) -> str:
    """A file for $readmemh."""
    return "".join(f"{word:x}\n" for word in words)


def simulated(case: Case, folder: Path) -> list[list[int]]:
    """The outputs of the emitted Verilog, whose memories are read in ``folder``, without stalls and with some."""
    texts = {"unit.v": gemm_verilog(case.unit, "unit"), "weights.hex": image(case.weights)}
    sources = written(texts | {"metadata.hex": image(case.metadata or [])}, folder)
    library = build_library_from_sources(sources, "unit", folder=folder)
    stalls = ((0.0, 0), (0.3, 1), (0.8, 2))
    return [library.run({"x": case.x}, {"y": len(case.y)}, stall=stall, seed=seed).ints("y") for stall, seed in stalls]


@pytest.mark.parametrize("name", list(CASES))
def test_the_compiled_verilog_equals_the_reference_and_shows_a_flipped_bit(name, tmp_path):
    case = CASES[name]()
    assert simulated(case, tmp_path) == [case.y] * 3
    case.weights[0] ^= 1
    assert all(outputs != case.y for outputs in simulated(case, tmp_path))


def test_a_decoder_alone_is_combinational_verilog():
    text = component_verilog(DialectDecoder(), "decoder")
    assert text.count("endmodule") == 1 and "clk" not in text


def test_names_that_verilog_cannot_hold_are_refused():
    unit = DialectGemm(SHAPE)
    with pytest.raises(InputError, match=r"name must be a Verilog identifier, not 'model\.layers'"):
        gemm_verilog(unit, "model.layers")
    with pytest.raises(InputError, match="weights_file must be a file name without quotes"):
        gemm_verilog(unit, "top", weights_file='a"b')


STREAMED = {
    "bitmod": lambda gemv: StreamedBitModGemm(rows=4, columns=3, gemv=gemv),
    "dialect4": lambda gemv: StreamedBlockGemm(element="dialect4", rows=4, columns=3, gemv=gemv),
}


@pytest.mark.parametrize("gemv", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize("name", list(STREAMED))
def test_streamed_units_have_flat_ports_and_emit_rows_elements_and_decoders_once(name, gemv, tmp_path):
    unit = STREAMED[name](gemv)
    text = component_verilog(unit, "top")
    ports = set(re.search(r"^module top\((.*?)\);", text, re.MULTILINE | re.DOTALL)[1].replace(",", " ").split())
    streams = {"command", "x", "w", "w_scale", "y"} | ({"x_scale"} if name != "bitmod" else set())
    flags = {"refused"} | ({"outside"} if name != "bitmod" else set())
    expected = {f"{stream}__{part}" for stream in streams for part in ("valid", "ready", "payload")}
    assert ports == expected | flags | {"clk", "rst"}
    assert f"[{len(unit.w.payload) - 1}:0] w__payload" in text and len(unit.w.payload) == 3 * 4 * unit.bits.w * (
        4 if gemv else 1
    )
    counts = {module: len(re.findall(rf"^  {module} ", text, re.MULTILINE)) for module in ("top_pe", "top_row")}
    assert counts == {"top_pe": 3, "top_row": 4}
    assert all(text.count(f"module {module}(") == 1 for module in ("top_pe", "top_row", "top_w_edge", "top_x_edge"))
    assert lint(written({"top.v": text}, tmp_path), "top") == ""


def test_the_same_unit_gives_the_same_text():
    texts = [component_verilog(StreamedBlockGemm(element="mxint2", rows=2, columns=1), "top") for _ in range(2)]
    assert texts[0] == texts[1] != component_verilog(StreamedBlockGemm(element="mxint2", rows=1, columns=1), "top")


class _TwoKindsUnderOneName(wiring.Component):
    y: wiring.Out(1)

    def elaborate(self, platform):
        m = Module()
        for lanes in (1, 2):
            place(m, "pe", str(lanes), DialectPE(widths=dialect_widths(32, 32, (0, 3)), lanes=lanes), platform)
        return m


def test_elements_with_different_ports_cannot_share_a_module():
    with pytest.raises(InputError, match="pe must be one kind of component of equal ports"):
        component_verilog(_TwoKindsUnderOneName(), "top")
