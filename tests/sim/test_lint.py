"""Every unit of the catalogue is lint-clean; what must be a complaint is one, in spite of the waivers."""

from pathlib import Path

import pytest

from mxhw.rtl_templates import component_verilog
from mxhw.rtl_templates.catalogue import unit_templates
from mxhw.rtl_templates.template import UnitTemplate
from mxhw.sim import lint
from tests.sim.toy import write_toy


@pytest.mark.parametrize("template", unit_templates().values(), ids=lambda template: template.name)
def test_every_unit_is_clean(template: UnitTemplate, tmp_path: Path) -> None:
    source = tmp_path / "unit.v"
    source.write_text(component_verilog(template.make(), template.name))
    assert lint([source], template.name) == ""


def test_a_hand_written_module_is_clean(tmp_path: Path) -> None:
    assert lint([write_toy(tmp_path) / "toy.v"], "toy") == ""


INNER = "module inner (input [3:0] p, output [3:0] q); assign q = p; endmodule\n"


@pytest.mark.parametrize(
    ("rule", "body"),
    [
        ("UNDRIVEN", "assign b[0] = a[0];"),
        ("WIDTHTRUNC", "wire [8:0] sum = {1'b0, a}; assign b = sum;"),
        ("WIDTHEXPAND", "assign b = a[3:0];"),
        ("WIDTHTRUNC", "inner one (.p(a), .q(b[3:0])); assign b[7:4] = 0;"),
        ("WIDTHEXPAND", "inner one (.p(a[1:0]), .q(b[3:0])); assign b[7:4] = 0;"),
        ("PINMISSING", "inner one (.q(b[3:0])); assign b[7:4] = 0;"),
        ("MULTIDRIVEN", "reg [7:0] r; assign b = r; always @(posedge clk) r <= a; always @(negedge clk) r <= ~a;"),
        ("LATCH", "reg [7:0] r; assign b = r; always @* if (clk) r = a;"),
        ("LATCH", "reg [7:0] r; assign b = r; always @* casez (a[1:0]) 2'd1: r = a; 2'd2: r = 8'd0; endcase"),
        ("UNOPTFLAT", "wire [7:0] x = y ^ a; wire [7:0] y = x & a; assign b = y;"),
        ("SELRANGE", "assign b = {7'd0, a[9]};"),
        ("BLKSEQ", "reg [7:0] r; assign b = r; always @(posedge clk) r = a;"),
    ],
)
def test_a_faulty_module_is_refused(rule: str, body: str, tmp_path: Path) -> None:
    source = tmp_path / "bad.v"
    source.write_text(f"{INNER}module bad (input clk, input [7:0] a, output [7:0] b);\n{body}\nendmodule\n")
    assert f"-{rule}:" in lint([source], "bad")
