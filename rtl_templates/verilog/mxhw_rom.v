// A synchronous read-only memory whose words come from a hex file, one word a line.
// `data` holds its value while `enable` is low.
module mxhw_rom #(
    parameter WIDTH = 8,
    parameter DEPTH = 1,
    parameter ADDRESS = 1,
    parameter FILE = ""
) (
    input clk,
    input enable,
    input [ADDRESS-1:0] address,
    output reg [WIDTH-1:0] data
);
    reg [WIDTH-1:0] words [0:DEPTH-1];
    initial $readmemh(FILE, words);
    always @(posedge clk) if (enable) data <= words[address];
endmodule
