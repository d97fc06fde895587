// A stream that looks like a GEMM unit: 2 rows, 2 columns, y word = {two copies of x} + memory word, one y beat per x beat.
// The word in fault.hex plants one: 1 drops a beat, 2 lets the payload change while it waits, 3 withdraws valid, 4 sends one
// beat too many, 5 waits for ready before valid.
module toy (
  input clk, input rst,
  input x_valid, output x_ready, input [15:0] x_payload,
  output y_valid, input y_ready, output [31:0] y_payload
);
  reg [15:0] memory [0:3];
  reg [2:0] faults [0:0];
  initial $readmemh("weights.hex", memory);
  initial $readmemh("fault.hex", faults);
  wire [2:0] fault = faults[0];
  reg full;
  reg [7:0] count;
  reg [15:0] held;
  wire [15:0] word = memory[count[1:0]];
  wire [15:0] sum = held + word + ((fault == 3'd2 && y_waited) ? 16'd1 : 16'd0);
  reg y_waited, extra;
  wire drop = fault == 3'd1 && count == 8'd5;
  assign x_ready = !full || (y_ready && y_valid) || drop;
  assign y_valid = (full && !drop && !(fault == 3'd3 && y_waited) && !(fault == 3'd5 && !y_ready)) || extra;
  assign y_payload = {sum, sum};
  always @(posedge clk) begin
    if (rst) begin
      full <= 0; count <= 0; y_waited <= 0; extra <= 0; held <= 0;
    end else begin
      y_waited <= y_valid && !y_ready && !y_waited;
      if (x_ready) begin
        full <= x_valid;
        if (x_valid) held <= x_payload;
        if (full) count <= count + 1;
        extra <= fault == 3'd4 && full && count == 8'd7;
      end
      if (extra && y_ready) extra <= 0;
    end
  end
endmodule
