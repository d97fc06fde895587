"""Memory files as parameters: one text, two instances, each with its own constants, in three tools."""

import re
import shutil
import subprocess

import pytest

from mxhw.arithmetic.functions.requantize import RequantizeSpec
from mxhw.errors import InputError
from mxhw.rtl_templates import verilog_library
from mxhw.rtl_templates.emission import memory_files, modules_verilog
from mxhw.rtl_templates.file_parameters import file_parameter, with_file_parameters
from mxhw.rtl_templates.function.requantize import Requantize
from mxhw.rtl_templates.function.rms_norm import TEMPLATE as RMS_NORM
from mxhw.sim import build_library_from_sources, lint
from mxhw.synthesis.yosys import run_yosys

CONSTANTS = {"one": (40000, 50000, 60000), "other": (33000, 44000, 65535)}
X = [1000, -2000, 3000, 7, -1, 4095]

TOP = """
module top (input clk, input rst{ports});
{instances}
endmodule
"""
PORTS = """,
    input {n}__x__valid, output {n}__x__ready, input [12:0] {n}__x__payload,
    output {n}__y__valid, input {n}__y__ready, output [15:0] {n}__y__payload"""
INSTANCE = """
    requantize #(.MULTIPLIERS_FILE("{n}.hex")) {n} (
        .clk(clk), .rst(rst), .x__valid({n}__x__valid), .x__ready({n}__x__ready), .x__payload({n}__x__payload),
        .y__valid({n}__y__valid), .y__ready({n}__y__ready), .y__payload({n}__y__payload));
"""


def requantizer(multipliers: tuple[int, ...]) -> Requantize:
    return Requantize(spec=RequantizeSpec(multipliers=multipliers, largest=4095, shift=14))


def expected(multipliers: tuple[int, ...]) -> list[int]:
    """Rounded products, channel after channel, in Python."""
    return [(x * multipliers[i % 3] + (1 << 13)) >> 14 for i, x in enumerate(X)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A top with two instances of one module, and their memory images."""
    place = tmp_path_factory.mktemp("parameters")
    text, files = modules_verilog({"requantize": requantizer(CONSTANTS["one"])})["requantize"]
    assert files["multipliers.hex"].words == CONSTANTS["one"]
    for name, words in CONSTANTS.items():
        (place / f"{name}.hex").write_text("".join(f"{word:x}\n" for word in words))
    ports = "".join(PORTS.format(n=name) for name in CONSTANTS)
    top = TOP.format(ports=ports, instances="".join(INSTANCE.format(n=name) for name in CONSTANTS))
    for name, content in {"top.v": top, "requantize.v": text, **verilog_library()}.items():
        (place / name).write_text(content)
    return place


def sources(folder):
    return [folder / name for name in ("top.v", "requantize.v", "mxhw_rom.v")]


def test_two_instances_compute_with_their_own_constants_in_verilator(folder):
    assert lint(sources(folder), "top") == ""
    signed = [f"{name}__{port}__payload" for name in CONSTANTS for port in "xy"]
    library = build_library_from_sources(sources(folder), "top", folder=folder, signed=signed)
    inputs, counts = ({f"{n}__{port}": value for n in CONSTANTS} for port, value in (("x", X), ("y", len(X))))
    run = library.run(inputs, counts, stall=0.3, seed=1)
    for name, words in CONSTANTS.items():
        assert run.ints(f"{name}__y") == expected(words)
    assert expected(CONSTANTS["one"]) != expected(CONSTANTS["other"])


def test_icarus_reads_the_file_of_each_instance(folder):
    if shutil.which("iverilog") is None:
        pytest.skip("needs Icarus Verilog: sudo apt-get install iverilog")
    memory = "multipliers.rom.words[2]"
    bench = (
        'module bench; reg c = 0; top t (.clk(c)); initial #1 $display("%d %d", t.one.{m}, t.other.{m}); endmodule\n'
    )
    (folder / "bench.v").write_text(bench.replace("{m}", memory))
    names = ["bench.v", *(source.name for source in sources(folder))]
    subprocess.run(["iverilog", "-g2005", "-o", "bench.vvp", "-s", "bench", *names], cwd=folder, check=True)
    said = subprocess.run(["vvp", "bench.vvp"], cwd=folder, check=True, capture_output=True, text=True).stdout
    assert said.split()[-2:] == ["60000", "65535"]


def test_yosys_gives_each_instance_its_words(folder):
    pytest.importorskip("pyosys")
    names = " ".join(source.name for source in sources(folder))
    passes = ["hierarchy -top top", "proc", "flatten", "opt -full", "memory_collect"]
    run_yosys([f"read_verilog {names}", *passes, "write_rtlil whole.il"], folder)
    initial = set(re.findall(r"parameter \\INIT 48'([01]{48})", (folder / "whole.il").read_text()))
    assert initial == {"".join(f"{word:016b}" for word in reversed(words)) for words in CONSTANTS.values()}


def test_texts_do_not_depend_on_what_else_is_made():
    """Also that memories of submodules become parameters of the module around them."""
    alone = modules_verilog({"norm": RMS_NORM.make(length=8)})["norm"]
    together = modules_verilog({"requantize": requantizer(CONSTANTS["one"]), "norm": RMS_NORM.make(length=8)})["norm"]
    assert alone == together
    header = alone[0].split(") (")[0]
    assert 'parameter GAINS_FILE = ""' in header and 'parameter RSQRT_FILE = ""' in header
    assert alone[1] == memory_files(RMS_NORM.make(length=8))


def test_files_that_would_share_a_parameter_are_refused():
    assert file_parameter("a-b.c.hex") == "A_B_C_FILE"
    rom = '  mxhw_rom #(\n    .FILE("{}")\n  ) {} (\n  );\n'
    text = f"module m (clk);\n{rom.format('a_b.hex', 'one')}{rom.format('a.b.hex', 'two')}endmodule\n"
    with pytest.raises(InputError, match="memory files must be different in letters and digits"):
        with_file_parameters(text)
