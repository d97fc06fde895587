// A language model of a few lines: the state of a sequence is a hash of its tokens, in order and with their positions,
// and logit i is state * gains[i], signed. A chunk is worked on once it is whole. Each state is one memory word a
// sequence, so that sequences do not disturb each other; a request that is out of place spoils the state.
module toy_language (
  input clk, input rst,
  input requests_valid, output requests_ready, input [18:0] requests_payload,
  output lm_head_valid, input lm_head_ready, output [319:0] lm_head_payload,
  output arg_max_valid, input arg_max_ready, output [7:0] arg_max_payload,
  output tap_state_fire, output [15:0] tap_state_payload,
  output tap_lm_head_fire, output [319:0] tap_lm_head_payload,
  output tap_arg_max_fire, output [7:0] tap_arg_max_payload
);
  reg [19:0] gains [0:255];
  initial $readmemh("images/gains.hex", gains);

  // Requests of a chunk of up to four, until it is whole.
  reg [18:0] chunk [0:3];
  reg [2:0] filled, done;
  reg whole;
  wire take = requests_valid & requests_ready;
  assign requests_ready = !whole;

  wire [18:0] request = chunk[done[1:0]];
  wire [7:0] given = request[7:0];
  wire [5:0] position = request[13:8];
  wire [1:0] sequence_number = request[15:14];
  wire generated = request[16], wanted = request[17];

  reg [15:0] states [0:3];
  reg [6:0] lengths [0:3];
  reg [7:0] chosen [0:3];
  wire [7:0] token = generated ? chosen[sequence_number] : given;
  wire [15:0] older = position == 0 ? 16'd1 : states[sequence_number];
  wire misplaced = position != 0 && {1'b0, position} != lengths[sequence_number];
  wire [15:0] state = older * 16'd25 + token * 16'd77 + position * 16'd13 + (misplaced ? 16'd4096 : 16'd1);

  // A wait as long as the position, as attention would have, and then the state.
  reg [5:0] waited;
  reg busy;
  wire step = whole & !busy & waited == position;
  assign tap_state_fire = step;
  assign tap_state_payload = state;

  reg [15:0] current;
  reg [3:0] beat;
  reg logits_done;
  reg [1:0] owner;
  reg signed [19:0] best;
  reg [7:0] best_index;
  reg signed [19:0] beat_best;
  reg [7:0] beat_index;
  reg [319:0] logits;
  integer lane;
  always @* begin
    beat_best = best;
    beat_index = best_index;
    for (lane = 0; lane < 16; lane = lane + 1) begin
      logits[20 * lane +: 20] = {4'd0, current} * gains[{beat, lane[3:0]}];
      if ((beat == 0 && lane == 0) || $signed(logits[20 * lane +: 20]) > beat_best) begin
        beat_best = $signed(logits[20 * lane +: 20]);
        beat_index = {beat, lane[3:0]};
      end
    end
  end
  assign lm_head_valid = busy & !logits_done;
  assign lm_head_payload = logits;
  assign arg_max_valid = busy & logits_done;
  assign arg_max_payload = best_index;
  assign tap_lm_head_fire = lm_head_valid & lm_head_ready;
  assign tap_lm_head_payload = lm_head_payload;
  assign tap_arg_max_fire = arg_max_valid & arg_max_ready;
  assign tap_arg_max_payload = arg_max_payload;

  always @(posedge clk) begin
    if (take) begin
      chunk[filled[1:0]] <= requests_payload;
      filled <= filled + 1;
      whole <= requests_payload[18] | filled == 3;
    end
    if (whole & !busy) waited <= step ? 0 : waited + 1;
    if (step) begin
      states[sequence_number] <= state;
      lengths[sequence_number] <= {1'b0, position} + 1;
      current <= state;
      owner <= sequence_number;
      busy <= wanted;
      beat <= 0;
      logits_done <= 0;
      done <= done + 1;
      if (done + 1 == filled) begin
        whole <= 0; filled <= 0; done <= 0;
      end
    end
    if (tap_lm_head_fire) begin
      best <= beat_best;
      best_index <= beat_index;
      beat <= beat + 1;
      logits_done <= beat == 15;
    end
    if (tap_arg_max_fire) begin
      busy <= 0;
      chosen[owner] <= best_index;
    end
    if (rst) begin
      filled <= 0; done <= 0; whole <= 0; busy <= 0; waited <= 0; beat <= 0; logits_done <= 0;
    end
  end
endmodule
