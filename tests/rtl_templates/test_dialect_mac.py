"""Formal: every decoder against its format's table, every MAC and PE against a plain description, over all time.

The plain descriptions share nothing with the components but ports: case tables, `acc + (negative ? -p : p)`, one shift.
Every proof has controls: a changed entry, sign, start or initial value must be refuted.
"""

import re

import pytest
import torch

from mxhw.arithmetic import block_element, block_elements, block_widths, decode_element
from mxhw.formats import DIALECT_TABLE
from mxhw.rtl_templates.decoder import DialectDecoder, MinifloatDecoder
from mxhw.rtl_templates.mac import BlockMac, BlockPE, IntegerMac

pytest.importorskip("pyosys", reason="formal proofs need pyosys")
from mxhw.synthesis.equivalence import prove_equal

FLOATS = [name for name, kind in block_elements().items() if kind.kind == "float"]


def dialect_table(table=DIALECT_TABLE) -> str:
    entries = "\n".join(
        f"8'd{dialect << 4 | code}: operand = 5'd{code >> 3 << 4 | table[dialect][code & 7]};"
        for dialect in range(16)
        for code in range(16)
    )
    return f"""module gold(input [3:0] code, input [3:0] dialect, output reg [4:0] operand);
  always @* case ({{dialect, code}})
  {entries}
  endcase
endmodule"""


def float_table(name: str, changed: int | None = None) -> str:
    kind = block_element(name)
    decoded = decode_element(name, torch.arange(1 << kind.code_bits))
    width = kind.significand_bits + kind.shift_bits + 1
    entries = []
    for code, parts in enumerate(zip(decoded.sign, decoded.significand, decoded.shift, strict=True)):
        sign, significand, shift = map(int, parts)
        operand = significand | shift << kind.significand_bits | sign << width - 1
        entries.append(f"{code}: operand = {width}'d{operand ^ (code == changed)};")
    return f"""module gold(input [{kind.code_bits - 1}:0] code, output reg [{width - 1}:0] operand);
  always @* case (code)
  {" ".join(entries)}
  endcase
endmodule"""


def product_verilog(name: str) -> tuple[int, str]:
    """Width of a port of the MAC, and Verilog of the product of x and w; floats come as codes."""
    kind = block_element(name)
    if kind.kind == "integer":
        return kind.code_bits, "wire signed [W-1:0] product = $signed(x) * $signed(w);"
    if kind.kind == "dialect":
        return (
            5,
            """
  wire signed [W-1:0] magnitude = x[3:0] * w[3:0];
  wire negative = x[4] ^ w[4];
  wire signed [W-1:0] product = negative ? -magnitude : magnitude;""",
        )
    p, s = kind.significand_bits, kind.shift_bits
    decoders = "\n".join(
        f"wire [{p + s}:0] {side}_operand; decode decode_{side}({side}, {side}_operand);" for side in "xw"
    )
    return (
        kind.code_bits,
        f"""
  {decoders}
  wire [7:0] amount = x_operand[{p + s - 1}:{p}] + w_operand[{p + s - 1}:{p}];
  wire [W-1:0] significand = x_operand[{p - 1}:0] * w_operand[{p - 1}:0];
  wire signed [W-1:0] magnitude = significand << amount;
  wire negative = x_operand[{p + s}] ^ w_operand[{p + s}];
  wire signed [W-1:0] product = negative ? -magnitude : magnitude;""",
    )


def mac_verilog(name: str, width: int) -> str:
    bits, product = product_verilog(name)
    decoder = float_table(name).replace("module gold", "module decode") if name in FLOATS else ""
    return f"""{decoder}
module gold(input clk, input rst, input [{bits - 1}:0] x, input [{bits - 1}:0] w, input enable, input first,
    output [{width - 1}:0] result);
  localparam W = {width};
  {product}
  reg signed [W-1:0] block_sum = 0;
  always @(posedge clk) if (enable) block_sum <= (first ? 0 : block_sum) + product;
  assign result = block_sum;
endmodule"""


def mac(name: str) -> BlockMac:
    """The MAC, its decoders inside for floats: decoded operands have patterns that no decoder gives."""
    return BlockMac(element=name, decode="inside" if name in FLOATS else "edge")


def test_the_dialect_decoder_is_the_table():
    assert prove_equal(DialectDecoder(), dialect_table()).proved


@pytest.mark.parametrize(("dialect", "index"), [(15, 5), (6, 7)])
def test_one_changed_entry_of_the_dialect_table_is_refuted(dialect, index):
    wrong = [list(row) for row in DIALECT_TABLE]
    wrong[dialect][index] ^= 1
    proof = prove_equal(DialectDecoder(), dialect_table(wrong))
    assert not proof.proved
    assert {cycle["in_dialect"] for cycle in proof.counterexample} == {dialect}


@pytest.mark.parametrize("name", FLOATS)
def test_every_minifloat_decoder_is_its_table(name):
    assert prove_equal(MinifloatDecoder(element=name), float_table(name)).proved


def test_one_changed_entry_of_a_float_is_refuted_in_decoder_and_mac():
    assert not prove_equal(MinifloatDecoder(element="mxfp6-e3m2"), float_table("mxfp6-e3m2", changed=37)).proved
    unit = mac("mxfp4")
    text = mac_verilog("mxfp4", len(unit.result)).replace(float_table("mxfp4")[12:], float_table("mxfp4", 5)[12:])
    assert not prove_equal(unit, text, sequential=True).proved


@pytest.mark.parametrize("name", ["dialect4", "mxfp4", "mxfp6-e2m3", "mxfp6-e3m2", "mxint4"])
def test_every_mac_is_a_plain_sum_of_signed_products_for_all_time(name):
    unit = mac(name)
    assert prove_equal(unit, mac_verilog(name, len(unit.result)), sequential=True).proved


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mxfp8-e4m3", "mxfp8-e5m2", "mxint8", "mxint5", "mxint2"])
def test_the_wide_macs_are_plain_sums_of_signed_products_for_all_time(name):
    unit = mac(name)
    assert prove_equal(unit, mac_verilog(name, len(unit.result)), sequential=True).proved


CHANGES = {
    "sign": (r"x\[4\] \^ w\[4\]", "x[4] & w[4]"),
    "start": (r"first \? 0 : block_sum", "first ? 1 : block_sum"),
    "initial value": (r"block_sum = 0", "block_sum = 1"),
    "enable": (r"if \(enable\)", "if (enable | first)"),
    "top bit": (r"\+ product;", "+ (product & 14'h1fff);"),
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_a_changed_description_of_the_dialect_mac_is_refuted(change):
    unit = mac("dialect4")
    text, count = re.subn(*CHANGES[change], mac_verilog("dialect4", len(unit.result)))
    assert count == 1
    assert not prove_equal(unit, text, sequential=True).proved


def test_the_integer_mac_is_a_plain_sum_of_products():
    unit = IntegerMac(width=4, k=64, accumulator=None)
    text = mac_verilog("mxint4", len(unit.result)).replace("block_sum", "total")
    assert prove_equal(unit, text, sequential=True).proved
    assert not prove_equal(unit, text.replace("$signed(x)", "x"), sequential=True).proved


def pe_verilog(name: str, widths) -> str:
    bits, product = product_verilog(name)
    ports = [("x", bits), ("w", bits), ("x_exponent", widths.x_exponent), ("w_exponent", widths.w_exponent)]
    ports += [(port, 1) for port in ("advance", "enable", "first", "fold", "start")]
    inputs = ", ".join(f"input [{width - 1}:0] {port}" for port, width in ports)
    return f"""module gold(input clk, input rst, {inputs}, output signed [{widths.accumulator - 1}:0] result);
  localparam W = {widths.block_sum};
  {product}
  reg signed [W-1:0] block_sum = 0;
  reg signed [{widths.accumulator - 1}:0] accumulator = 0;
  wire signed [{widths.accumulator - 1}:0] wide = block_sum;
  wire [{widths.shift - 1}:0] shift = x_exponent + w_exponent;
  assign result = (start ? 0 : accumulator) + (wide << shift);
  always @(posedge clk) if (advance) begin
    if (enable) block_sum <= (first ? 0 : block_sum) + product;
    if (fold) accumulator <= result;
  end
endmodule"""


@pytest.mark.parametrize("name", ["mxint2", pytest.param("dialect4", marks=pytest.mark.slow)])
def test_the_block_pe_is_a_plain_sum_of_shifted_block_sums_for_all_time(name):
    widths = block_widths(name, 4, 2, (0, 1), (2, 4))
    pe, text = BlockPE(element=name, widths=widths, lanes=1), pe_verilog(name, widths)
    assert prove_equal(pe, text, sequential=True).proved
    assert not prove_equal(pe, text.replace("start ? 0", "start ? 1"), sequential=True).proved
