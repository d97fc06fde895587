"""Next values move into the process of their register, and nothing else does; formal proof over whole units."""

import re
from collections.abc import Callable

import pytest
from amaranth.back import verilog
from amaranth.lib import wiring

from mxhw.arithmetic import dialect_widths
from mxhw.rtl_templates import component_verilog
from mxhw.rtl_templates.gemm.drain import Drain
from mxhw.rtl_templates.mac import DialectPE
from mxhw.rtl_templates.registers import with_clocked_next_values
from mxhw.synthesis.equivalence import prove_equal

_TAKEN_OVER = re.compile(r"always @\(posedge clk\)\n\s+\S+ ?<= \\\$\d+ ;")

TWO_PROCESSES = r"""module unit(clk, rst, enable, q);
  reg \$auto$verilog_backend.cc:2355:dump_module$1  = 0;
  reg [3:0] \$1 ;
  always @(posedge clk)
    \q$2  <= \$1 ;
  always @* begin
    if (\$auto$verilog_backend.cc:2355:dump_module$1 ) begin end
    \$1  = \q$2 ;
    if (enable) begin
      \$1 [1:0] = \$3 [1:0];
    end
    if (rst) begin
      \$1  = 4'h0;
    end
  end
endmodule
"""

ONE_PROCESS = r"""module unit(clk, rst, enable, q);
  always @(posedge clk) begin
    if (enable) begin
      \q$2 [1:0] <= \$3 [1:0];
    end
    if (rst) begin
      \q$2  <= 4'h0;
    end
  end
endmodule
"""


def test_the_next_value_is_assigned_in_the_process_of_its_register() -> None:
    assert with_clocked_next_values(TWO_PROCESSES) == ONE_PROCESS


def test_a_first_value_that_is_not_the_registers_own_is_kept() -> None:
    text = TWO_PROCESSES.replace("\\$1  = \\q$2 ;", "\\$1  = 4'h7;")
    assert "begin\n    \\q$2  <= 4'h7;\n    if (enable)" in with_clocked_next_values(text)


@pytest.mark.parametrize(
    "change",
    [
        ("endmodule", "  assign y = \\$1 ;\nendmodule"),
        ("    if (enable) begin\n", "    other = 1'h0;\n    if (enable) begin\n"),
        ("\\$1  = \\q$2 ;", "\\$1 [3:0] = \\q$2 ;"),
        ("      \\$1 [1:0] = \\$3 [1:0];", "      \\$1 [1:0] = \\$1 [3:2];"),
        ("posedge clk", "posedge clk or posedge rst"),
    ],
    ids=["read elsewhere", "two values in a process", "no whole first value", "read in its process", "other edges"],
)
def test_another_shape_is_left_as_it_is(change: tuple[str, str]) -> None:
    text = TWO_PROCESSES.replace(*change)
    assert text != TWO_PROCESSES
    assert with_clocked_next_values(text) == text


def _drain() -> Drain:
    return Drain(rows=2, columns=2, width=3)


def _pe() -> DialectPE:
    return DialectPE(widths=dialect_widths(16, 8, (8, 9)), lanes=1)


@pytest.mark.parametrize("build", [_drain, _pe])
def test_no_next_value_is_left(build: Callable[[], wiring.Component]) -> None:
    plain = verilog.convert(build(), name="gold", emit_src=False, strip_internal_attrs=True)
    assert _TAKEN_OVER.search(plain), "yosys no longer writes two processes: the rewriting can go"
    assert not _TAKEN_OVER.search(component_verilog(build(), "gold"))


@pytest.mark.slow
@pytest.mark.parametrize("build", [_drain, _pe])
def test_units_are_the_same_machine(build: Callable[[], wiring.Component]) -> None:
    assert prove_equal(build(), component_verilog(build(), "gold"), sequential=True).proved


@pytest.mark.slow
def test_a_wrong_enable_is_found() -> None:
    text = component_verilog(_drain(), "gold")
    wrong = text.replace("if (capture)", "if (!capture)")
    assert wrong != text
    assert not prove_equal(_drain(), wrong, sequential=True).proved
