// A synchronous memory with one write and one read port. A read of the word that is written in the same cycle returns
// the old word. `data` holds its value while `enable` is low.
module mxhw_ram #(
    parameter WIDTH = 8,
    parameter DEPTH = 1,
    parameter ADDRESS = 1
) (
    input clk,
    input write,
    input [ADDRESS-1:0] write_address,
    input [WIDTH-1:0] write_data,
    input enable,
    input [ADDRESS-1:0] address,
    output reg [WIDTH-1:0] data
);
    reg [WIDTH-1:0] words [0:DEPTH-1];
    always @(posedge clk) begin
        if (write) words[write_address] <= write_data;
        if (enable) data <= words[address];
    end
endmodule
