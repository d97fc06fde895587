// y = x + weights, two lanes of 16 bits; the weights of a beat are two of eight words.
module toy_norm (
  input clk, input rst,
  input x_valid, output x_ready, input [31:0] x_payload,
  output y_valid, input y_ready, output [31:0] y_payload
);
  reg [15:0] weights [0:7];
  initial $readmemh("images/norm.hex", weights);
  reg full; reg [1:0] index; reg [31:0] held;
  assign x_ready = !full | y_ready;
  assign y_valid = full;
  assign y_payload = held;
  always @(posedge clk) begin
    if (rst) begin
      full <= 0; index <= 0; held <= 0;
    end else if (x_ready) begin
      full <= x_valid;
      if (x_valid) begin
        held <= {x_payload[31:16] + weights[{index, 1'b1}], x_payload[15:0] + weights[{index, 1'b0}]};
        index <= index + 1;
      end
    end
  end
endmodule

// y = (x * x + 8) >> 4, signed, two lanes of 40 bits.
module toy_square (
  input clk, input rst,
  input x_valid, output x_ready, input [31:0] x_payload,
  output y_valid, input y_ready, output [79:0] y_payload
);
  reg full; reg [79:0] held;
  wire signed [39:0] low = {{24{x_payload[15]}}, x_payload[15:0]};
  wire signed [39:0] high = {{24{x_payload[31]}}, x_payload[31:16]};
  wire signed [39:0] low_square = (low * low + 40'sd8) >>> 4;
  wire signed [39:0] high_square = (high * high + 40'sd8) >>> 4;
  assign x_ready = !full | y_ready;
  assign y_valid = full;
  assign y_payload = held;
  always @(posedge clk) begin
    if (rst) begin
      full <= 0; held <= 0;
    end else if (x_ready) begin
      full <= x_valid;
      if (x_valid) held <= {high_square, low_square};
    end
  end
endmodule

// Per position p: p + 1 beats {last, 7 * key + p}.
module toy_scores (
  input clk, input rst,
  input p_valid, output p_ready, input [4:0] p_payload,
  output y_valid, input y_ready, output [12:0] y_payload
);
  reg [4:0] key;
  wire last = key == p_payload;
  wire [11:0] score = 12'd7 * {7'd0, key} + {7'd0, p_payload};
  assign y_valid = p_valid;
  assign y_payload = {last, score};
  assign p_ready = y_ready & last;
  always @(posedge clk) begin
    if (rst) key <= 0;
    else if (p_valid & y_ready) key <= last ? 5'd0 : key + 5'd1;
  end
endmodule

// y = a + b + p, two lanes of 40 bits; a token has four beats and one position.
module toy_add (
  input clk, input rst,
  input a_valid, output a_ready, input [79:0] a_payload,
  input b_valid, output b_ready, input [31:0] b_payload,
  input p_valid, output p_ready, input [4:0] p_payload,
  output y_valid, input y_ready, output [79:0] y_payload
);
  reg full; reg [1:0] beat; reg [79:0] held;
  wire room = !full | y_ready;
  wire take = room & a_valid & b_valid & p_valid;
  wire signed [39:0] low = {{24{b_payload[15]}}, b_payload[15:0]};
  wire signed [39:0] high = {{24{b_payload[31]}}, b_payload[31:16]};
  assign a_ready = take;
  assign b_ready = take;
  assign p_ready = take & (beat == 2'd3);
  assign y_valid = full;
  assign y_payload = held;
  always @(posedge clk) begin
    if (rst) begin
      full <= 0; beat <= 0; held <= 0;
    end else if (room) begin
      full <= take;
      if (take) begin
        held <= {a_payload[79:40] + high + {35'd0, p_payload}, a_payload[39:0] + low + {35'd0, p_payload}};
        beat <= beat + 1;
      end
    end
  end
endmodule
