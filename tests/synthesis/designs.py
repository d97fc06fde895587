"""Tiny designs with their plain second descriptions."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Mac(wiring.Component):
    """A product is added to the sum while ``enable`` is high, or starts a new one."""

    def __init__(self, width: int, accumulator: int) -> None:
        operand, bit = In(signed(width)), In(1)
        super().__init__({"x": operand, "w": operand, "enable": bit, "first": bit, "result": Out(signed(accumulator))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        with m.If(self.enable):
            m.d.sync += self.result.eq(Mux(self.first, 0, self.result) + self.x * self.w)
        return m


def mac_verilog(width: int, accumulator: int, *, initial: int = 0, reset: int = 0, sign: str = "") -> str:
    """Describe :class:`Mac`."""
    return f"""
module gold(input clk, input rst, input signed [{width - 1}:0] x, input signed [{width - 1}:0] w,
            input enable, input first, output reg signed [{accumulator - 1}:0] result);
  initial result = {initial};
  wire signed [{2 * width - 1}:0] product = {sign}(x * w);
  always @(posedge clk) if (rst) result <= {reset}; else if (enable) result <= (first ? 0 : result) + product;
endmodule"""


def decoder_verilog(table: Any) -> str:
    """Describe :class:`mxhw.rtl_templates.decoder.DialectDecoder` with a table [16][8]."""
    cases = "\n".join(
        f"    7'd{dialect * 8 + index}: magnitude = {value};"
        for dialect, row in enumerate(table)
        for index, value in enumerate(row)
    )
    return f"""
module gold(input [3:0] code, input [3:0] dialect, output [4:0] operand);
  reg [3:0] magnitude;
  always @* case ({{dialect, code[2:0]}})
{cases}
  endcase
  assign operand = {{code[3], magnitude}};
endmodule"""


class Pulse(wiring.Component):
    """Counts 50 enabled cycles and is high in one of them: outputs say little about the state."""

    enable: In(1)
    hit: Out(1)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        count = Signal(range(50), name="count")
        m.d.comb += self.hit.eq(count == 44)
        with m.If(self.enable):
            m.d.sync += count.eq(count + 1)
            with m.If(count == 49):
                m.d.sync += count.eq(0)
        return m


def pulse_verilog(*, initial: int = 0, last: int = 49, count: str = "count") -> str:
    """Describe :class:`Pulse`."""
    return f"""
module gold(input clk, input rst, input enable, output hit);
  reg [5:0] {count} = {initial};
  assign hit = {count} == 44;
  always @(posedge clk)
    if (rst) {count} <= 0; else if (enable) {count} <= ({count} == {last}) ? 6'd0 : {count} + 6'd1;
endmodule"""


class Adder(wiring.Component):
    """A sum without registers."""

    def __init__(self, width: int) -> None:
        super().__init__({"a": In(width), "b": In(width), "sum": Out(width)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.d.comb += self.sum.eq(self.a + self.b)
        return m


class Accumulator(wiring.Component):
    """A register that its input is added to."""

    def __init__(self, width: int) -> None:
        super().__init__({"x": In(width), "sum": Out(width)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.d.sync += self.sum.eq(self.sum + self.x)
        return m
