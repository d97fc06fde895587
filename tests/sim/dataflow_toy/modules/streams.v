// Each of two readers takes every beat once; the beat leaves when both have it.
module toy_fork (
  input clk, input rst,
  input x_valid, output x_ready,
  output a_valid, input a_ready, output b_valid, input b_ready
);
  reg a_done, b_done;
  assign a_valid = x_valid & !a_done;
  assign b_valid = x_valid & !b_done;
  assign x_ready = (a_done | a_ready) & (b_done | b_ready);
  always @(posedge clk) begin
    if (rst) begin
      a_done <= 0; b_done <= 0;
    end else begin
      a_done <= x_valid & !x_ready & (a_done | a_ready);
      b_done <= x_valid & !x_ready & (b_done | b_ready);
    end
  end
endmodule

// Two beats deep.
module toy_fifo (
  input clk, input rst,
  input x_valid, output x_ready, input [31:0] x_payload,
  output y_valid, input y_ready, output [31:0] y_payload
);
  reg [31:0] first, second; reg [1:0] level;
  wire push = x_valid & x_ready;
  wire pop = y_valid & y_ready;
  assign x_ready = level != 2'd2;
  assign y_valid = level != 2'd0;
  assign y_payload = first;
  always @(posedge clk) begin
    if (rst) begin
      level <= 0; first <= 0; second <= 0;
    end else begin
      level <= level + {1'b0, push} - {1'b0, pop};
      if (push & (level == {1'b0, pop})) first <= x_payload;
      else if (pop) first <= second;
      if (push & (level != {1'b0, pop})) second <= x_payload;
    end
  end
endmodule
