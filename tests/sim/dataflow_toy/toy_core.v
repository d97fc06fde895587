// Four steps in the shape of an emitted design: a fork, a path around a step with a FIFO, two inputs, two outputs, a ROM.
module toy_core (
  input clk, input rst,
  input x_valid, output x_ready, input [31:0] x_payload,
  input positions_valid, output positions_ready, input [4:0] positions_payload,
  output layers_0_add_valid, input layers_0_add_ready, output [79:0] layers_0_add_payload,
  output layers_0_scores_valid, input layers_0_scores_ready, output [12:0] layers_0_scores_payload,
  output tap_layers_0_norm_fire, output [31:0] tap_layers_0_norm_payload,
  output tap_layers_0_square_fire, output [79:0] tap_layers_0_square_payload,
  output tap_layers_0_scores_fire, output [12:0] tap_layers_0_scores_payload,
  output tap_layers_0_add_fire, output [79:0] tap_layers_0_add_payload
);
  wire norm_valid, norm_ready; wire [31:0] norm_payload;
  toy_norm layers_0_norm (
    .clk(clk), .rst(rst), .x_valid(x_valid), .x_ready(x_ready), .x_payload(x_payload),
    .y_valid(norm_valid), .y_ready(norm_ready), .y_payload(norm_payload));

  wire norm_0_valid, norm_0_ready, norm_1_valid, norm_1_ready, norm_2_valid, norm_2_ready;
  wire [31:0] norm_2_payload;
  toy_fork norm_fork (
    .clk(clk), .rst(rst), .x_valid(norm_valid), .x_ready(norm_ready),
    .a_valid(norm_0_valid), .a_ready(norm_0_ready), .b_valid(norm_1_valid), .b_ready(norm_1_ready));
  toy_fifo norm_fifo (
    .clk(clk), .rst(rst), .x_valid(norm_1_valid), .x_ready(norm_1_ready), .x_payload(norm_payload),
    .y_valid(norm_2_valid), .y_ready(norm_2_ready), .y_payload(norm_2_payload));

  wire square_valid, square_ready; wire [79:0] square_payload;
  toy_square layers_0_square (
    .clk(clk), .rst(rst), .x_valid(norm_0_valid), .x_ready(norm_0_ready), .x_payload(norm_payload),
    .y_valid(square_valid), .y_ready(square_ready), .y_payload(square_payload));

  wire positions_0_valid, positions_0_ready, positions_1_valid, positions_1_ready;
  toy_fork positions_fork (
    .clk(clk), .rst(rst), .x_valid(positions_valid), .x_ready(positions_ready),
    .a_valid(positions_0_valid), .a_ready(positions_0_ready), .b_valid(positions_1_valid), .b_ready(positions_1_ready));

  wire scores_valid, scores_ready; wire [12:0] scores_payload;
  toy_scores layers_0_scores (
    .clk(clk), .rst(rst), .p_valid(positions_0_valid), .p_ready(positions_0_ready), .p_payload(positions_payload),
    .y_valid(scores_valid), .y_ready(scores_ready), .y_payload(scores_payload));

  wire add_valid, add_ready; wire [79:0] add_payload;
  toy_add layers_0_add (
    .clk(clk), .rst(rst), .a_valid(square_valid), .a_ready(square_ready), .a_payload(square_payload),
    .b_valid(norm_2_valid), .b_ready(norm_2_ready), .b_payload(norm_2_payload),
    .p_valid(positions_1_valid), .p_ready(positions_1_ready), .p_payload(positions_payload),
    .y_valid(add_valid), .y_ready(add_ready), .y_payload(add_payload));

  assign layers_0_add_valid = add_valid;
  assign add_ready = layers_0_add_ready;
  assign layers_0_add_payload = add_payload;
  assign layers_0_scores_valid = scores_valid;
  assign scores_ready = layers_0_scores_ready;
  assign layers_0_scores_payload = scores_payload;

  assign tap_layers_0_norm_fire = norm_valid & norm_ready;
  assign tap_layers_0_norm_payload = norm_payload;
  assign tap_layers_0_square_fire = square_valid & square_ready;
  assign tap_layers_0_square_payload = square_payload;
  assign tap_layers_0_scores_fire = scores_valid & scores_ready;
  assign tap_layers_0_scores_payload = scores_payload;
  assign tap_layers_0_add_fire = add_valid & add_ready;
  assign tap_layers_0_add_payload = add_payload;
endmodule
